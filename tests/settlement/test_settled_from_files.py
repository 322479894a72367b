"""A day settled from files becomes statements: the same as from the arrays that hold the same rows."""

import numpy as np
import pytest

import flexcore as fx
from flexcore.errors import FileError, SettlementError, ValidationError
from flexcore.metering import MISSING_W, correct_readings
from flexcore.settlement import SettledDay, SettlementTerms, correct, finalise, open_run, settle_period

DAY = fx.MarketDay("2026-10-25")  # 100 quarter-hours
TERMS = SettlementTerms(
    price_ueur_per_mwh=70_000_000, penalty_ueur_per_mwh=110_000_000, tolerance_ppm=50_000, factor_scope="event"
)
NAMES = {3: ("North", "BSP-A"), 0: ("South", "BSP-B"), 7: ("Centre", "BSP-A")}


def city(folder, n=70, n_days=6):
    rng = np.random.default_rng(5)
    pods = [f"IT{k:03d}" for k in range(n)]
    days = [DAY.shift(-back) for back in range(n_days, -1, -1)]
    values = [rng.integers(-3000, 6000, (n, day.n_steps)).astype(np.int32) for day in days]
    for day, power in zip(days, values, strict=True):
        fx.write_readings(folder / f"{day.date}.parquet", day, pods, power)
    return pods, [folder / f"{day.date}.parquet" for day in days], values[-1]


def orders_of(pods, prices):
    rng = np.random.default_rng(6)
    chosen = rng.choice(len(pods), 30, replace=False)
    table = [
        (
            pods[k],
            k % 2,
            (3, 0, 7)[k % 3],
            (k // 2) % 2,
            step,
            int(rng.integers(1, 2000)),
            int(rng.integers(1, 9)) * 10**7,
        )
        for k in chosen
        for step in range(80, 92)
    ]
    names = ("pod", "operator", "aggregate", "direction", "step", "ordered_w", "price_ueur_per_mwh")
    columns = {name: np.array([row[i] for row in table]) for i, name in enumerate(names)}
    if prices == "none":
        del columns["price_ueur_per_mwh"]
    if prices == "row":
        columns["price_ueur_per_mwh"] = (columns["aggregate"] + 1) * 10**7
    return columns


def settle(orders, paths, **more):
    found = fx.settle_files(orders, paths[:-1], paths[-1], TERMS, preset="edge", missing="zero", **more)
    touched = {"pod": orders["pod"], "qh": DAY.first_qh + orders["step"]}
    base = fx.baseline_files(paths[:-1], paths[-1], preset="edge", touched=touched)
    return found, base


@pytest.mark.rule("SET-03")
@pytest.mark.parametrize("prices", ["none", "row", "order"])
def test_statements_are_those_of_the_arrays(tmp_path, monkeypatch, prices):
    for module in (fx.metering.reading_layout, fx.metering.reading_files, fx.settlement.statement_source):
        monkeypatch.setattr(module, "GROUP_ROWS", 32)
    pods, paths, today = city(tmp_path)
    orders = orders_of(pods, prices)
    found, base = settle(orders, paths)
    run = open_run(str(DAY.date), found.result)
    settled = SettledDay.from_files(run, orders, paths[-1], base, NAMES)
    index = [pods.index(pod) for pod in settled.row_pod_id]
    assert (settled.metered_w == today[index]).all()
    assert (settled.baseline_w == base.baseline_w[index]).all()
    price = TERMS.price_ueur_per_mwh if prices == "none" else settled.row_price
    again = fx.settle(
        settled.orders_w, settled.baseline_w, settled.metered_w, TERMS, direction=settled.row_direction,
        aggregate=settled.row_aggregate, operator=settled.row_operator, price_ueur_per_mwh=price,
        unit_of_step=DAY.hour_of_step, missing="zero", pod=np.array(index),
    )  # fmt: skip
    assert (again.lines.net_ueur == found.lines.net_ueur).all()
    assert settled.aggregate_ids[[0, 3, 7]].tolist() == ["South", "North", "Centre"]
    mine = np.isin(found.lines.aggregate, [3, 7])
    accounts = fx.bsp_statement(settled, "BSP-A").accounts
    assert sum(accounts["net_ueur"].to_pylist()) == found.lines.net_ueur[mine].sum() != 0
    rest = fx.bsp_statement(settled, "BSP-B").accounts
    assert sum(rest["net_ueur"].to_pylist()) == found.lines.net_ueur[~mine].sum() != 0
    for pod in settled.row_pod_id[:5]:
        assert fx.pod_statement(settled, pod).trace.agrees


@pytest.mark.rule("SET-04")
def test_a_correction_shows_what_moved(tmp_path):
    pods, paths, today = city(tmp_path)
    orders = orders_of(pods, "none")
    first, _ = settle(orders, paths)
    final = finalise(open_run(str(DAY.date), first.result))
    step, pod = int(orders["step"][0]), str(orders["pod"][0])
    late = {"pod": [pod], "qh": [DAY.first_qh + step], "power_w": [int(today[pods.index(pod), step]) - 900]}
    correct_readings(tmp_path / "corrected.parquet", paths[-1], late)
    paths[-1] = tmp_path / "corrected.parquet"
    second, _ = settle(orders, paths)
    fx.baseline_files(
        paths[:-1], paths[-1], preset="edge", touched={"pod": orders["pod"], "qh": DAY.first_qh + orders["step"]},
        out=tmp_path / "base",
    )  # fmt: skip
    run = correct(final, second.result, "late reading")
    settled = SettledDay.from_files(run, orders, paths[-1], tmp_path / "base", NAMES)
    bsp = NAMES[int(orders["aggregate"][0])][1]
    changes = fx.bsp_statement(settled, bsp, cited=[final]).changes.to_pylist()
    assert changes
    assert all(row["before_ueur"] != row["after_ueur"] for row in changes)


def test_what_does_not_fit_is_refused(tmp_path):
    pods, paths, _ = city(tmp_path)
    orders = orders_of(pods, "none")
    found, base = settle(orders, paths)
    run = open_run(str(DAY.date), found.result)
    below, beyond = {-1: ("X", "BSP-A")}, {1 << 40: ("X", "BSP-A")}
    for aggregates in ({3: NAMES[3]}, NAMES | below, NAMES | beyond, NAMES | {9: "XY"}, NAMES | {9: ("X",)}):
        with pytest.raises(SettlementError, match="FX-S041"):
            SettledDay.from_files(run, orders, paths[-1], base, aggregates)
    with pytest.raises(SettlementError, match="FX-S041"):
        SettledDay.from_files(run, orders | {"ordered_w": orders["ordered_w"] + 1}, paths[-1], base, NAMES)
    with pytest.raises(SettlementError, match="open_run"):
        SettledDay.from_files(found, orders, paths[-1], base, NAMES)
    for no_day in (found, [run]):
        with pytest.raises(SettlementError, match=r"FX-S041.*no settled day"):
            fx.bsp_statement(no_day, "BSP-A")
    with pytest.raises(FileError, match="FX-B061"):
        SettledDay.from_files(run, orders, paths[-1], paths[-1], NAMES)
    fx.write_readings(tmp_path / "other.parquet", DAY, [*pods, "X"], np.full((len(pods) + 1, 100), MISSING_W, np.int32))
    with pytest.raises(FileError, match="FX-B064"):
        SettledDay.from_files(run, orders, tmp_path / "other.parquet", base, NAMES)


def test_aggregates_may_be_named_by_numbers(tmp_path):
    """Also by those of places between theirs, which nothing names."""
    pods, paths, _ = city(tmp_path)
    orders = orders_of(pods, "none")
    found, base = settle(orders, paths)
    numbered = {number: (str(number - 1), bsp) for number, (_, bsp) in NAMES.items()}
    settled = SettledDay.from_files(open_run(str(DAY.date), found.result), orders, paths[-1], base, numbered)
    assert [str(settled.aggregate_ids[number]) for number in NAMES] == [str(number - 1) for number in NAMES]


def test_days_of_a_period_may_be_dates(tmp_path):
    pods, paths, _ = city(tmp_path)
    found, _ = settle(orders_of(pods, "none"), paths)
    text = settle_period([str(DAY.date)], [found.result])
    assert settle_period([DAY.date], [found.result]) == text
    with pytest.raises(ValidationError, match="FX-S070"):
        settle_period([DAY.start()], [found.result])
