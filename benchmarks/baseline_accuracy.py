"""How far each baseline method is from the readings of SimBench's year on placebo events, by customer class."""

import datetime as dt
import hashlib
from pathlib import Path

import numpy as np
import numpy.typing as npt

from flexcore.metering.comparison import MethodComparison, compare_methods
from flexcore.metering.placebo import placebo_events

#: The page that `python -m benchmarks baseline_accuracy --table` writes.
PAGE = Path(__file__).parents[1] / "docs" / "reference" / "baseline-accuracy.md"
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
#: Classes whose profiles are drawn into groups: those of single customers at low voltage.
GROUPED = ("household", "commerce", "agriculture", "heat pump", "EV at home", "EV in public")
GROUP_SIZES = (1, 3, 10, 30)
SEASONS = {12: 0, 1: 0, 2: 0, 3: 1, 4: 1, 5: 1, 6: 2, 7: 2, 8: 2, 9: 3, 10: 3, 11: 3}
_PER_STRATUM, _QUICK_PER_STRATUM = 5, 1


def profiles() -> tuple[list[str], list[str], npt.NDArray[np.int32], int]:
    """Names, classes and power of the distinct profiles, and how many there were before equal ones were left out."""
    import simbench
    from pyarrow import csv

    folder = Path(simbench.networks.extract_simbench_grids_from_csv.complete_data_path(0))
    options = csv.ParseOptions(delimiter=";")
    found: list[tuple[str, str, npt.NDArray[np.int32]]] = []
    for file, ending, classes, sign in (("LoadProfile.csv", "_pload", CLASSES, 1), ("RESProfile.csv", "", PLANTS, -1)):
        table = csv.read_csv(folder / file, parse_options=options)
        for name in table.column_names:
            kind = next((c for start, c in classes.items() if name.startswith(start)), None)
            if kind is not None and name.endswith(ending):
                power = np.rint(table[name].to_numpy().astype(np.float64) * sign * PEAK_W).astype(np.int32)
                found.append((name.removesuffix("_pload"), kind, power))
    distinct: dict[str, tuple[str, str, npt.NDArray[np.int32]]] = {}
    for name, kind, power in found:
        distinct.setdefault(hashlib.sha256(power.tobytes()).hexdigest(), (name, kind, power))
    names, kinds, series = zip(*distinct.values(), strict=True)
    return list(names), list(kinds), np.stack(series).reshape(-1, N_DAYS, N_STEPS), len(found)


def calendar() -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Day type (0 working day, 1 Saturday, Sunday or German holiday) and stratum (season and day type) of each day."""
    import holidays

    off = holidays.country_holidays("DE", years=YEAR)
    days = [dt.date(YEAR, 1, 1) + dt.timedelta(days=k) for k in range(N_DAYS)]
    kind = np.array([day.weekday() >= 5 or day in off for day in days], np.int64)
    return kind, np.array([2 * SEASONS[day.month] for day in days], np.int64) + kind


def compare(quick: bool = False, threads: int = 2, presets: list[str] | None = None) -> tuple[MethodComparison, int]:
    """All methods on the year, and the number of profiles before equal ones were left out."""
    names, kinds, power, n_given = profiles()
    day_type, stratum = calendar()
    n = _QUICK_PER_STRATUM if quick else _PER_STRATUM
    events = placebo_events(day_type, stratum=stratum, n_per_stratum=n, seed=1)
    grouped = np.isin(kinds, GROUPED)
    sizes = [*GROUP_SIZES, int(grouped.sum())]
    made = compare_methods(
        power, events, presets=presets, classes=kinds, pods=names, group_sizes=sizes, grouped=grouped, n_threads=threads
    )
    return made, n_given
