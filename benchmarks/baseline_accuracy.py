"""How far each baseline method is from the readings of SimBench's year on placebo events, by customer class."""

import datetime as dt
import functools
import hashlib
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.baseline_page import ProxyCheck, chart, page
from flexcore.metering.comparison import compare_methods
from flexcore.metering.comparison_result import MethodComparison
from flexcore.metering.day_distance import temperature_distance
from flexcore.metering.placebo import placebo_events
from flexcore.metering.placebo_inputs import DayInput
from flexcore.metering.presets import PRESETS

#: The page that `python -m benchmarks baseline_accuracy --table` writes, and its chart.
PAGE = Path(__file__).parents[1] / "docs" / "reference" / "baseline-accuracy.md"
CHART = PAGE.with_suffix(".svg")
YEAR, N_DAYS, N_STEPS = 2016, 366, 96
#: Power that stands for a profile value of 1, so that rounding to whole watts is 0.01 % of it.
PEAK_W = 10_000
#: Start of a load profile's name to its class; the first that fits counts.
CLASSES = {
    "H0-": "household",
    "G": "commerce",
    "L": "agriculture",
    "BL-": "band load",
    "WB-": "band load",
    "Air_": "heat pump",
    "Soil_": "heat pump",
    "HLS_": "EV at home",
    "APLS_": "EV in public",
    "HS": "high-voltage customer",
    "lv_": "network, low voltage",
    "mv_": "network, medium voltage",
    "hv_": "network, high voltage",
}
#: The same for plants; what they inject is negative.
PLANTS = {"PV": "PV", "WP": "wind"}
#: Classes whose profiles are drawn into groups: those of single customers.
GROUPED = ("household", "commerce", "agriculture", "heat pump", "EV at home", "EV in public")
GROUP_SIZES = (1, 3, 10, 30)
SEASONS = {12: 0, 1: 0, 2: 0, 3: 1, 4: 1, 5: 1, 6: 2, 7: 2, 8: 2, 9: 3, 10: 3, 11: 3}
PER_STRATUM = 5  # events of each season, day type and window
LOOK_BACK_DAYS = 90  # of weather matches and regressions; the others use the latest days of it
LEAST_PAST_DAYS = PRESETS["degree_hours"].min_days  # no event before, so that every method has a baseline on each
#: Heat pumps whose daily energy stands for the coldness of the day, one of each of the two sets of SimBench.
THERMOMETERS = ("Air_Parallel_1", "Air_Parallel_2")
#: Temperature of a day on which they rest, and degrees from there to their hardest day: no method minds the scale.
MILD_C, SPREAD_C = 18.0, 30.0
#: Days around a day whose like days say what is usual, and shifts in days that an accidental agreement is drawn from.
USUAL_DAYS, SHIFTS = 21, range(7, 41)


@functools.cache
def profiles() -> tuple[list[str], list[str], npt.NDArray[np.int32], list[str]]:
    """Names, classes and power of the distinct profiles, and the names of those that equal an earlier one."""
    import simbench
    from pyarrow import csv

    folder = Path(simbench.networks.extract_simbench_grids_from_csv.complete_data_path(0))
    options = csv.ParseOptions(delimiter=";")
    names, kinds, series, twins = [], [], [], []
    seen = set()
    for file, ending, classes, sign in (("LoadProfile.csv", "_pload", CLASSES, 1), ("RESProfile.csv", "", PLANTS, -1)):
        table = csv.read_csv(folder / file, parse_options=options)
        for column in table.column_names:
            kind = next((c for start, c in classes.items() if column.startswith(start)), None)
            if kind is None or not column.endswith(ending):
                continue
            power = np.rint(table[column].to_numpy().astype(np.float64) * sign * PEAK_W).astype(np.int32)
            digest = hashlib.sha256(power.tobytes()).hexdigest()
            if digest in seen:
                twins.append(column.removesuffix("_pload"))
                continue
            seen.add(digest)
            names.append(column.removesuffix("_pload"))
            kinds.append(kind)
            series.append(power)
    return names, kinds, np.stack(series).reshape(-1, N_DAYS, N_STEPS), twins


def calendar() -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Day type (0 working day, 1 Saturday, Sunday or German holiday) and stratum (season and day type) of each day."""
    import holidays

    off = holidays.country_holidays("DE", years=YEAR)
    days = [dt.date(YEAR, 1, 1) + dt.timedelta(days=k) for k in range(N_DAYS)]
    kind = np.array([day.weekday() >= 5 or day in off for day in days], np.int64)
    return kind, np.array([2 * SEASONS[day.month] for day in days], np.int64) + kind


def temperatures() -> npt.NDArray[np.float64]:
    """Stand-in for the temperature of each day by each of the `THERMOMETERS`, shape (2, N_DAYS)."""
    names, _, power, _ = profiles()
    energy = np.stack([power[names.index(name)].sum(axis=1, dtype=np.int64) for name in THERMOMETERS])
    return np.asarray(MILD_C - SPREAD_C * energy / energy.max(axis=1, keepdims=True))


def thermometer_of(names: list[str], kinds: list[str]) -> npt.NDArray[np.int64]:
    """Say which of the `THERMOMETERS` stands for a profile: for heat pumps that of the other set, else the first."""
    own = [kind == "heat pump" and name.endswith("_1") for name, kind in zip(names, kinds, strict=True)]
    return np.array(own, np.int64)


def weather(zone: npt.NDArray[np.int64]) -> dict[str, DayInput | dict[str, DayInput]]:
    """Inputs of the methods that need temperatures, for profiles judged by these thermometers."""
    daily = temperatures()
    steps = np.repeat(daily[:, :, np.newaxis], N_STEPS, axis=2)
    return {
        "temperature_c": lambda on: steps[:, on.first : on.day],
        "today_temperature_c": lambda on: steps[:, on.day],
        "zone": lambda on: zone,
        "caiso_weather_match": {
            "day_score": lambda on: temperature_distance(daily[zone, on.first : on.day], daily[zone, on.day])
        },
    }


def proxy_checks() -> list[ProxyCheck]:
    """Whether days colder than usual are days of more load than usual, for each class, in the heating season."""
    names, kinds, power, _ = profiles()
    day_type, _ = calendar()
    zone = thermometer_of(names, kinds)
    far = abs(np.arange(N_DAYS)[:, np.newaxis] - np.arange(N_DAYS))
    usual = (far <= USUAL_DAYS) & (far > 0) & (day_type[:, np.newaxis] == day_type)

    def unusual(daily: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return daily - daily @ usual.T / usual.sum(axis=1)

    cold, load = unusual(-temperatures())[zone], unusual(power.sum(axis=2, dtype=np.float64))
    heating = heating_season(np.arange(N_DAYS))

    def agreement(shift: int) -> npt.NDArray[np.float64]:
        moved = np.roll(cold, shift, axis=1)[:, heating]
        return np.array([np.corrcoef(a, b)[0, 1] for a, b in zip(moved, load[:, heating], strict=True)])

    here = agreement(0)
    elsewhere = np.stack([agreement(sign * shift) for shift in SHIFTS for sign in (-1, 1)])
    rows = []
    for kind in dict.fromkeys(kinds):
        mine = np.array(kinds) == kind
        by_shift = np.median(elsewhere[:, mine], axis=1)
        rows.append(ProxyCheck(kind, float(np.median(here[mine])), float(by_shift.min()), float(by_shift.max())))
    return rows


def heating_season(day: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Days from October to mid-April, in which the heat pumps say something of the weather."""
    first, last = dt.date(YEAR, 10, 1), dt.date(YEAR, 4, 15)
    return np.asarray((day >= first.timetuple().tm_yday - 1) | (day <= last.timetuple().tm_yday - 1))


@functools.cache
def compare(
    n_per_stratum: int = PER_STRATUM,
    presets: tuple[str, ...] = tuple(PRESETS),
    only: tuple[str, ...] = (),
) -> MethodComparison:
    """Methods on the year; `only` keeps the profiles of these classes, which changes no figure of theirs."""
    names, kinds, power, _ = profiles()
    day_type, stratum = calendar()
    stratum[:LEAST_PAST_DAYS] = -1
    events = placebo_events(
        day_type, stratum=stratum, n_per_stratum=n_per_stratum, look_back_days=LOOK_BACK_DAYS, seed=1
    )
    kept = np.isin(kinds, only) if only else np.ones(len(names), np.bool_)
    grouped = np.isin(kinds, GROUPED)[kept]
    sizes = [] if only else [*GROUP_SIZES, int(grouped.sum())]
    return compare_methods(
        power[kept], events, presets=presets, classes=np.array(kinds)[kept], pods=np.array(names)[kept],
        inputs=weather(thermometer_of(names, kinds)[kept]), group_sizes=sizes, grouped=grouped,
    )  # fmt: skip


def run(threads: int, quick: bool, rounds: int) -> list[dict[str, Any]]:
    """One row for each class: the method with the lowest median OPI, and how clear that is."""
    start = time.perf_counter()
    compared = compare(1, tuple(PRESETS)[:3]) if quick else compare()
    seconds = time.perf_counter() - start
    rows: list[dict[str, Any]] = []
    for row in compared.recommend():
        rows.append({"name": f"baseline_accuracy/{row.customer_class}", "n_pods": row.n_pods, "method": row.method})
        rows[-1] |= {"opi": row.median, "opi_p10": row.p10, "opi_p90": row.p90, "skill": row.skill}
    n_runs = len(compared.methods) * len(compared.events) * len(compared.pods)
    return [*rows, {"name": "baseline_accuracy/all", "n_pods": len(compared.pods), "n_baselines": n_runs, "s": seconds}]


def write_table(rows: list[dict[str, Any]]) -> None:
    """Write the page and its chart from the run that gave these rows."""
    compared = compare()
    text = page(compared, profiles()[3], GROUPED, proxy_checks(), heating_season(compared.events.day))
    PAGE.write_text(text, encoding="utf-8")
    CHART.write_text(chart(compared), encoding="utf-8")
