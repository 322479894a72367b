"""Bad input, one case after the other: a typed error, a stable code, the elements by name, and nothing changed."""

import datetime as dt

import numpy as np
import pytest

import flexcore as fx
from flexcore.errors import GridError, OfferError, RegisterError, TimeSeriesError, ValidationError
from flexcore.market.offers import check_gate, offer_book
from flexcore.metering.readings import collect_readings
from flexcore.units import LOCAL, UP

DAY = fx.MarketDay("2026-01-21")
NODES = {"id": [1, 2, 3, 4], "v_nom_kv": [20.0] * 4, "slack": [True, False, False, False]}
BRANCHES = {"id": [11, 12, 13], "from_id": [1, 2, 3], "to_id": [2, 3, 4], "r_ohm": [0.1] * 3, "x_ohm": [0.1] * 3}
LOOP = {"id": [11, 12, 13, 14], "from_id": [1, 2, 3, 4], "to_id": [2, 3, 4, 2], "r_ohm": [0.1] * 4, "x_ohm": [0.1] * 4}


def grid():
    return fx.Grid.from_tables(NODES, BRANCHES)


def power(value):
    p_kw = np.zeros((4, 2))
    p_kw[2, 1] = value
    return p_kw


def capability(up_kw):
    zero = np.zeros((4, 2))
    return fx.capability(grid(), zero, zero, up_kw=up_kw, down_kw=zero, perimeter=[-1, 0, 0, 0], method="linear")


def register():
    reg = fx.Register(grid())
    reg.register_parties({"party_id": ["B1", "B2"], "kind": ["BSP", "BSP"]})
    codes = [f"IT002E0000000{i}" for i in range(4)]
    reg.register_pods(
        {
            "pod_code": codes,
            "node_id": [2, 3, 4, 4],
            "voltage_level": ["LV"] * 4,
            "contracted_in_w": [6000] * 4,
            "contracted_out_w": [3000] * 4,
            "flex_area": [0] * 4,
        }
    )
    reg.register_units(
        {
            "pod_code": codes,
            "bsp": ["B1", "B1", "B1", "B2"],
            "technology": [8] * 4,
            "up_w": [2000] * 4,
            "down_w": [1000] * 4,
            "activation_s": [300] * 4,
        }
    )
    reg.apply_static_light(at=0)
    return reg, codes


def readings(n_steps, times=None):
    stamps = [DAY.start(t) for t in range(n_steps)] if times is None else times
    pod = ["IT002E00000001"] * len(stamps)
    return collect_readings(pod, stamps, [1000] * len(stamps), pods=pod[:1], day=DAY)


def gate_passed():
    book = offer_book(
        operator=LOCAL, line_id=["on time", "late"], aggregate=[0, 1], bsp=[0, 0], direction=[UP, UP], node=[1, 2],
        perimeter=[0, 0], price_ueur_per_mwh=[1, 1], submitted_at=[100, 201], indptr=[0, 1, 2], pods=[0, 1],
        n_pods=2, n_steps=96,
    )  # fmt: skip
    check_gate(book, 200)


@pytest.mark.parametrize(
    ("call", "error", "code", "named"),
    [
        (lambda: fx.Grid.from_tables(NODES, LOOP), GridError, "FX-G001", {12, 13, 14}),
        (
            lambda: fx.Grid.from_tables(NODES, {name: v[:1] + v[2:] for name, v in BRANCHES.items()}),
            GridError,
            "FX-G002",
            {3, 4},
        ),
        (lambda: fx.Grid.from_tables({**NODES, "slack": [False] * 4}, BRANCHES), GridError, "FX-G003", set()),
        (lambda: fx.Grid.from_tables(NODES, {**BRANCHES, "to_id": [2, 3, 9]}), GridError, "FX-G005", {13}),
        (lambda: grid().node_index([1, 77]), ValidationError, "FX-G011", {77}),
        (lambda: fx.power_flow(grid(), power(np.nan), power(0.0), method="ac"), ValidationError, "FX-A003", {2}),
        (lambda: fx.power_flow(grid(), power(np.inf), power(0.0), method="linear"), ValidationError, "FX-A003", {2}),
        (lambda: fx.power_flow(grid(), power(0.0), power(-np.inf), method="ac"), ValidationError, "FX-A003", {2}),
        (lambda: capability(power(-1.0)), ValidationError, "FX-A004", {2}),
        (lambda: readings(95), TimeSeriesError, "FX-B002", {"IT002E00000001"}),
        (lambda: DAY.check_steps(95, "readings"), TimeSeriesError, "FX-T002", set()),
        (lambda: readings(1, [dt.datetime(2026, 1, 21)]), TimeSeriesError, "FX-T001", {0}),
        (gate_passed, OfferError, "FX-O101", {"late"}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_each_refusal_has_its_type_code_and_names(call, error, code, named):
    with pytest.raises(error) as refused:
        call()
    assert code in refused.value.codes
    finding = next(f for f in refused.value.findings if f.code == code)
    assert named <= {*finding.ids, *finding.rows}


@pytest.mark.parametrize(
    ("call", "code", "named"),
    [
        (
            lambda reg, codes: reg.register_pods(
                {
                    "pod_code": ["IT002E00000008", "it002e 0000_0008"],
                    "node_id": [2, 2],
                    "voltage_level": ["LV"] * 2,
                    "contracted_in_w": [1] * 2,
                    "contracted_out_w": [1] * 2,
                }
            ),
            "FX-R002",
            {0, 1},
        ),
        (
            lambda reg, codes: reg.register_units(
                {
                    "pod_code": codes[:1], "unit_id": ["extra"], "bsp": ["B1"], "technology": [8], "up_w": [-5],
                    "down_w": [0], "activation_s": [1],
                }
            ),
            "FX-A004",
            {0},
        ),
        (
            lambda reg, codes: reg.form_aggregates(
                {"agg_id": ["A"], "bsp": ["B1"], "operator": [0], "flex_area": [0]},
                {"agg_id": ["A", "A"], "unit_id": [codes[0], codes[3]]},
            ),
            "FX-R010",
            {"A", 1},
        ),
        (
            lambda reg, codes: reg.form_aggregates(
                {"agg_id": ["A", "B"], "bsp": ["B1"] * 2, "operator": [0, 0], "flex_area": [0, 0]},
                {"agg_id": ["A", "B"], "unit_id": [codes[1], codes[1]]},
            ),
            "FX-R011",
            {"IT002E00000001"},
        ),
    ],
    ids=["duplicate POD codes", "negative power", "two BSPs", "two local aggregates"],
)  # fmt: skip
def test_a_refused_registration_changes_nothing(call, code, named):
    reg, codes = register()
    tables = ("parties", "pods", "units", "aggregates", "products", "qualifications")
    before = {name: getattr(reg, name) for name in tables}
    with pytest.raises((RegisterError, ValidationError)) as refused:
        call(reg, codes)
    assert code in refused.value.codes
    finding = next(f for f in refused.value.findings if f.code == code)
    assert named <= {*finding.ids, *finding.rows}
    # tables are replaced as a whole or not at all, so the same objects are the same register
    assert all(getattr(reg, name) is before[name] for name in tables)


@pytest.mark.parametrize("wrong", [5, None, [1, 2], {"offer_id": [[1], [1, 2]]}, {"order_id": [[1], [1, 2]]}])
@pytest.mark.parametrize("call", [lambda table: fx.clear(table, {}), lambda table: fx.continuous_book(table)])
def test_what_is_no_table_of_offers_or_orders_is_said_by_code(call, wrong):
    with pytest.raises(OfferError) as error:
        call(wrong)
    assert {"FX-A001", "FX-A002", "FX-A008"} & set(error.value.codes)
