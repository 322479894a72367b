"""Selection of offers: worked cases, the rules one by one, tables, and bad input."""

import datetime as dt

import numpy as np
import pytest

import flexcore as fx
from flexcore.errors import GridError, OfferError, OptionError, TimeSeriesError, UnknownIdError, ValidationError
from flexcore.market.clearing import REASONS, clear_local
from tests.market.clearing_cases import INF, forest, rows_of

EUR = 1_000_000
#: What decides a step with a binding voltage row, by method.
ENGINE = {"auto": "path_prices", "lp": "lp"}


def local(parent, lower, upper, offers, **options):
    """Offers are (node, direction, W, EUR/MWh, submitted at); one step. Returns the result and accepted W."""
    node, direction, quantity, price, time = zip(*offers, strict=True) if offers else ((),) * 5
    result = clear_local(
        forest(parent), rows_of(lower, upper, *options.pop("voltage", ())), node=np.array(node, int),
        direction=np.array(direction, int), quantity_w=np.array(quantity, int).reshape(-1, 1),
        price_ueur_per_mwh=np.array(price, int) * EUR, submitted_at=np.array(time, int), offer_id=np.arange(len(node)),
        **options,
    )  # fmt: skip
    return result, result.accepted_w[:, 0].tolist()


def why(result):
    return [REASONS[code] for code in result.reason[:, 0]]


# root 0; transformer 1 feeds 2 and 3
FORK = [-1, 0, 1, 1]


@pytest.mark.rule("LFP-01")
def test_nested_needs_are_served_by_the_offers_that_serve_both():
    # 3 kW needed below node 2 and 5 kW in all: the dear offer at 2 must be taken, the rest comes from the cheapest
    result, accepted = local(
        FORK, [-INF, 5000, 3000, -INF], [INF] * 4, [(2, 0, 4000, 90, 0), (3, 0, 4000, 10, 0), (3, 0, 4000, 20, 0)]
    )
    assert accepted == [3000, 2000, 0]
    assert result.total_cost_ueur == (3000 * 90 + 2000 * 10) * EUR // 4_000_000
    assert result.unserved_w.tolist() == [0]
    assert why(result) == ["accepted in part: marginal", "accepted in part: marginal", "dearer than the margin"]
    assert result.engine.tolist() == ["tree_merit_order"]


@pytest.mark.rule("LFP-01")
def test_a_full_element_keeps_a_cheap_offer_out_and_is_named():
    result, accepted = local(
        FORK,
        [-INF, 5000, -INF, -INF],
        [INF, INF, 1000, INF],
        [(2, 0, 1000, 10, 0), (2, 0, 900, 11, 0), (3, 0, 9000, 50, 0)],
    )
    assert accepted == [1000, 0, 4000]
    assert why(result)[1] == "element full"
    assert result.reason_node[1, 0] == 2


@pytest.mark.rule("LFP-01")
def test_room_is_made_by_the_other_direction_elsewhere():
    # 4 kW up needed below 2, but the transformer may export only 1 kW more: 3 kW down below 3 make room
    result, accepted = local(
        FORK, [-INF, -INF, 4000, -INF], [INF, 1000, INF, INF], [(2, 0, 9000, 10, 0), (3, 1, 9000, 500, 0)]
    )
    assert accepted == [4000, 3000]
    assert result.unserved_w.tolist() == [0]


@pytest.mark.rule("LFP-01")
def test_a_need_that_cannot_be_met_is_served_as_far_as_it_goes():
    result, accepted = local(FORK, [-INF, 9000, 7000, -INF], [INF] * 4, [(2, 0, 1000, 10, 0), (3, 0, 500, 10, 0)])
    assert accepted == [1000, 500]
    assert result.unserved_w.tolist() == [9000 - 1500 + 7000 - 1000]


@pytest.mark.rule("LFP-01")
def test_an_exporting_element_is_relieved_by_down_and_its_violation_is_never_made_worse():
    result, accepted = local(
        FORK, [-INF, -INF, -INF, 2000], [INF, -3000, INF, INF], [(2, 1, 2500, 10, 0), (3, 0, 9000, 1, 0)]
    )
    # up at 3 is needed there, yet each W of it takes a W of down to keep the transformer where it is: both needs count
    # alike, so the sum is least whichever is served; nothing may be worse than before
    y = np.array([accepted[1] - accepted[0], -accepted[0], accepted[1]])
    assert y[0] <= 0
    assert y[2] >= 0
    assert result.unserved_w[0] == max(0, y[0] + 3000) + max(0, 2000 - y[2]) == 2500


@pytest.mark.rule("OFR-03")
def test_negative_prices_buy_nothing_beyond_the_need():
    result, accepted = local(
        [-1, 0],
        [-INF, 1000],
        [INF, INF],
        [(1, 0, 900, -50, 0), (1, 0, 900, -60, 0), (1, 1, 900, -70, 0), (1, 0, 900, 0, 0)],
    )
    assert accepted == [100, 900, 0, 0]
    assert result.total_cost_ueur == (-50 * 100 - 60 * 900) * EUR // 4_000_000
    assert float(result.total_cost) < 0
    nothing, taken = local([-1, 0], [-INF, -5], [INF, 5], [(1, 0, 9, -50, 0), (1, 1, 9, -50, 0)])
    assert taken == [0, 0]
    assert why(nothing) == ["no need", "no need"]
    assert nothing.engine.tolist() == ["none"]


@pytest.mark.rule("OFR-03")
@pytest.mark.parametrize("method", ["auto", "lp"])
def test_negative_prices_buy_nothing_beyond_a_voltage_need(method):
    # 1 pu^2 per kW on the only branch: 2 kW are needed, and the two offers would pay for 9 kW
    voltage = ([0.0, 1.0], [-INF, 2.0], [INF, INF])
    result, accepted = local([-1, 0], [-INF, -9000], [INF, 9000], [(1, 0, 4000, -50, 0), (1, 0, 5000, -40, 0)],
                             voltage=voltage, method=method)  # fmt: skip
    assert accepted == [2000, 0]
    assert result.engine.tolist() == [ENGINE[method]]
    assert result.unserved_voltage_w.tolist() == [0]


@pytest.mark.rule("OFR-03")
@pytest.mark.parametrize(
    ("idle", "group"),
    [((4, 0, 1000, -100, 0), None), ((2, 1, 1000, -100, 0), [0, 0, 0, 0, 1]), ((0, 0, 1000, -100, 0), None)],
    ids=["another feeder", "forbidden direction", "root"],
)
def test_a_negative_price_that_cannot_act_changes_no_choice_elsewhere(idle, group):
    # 3 kW at 10 EUR with effect 1 cost 30, 1 kW at 35 EUR with effect 3 costs 35: a raise of both turns that round
    tree = [-1, 0, 1, 2, 0]
    voltage = ([0.0, 1.0, 1.0, 1.0, 1.0], [-INF, -INF, -INF, 3.0, -INF], [INF] * 5)
    offers = [(1, 0, 9000, 10, 0), (3, 0, 3000, 35, 0)]
    _, alone = local(tree, [-INF] * 5, [INF] * 5, offers, voltage=voltage, group=group)
    _, beside = local(tree, [-INF] * 5, [INF] * 5, [*offers, idle], voltage=voltage, group=group)
    assert alone == [3000, 0]
    assert beside == [3000, 0, 0]


@pytest.mark.rule("LFP-01")
def test_ties_go_by_submission_then_id():
    _, accepted = local(
        [-1, 0],
        [-INF, 1500],
        [INF, INF],
        [(1, 0, 1000, 10, 7), (1, 0, 1000, 10, 3), (1, 0, 1000, 10, 3), (1, 0, 1, 11, 0)],
    )
    assert accepted == [0, 1000, 500, 0]
    _, down = local(
        [-1, 0], [-INF, -INF], [INF, -1500], [(1, 1, 1000, 10, 7), (1, 1, 1000, 10, 3), (1, 1, 1000, 10, 3)]
    )
    assert down == [0, 1000, 500]


@pytest.mark.rule("LFP-01")
@pytest.mark.parametrize("method", ["auto", "lp"])
def test_ties_at_one_place_go_by_submission_under_the_lp(method):
    voltage = ([0.0, 1.0], [-INF, 1.5], [INF, INF])
    offers = [(1, 0, 1000, 10, 7), (1, 0, 1000, 10, 3), (1, 0, 1000, 10, 3)]
    _, accepted = local([-1, 0], [-INF, -INF], [INF, INF], offers, voltage=voltage, method=method)
    assert accepted == [0, 1000, 500]


@pytest.mark.rule("LFP-01")
@pytest.mark.parametrize("way", [0, 1])
@pytest.mark.parametrize("times", [[1, 2, 3, 4], [4, 3, 2, 1], [2, 4, 1, 3]])
def test_ties_between_places_go_by_submission_under_the_lp(way, times):
    # nodes 2 and 3 take turns and count alike for the voltage of node 1
    need = ([-INF, 1.5, -INF, -INF], [INF] * 4) if way == 0 else ([-INF] * 4, [INF, -1.5, INF, INF])
    offers = [(node, way, 1000, 10, time) for node, time in zip([2, 3, 2, 3], times, strict=True)]
    result, accepted = local(FORK, [-INF] * 4, [INF] * 4, offers, voltage=([0.0, 1.0, 0.0, 0.0], *need))
    assert result.engine.tolist() == ["path_prices"]
    assert [accepted[times.index(time)] for time in (1, 2, 3, 4)] == [1000, 500, 0, 0]


@pytest.mark.rule("LFP-01")
@pytest.mark.parametrize(("k", "dear"), [(20, 100), (1000, 30_000), (4000, 30_000), (20, 10**6), (200, 10**9)])
def test_ties_go_by_submission_however_many_and_however_dear_another_offer(k, dear):
    # k leaves, none of which counts more for the voltage of node 1 than another; half of them are needed
    tree, free = [-1, 0, *[1] * k], [INF] * (k + 2)
    need = np.full(k + 2, -INF)
    need[1] = k / 2 + 0.5
    times = np.random.default_rng(k).permutation(k)
    offers = [(2 + i, 0, 1000, 80, time) for i, time in enumerate(times)]
    result, accepted = local(
        tree, np.full(k + 2, -INF), free, [*offers, (2, 0, 1000, dear, -1)], voltage=([1.0] * (k + 2), need, free)
    )
    assert result.engine.tolist() == ["path_prices"]
    wanted = np.where(times < k // 2, 1000, np.where(times == k // 2, 500, 0))
    assert accepted == [*wanted, 0]


@pytest.mark.rule("LFP-01")
@pytest.mark.parametrize("way", [0, 1])
def test_many_fractional_offers_are_rounded_without_breaking_a_row(way):
    # a hundred voltage needs of 1000.6 W, and a branch above them that takes just their sum
    k = 100
    upper = [INF, k * 1000.6, *[INF] * k] if way == 0 else [INF] * (k + 2)
    lower = [-INF] * (k + 2) if way == 0 else [-INF, -k * 1000.6, *[-INF] * k]
    voltage = np.array([0.0, 0.0, *[1.0] * k]), np.full(k + 2, -INF), np.full(k + 2, INF)
    voltage[1 + way][2:] = 1.0006 * (1 - 2 * way)
    offers = [(2 + i, way, 5000, 10 + i, 0) for i in range(k)]
    result, accepted = local([-1, 0, *[1] * k], lower, upper, offers, voltage=voltage)
    assert sum(accepted) == 100_060
    assert set(accepted) == {1000, 1001}
    assert result.unserved_voltage_w.tolist() == [0]


@pytest.mark.rule("LFP-01")
def test_price_per_unit_of_effect_decides_a_voltage_need_and_the_limit_is_named():
    # a path of three branches of 1 pu^2/kW: an offer at 3 counts three times an offer at 1
    path = [-1, 0, 1, 2]
    voltage = ([0.0, 1.0, 1.0, 1.0], [-INF, -INF, -INF, 9.0], [INF] * 4)
    free = ([-INF] * 4, [INF] * 4)
    result, accepted = local(path, *free, [(1, 0, 9000, 1, 0), (3, 0, 9000, 2, 0)], voltage=voltage)
    assert accepted == [0, 3000]
    assert result.engine.tolist() == ["path_prices"]
    assert why(result) == ["dearer than the margin", "accepted in part: marginal"]
    # now node 2 may rise by 4 only: 2 kW at 3 use that up, so node 3 lacks 3, which no place can give
    voltage = (*voltage[:2], [INF, INF, 4.0, INF])
    result, accepted = local(path, *free, [(1, 0, 9000, 1, 0), (3, 0, 9000, 2, 0)], voltage=voltage)
    assert accepted == [0, 2000]
    assert result.unserved_voltage_w.tolist() == [1000]  # 3 pu^2 are 1 kW at node 3 itself
    assert why(result) == ["voltage", "accepted in part: marginal"]
    assert result.reason_node[0, 0] == 2


@pytest.mark.rule("LFP-01")
def test_the_lp_steps_in_where_the_merit_order_breaks_a_voltage_limit():
    path = [-1, 0, 1]
    voltage = ([0.0, 1.0, 1.0], [-INF] * 3, [INF, INF, 3.0])
    offers = [(2, 0, 9000, 1, 0), (1, 0, 9000, 5, 0)]
    result, accepted = local(path, [-INF, 2000, -INF], [INF] * 3, offers, voltage=voltage)
    assert accepted == [1000, 1000]
    assert result.engine.tolist() == ["path_prices"]
    blind, accepted = local(path, [-INF, 2000, -INF], [INF] * 3, offers, voltage=voltage, method="tree")
    assert accepted == [2000, 0]
    assert blind.engine.tolist() == ["tree_merit_order"]


def test_min_effect_leaves_out_offers_that_hardly_help():
    fork = [-1, 0, 1, 1]
    voltage = ([0.0, 0.01, 1.0, 1.0], [-INF, -INF, 9.0, -INF], [INF] * 4)
    offers = [(2, 0, 1000, 50, 0), (3, 0, 9000, 1, 0)]
    _, accepted = local(fork, [-INF] * 4, [INF] * 4, offers, voltage=voltage)
    assert accepted == [1000, 9000]
    result, accepted = local(fork, [-INF] * 4, [INF] * 4, offers, voltage=voltage, min_effect=0.05)
    assert accepted == [1000, 0]
    assert why(result)[1] == "too little effect on the need"


@pytest.mark.rule("LFP-01")
def test_one_direction_per_perimeter_by_the_larger_need():
    # below 2: 4 kW up wanted; below 3: 6 kW down wanted; both in one perimeter
    lower, upper = [-INF, -INF, 4000, -INF], [INF, INF, INF, -6000]
    offers = [(2, 0, 9000, 10, 0), (3, 1, 9000, 10, 0)]
    result, accepted = local(FORK, lower, upper, offers, group=[-1, 7, 7, 7])
    assert accepted == [0, 6000]
    assert why(result)[0] == "direction forbidden in the perimeter"
    assert result.unserved_w.tolist() == [4000]
    assert local(FORK, lower, upper, offers, group=[-1, 7, 7, 7], allow_counter=True)[1] == [4000, 6000]
    # two perimeters: both directions in one step, in different places
    assert local(FORK, lower, upper, offers, group=[-1, -1, 0, 1])[1] == [4000, 6000]
    # equal needs: up
    assert local(FORK, lower, [INF, INF, INF, -4000], offers, group=[-1, 7, 7, 7])[1] == [4000, 0]


@pytest.mark.rule("LFP-01")
def test_a_perimeter_without_a_need_may_only_make_room():
    lower, upper = [-INF, -INF, 4000, -INF], [INF, 1000, INF, INF]
    offers = [(2, 0, 9000, 10, 0), (3, 1, 9000, 10, 0), (3, 0, 9000, 1, 0)]
    result, accepted = local(FORK, lower, upper, offers, group=[-1, -1, 0, 1])
    assert accepted == [4000, 3000, 0]
    assert why(result)[2] == "direction forbidden in the perimeter"
    # for a voltage need its place in the feeder helps: same direction
    voltage = ([0.0, 1.0, 1.0, 1.0], [-INF, -INF, 2.0, -INF], [INF] * 4)
    _, accepted = local(FORK, [-INF] * 4, [INF] * 4, [(3, 0, 9000, 1, 0), (3, 1, 9000, 1, 0)], voltage=voltage,
                        group=[-1, -1, 0, 1])  # fmt: skip
    assert accepted == [2000, 0]


def test_needs_are_rounded_up_and_limits_down():
    rows = rows_of([-INF, 0.4], [INF, INF])
    offers = {"node": [1], "direction": [0], "quantity_w": [[10]], "price_ueur_per_mwh": [1]}
    assert clear_local(forest([-1, 0]), rows, **offers).accepted_w.tolist() == [[1]]
    rows = rows_of([-INF, 7.2, -INF], [INF, INF, 3.9])
    offers["node"] = [2]
    result = clear_local(forest([-1, 0, 1]), rows, **offers)
    assert result.accepted_w.tolist() == [[3]]
    assert result.unserved_w.tolist() == [5]


@pytest.mark.parametrize(
    ("change", "error", "code"),
    [
        ({"quantity_w": [[-1]]}, ValidationError, "FX-A004"),
        ({"quantity_w": [[1.5]]}, ValidationError, "FX-A002"),
        ({"quantity_w": [[2**41]]}, ValidationError, "FX-A006"),
        ({"quantity_w": [[1, 1]]}, ValidationError, "FX-A001"),
        ({"price_ueur_per_mwh": [float("nan")]}, ValidationError, "FX-A002"),
        ({"node": [2]}, OfferError, "FX-M201"),
        ({"node": [-1]}, OfferError, "FX-M201"),
        ({"direction": [2]}, ValidationError, "FX-A006"),
        ({"submitted_at": [1, 2]}, OfferError, "FX-A001"),
        ({"submitted_at": [dt.datetime(2026, 1, 1, 9)]}, TimeSeriesError, "FX-T001"),
        ({"submitted_at": np.array(["2026-01-01T09"], "M8[s]")}, TimeSeriesError, "FX-T001"),
        ({"submitted_at": [None]}, OfferError, "FX-A010"),
        ({"submitted_at": ["2026-01-01T09:00+01:00"]}, ValidationError, "FX-A002"),
        ({"offer_id": [None]}, OfferError, "FX-A010"),
        ({"offer_id": [(1, 2)]}, OfferError, "FX-A001"),
        ({"offer_id": np.array([dt.date(2026, 1, 1)])}, ValidationError, "FX-A002"),
        ({"group": [0]}, ValidationError, "FX-A001"),
        ({"method": "greedy"}, OptionError, "FX-E002"),
    ],
)
def test_bad_arrays_are_refused(change, error, code):
    good = {"node": [1], "direction": [0], "quantity_w": [[10]], "price_ueur_per_mwh": [1]}
    with pytest.raises(error) as caught:
        clear_local(forest([-1, 0]), rows_of([-INF, 5.0], [INF, INF]), **{**good, **change})
    assert code in caught.value.codes


def test_nan_rows_and_twin_lines_are_refused():
    good = {"node": [1, 1], "direction": [0, 0], "quantity_w": [[10], [10]], "price_ueur_per_mwh": [1, 2]}
    with pytest.raises(ValidationError) as caught:
        clear_local(forest([-1, 0]), rows_of([-INF, float("nan")], [INF, INF]), **good)
    assert caught.value.codes == ("FX-A003",)
    with pytest.raises(OfferError) as caught:
        clear_local(forest([-1, 0]), rows_of([-INF, 5.0], [INF, INF]), offer_id=[4, 4], **good)
    assert caught.value.codes == ("FX-M202",)


EARLY = dt.datetime(2026, 1, 1, 10, 0, tzinfo=dt.timezone(dt.timedelta(hours=1)))
LATE = dt.datetime(2026, 1, 1, 9, 30, tzinfo=dt.UTC)  # its clock shows less


@pytest.mark.rule("LFP-01")
def test_ties_go_by_the_instant_and_whole_numbers_by_their_size():
    case = {"node": [1, 1], "direction": [0, 0], "quantity_w": [[9], [9]], "price_ueur_per_mwh": [1, 1]}

    def first(**keys):
        return clear_local(forest([-1, 0]), rows_of([-INF, 9], [INF, INF]), **case, **keys).accepted_w[:, 0].tolist()

    assert EARLY < LATE
    assert first(submitted_at=[EARLY, LATE], offer_id=[1, 0]) == [9, 0]
    assert first(submitted_at=[LATE, EARLY], offer_id=[0, 1]) == [0, 9]
    for numbers in ([9, 10], np.array([9, 10], object)):
        assert first(offer_id=numbers) == [9, 0]
        assert first(submitted_at=numbers, offer_id=[1, 0]) == [9, 0]
    with pytest.raises(ValidationError) as caught:
        first(offer_id=np.array([9, "10"], object))
    assert caught.value.codes == ("FX-A002",)
    with pytest.raises(ValidationError) as caught:
        first(submitted_at=np.array([9, LATE], object))
    assert caught.value.codes == ("FX-A002",)


OFFERS = {
    "offer_id": ["a", "b", "c"],
    "element": ["x", "x", "y"],
    "direction": ["up", "up", "up"],
    "step": [3, 3, 3],
    "quantity_w": [5000, 3000, 4000],
    "price_ueur_per_mwh": [50 * EUR, 40 * EUR, 45 * EUR],
}
NEEDS = {"element": ["f"], "direction": ["up"], "step": [3], "quantity_w": [8000]}
LIMITS = {"element": ["x"], "direction": ["up"], "step": [3], "capability_w": [3500]}
PARENT = {"element": ["x", "y", "f"], "parent": ["f", "f", "f"]}


@pytest.mark.rule("LFP-01")
def test_clear_takes_tables_and_a_tree():
    result = fx.clear(OFFERS, NEEDS, LIMITS, parent=PARENT)
    assert result.accepted_w.tolist() == [500, 3000, 4000]
    assert result.engine.tolist() == ["tree_merit_order"]
    assert result.unserved_w.tolist() == [500]
    assert result.total_cost_ueur == (500 * 50 + 3000 * 40 + 4000 * 45) * EUR // 4_000_000
    assert result.reason_element.tolist() == ["x", None, None]
    table = result.to_arrow()
    assert table.column("reason").to_pylist() == ["accepted in part: marginal", "accepted", "accepted"]
    assert fx.clear(table_of(OFFERS), NEEDS, LIMITS, parent=PARENT, method="lp").accepted_w.tolist() == [
        500,
        3000,
        4000,
    ]


def table_of(columns):
    import pyarrow as pa

    return pa.table(columns)


def submitted(times):
    return {**OFFERS, "price_ueur_per_mwh": [EUR] * 3, "element": ["x"] * 3, "submitted_at": times}


@pytest.mark.rule("LFP-01")
def test_tables_take_times_with_a_zone_only():
    import pyarrow as pa

    needs = {**NEEDS, "element": ["x"], "quantity_w": [3000]}
    aware = [LATE, EARLY, LATE]
    # from numbers: once pandapower is imported, pyarrow forgets the offset of a datetime
    stamps = pa.array([int(time.timestamp()) for time in aware]).cast(pa.timestamp("s", "Europe/Rome"))
    for offers in (submitted(aware), submitted(stamps), table_of(submitted(stamps))):
        assert fx.clear(offers, needs).accepted_w.tolist() == [0, 3000, 0]
    naive = [dt.datetime(2026, 1, 1, 9)] * 3
    clocks = (naive, np.array(naive, "M8[s]"), pa.array(naive, pa.timestamp("s")))
    for offers in (*map(submitted, clocks), table_of(submitted(clocks[2]))):
        with pytest.raises(TimeSeriesError) as caught:
            fx.clear(offers, needs)
        assert caught.value.codes == ("FX-T001",)
    with pytest.raises(OfferError) as refused:
        fx.clear(submitted([None, EARLY, LATE]), needs)
    assert refused.value.codes == ("FX-A010",)


@pytest.mark.rule("LFP-01")
def test_elements_that_stand_alone_take_the_plain_merit_order():
    needs = {"element": ["x", "y"], "direction": ["up", "up"], "step": [3, 3], "quantity_w": [6000, 1000]}
    result = fx.clear(OFFERS, needs, LIMITS)
    assert result.accepted_w.tolist() == [500, 3000, 1000]
    assert result.engine.tolist() == ["merit_order"]
    assert result.unserved_w.tolist() == [2500]
    other = fx.clear(OFFERS, needs, LIMITS, method="tree")
    assert other.accepted_w.tolist() == [500, 3000, 1000]
    assert other.engine.tolist() == ["tree_merit_order"]
    assert other.unserved_w.tolist() == [2500]


def test_clear_on_a_grid_uses_its_node_ids_and_keeps_perimeters_to_one_direction():
    grid = forest([-1, 0, 1, 1])
    grid.node_ids = np.array([10, 11, 12, 13])
    offers = {
        "offer_id": [1, 2], "element": [12, 13], "direction": [0, 1], "step": [0, 0], "quantity_w": [9, 9],
        "price_ueur_per_mwh": [1, 1],
    }  # fmt: skip
    needs = {"element": [12, 13], "direction": [0, 1], "step": [0, 0], "quantity_w": [4, 6]}
    assert fx.clear(offers, needs, grid=grid).accepted_w.tolist() == [4, 6]
    assert fx.clear(offers, needs, grid=grid, group={12: 0, 13: 0}).accepted_w.tolist() == [0, 6]


@pytest.mark.parametrize(
    ("offers", "needs", "options", "error", "code"),
    [
        ({"quantity_w": [-5, 1, 1]}, {}, {}, OfferError, "FX-A004"),
        ({"price_ueur_per_mwh": [float("nan"), 1, 1]}, {}, {}, OfferError, "FX-A002"),
        ({"element": ["x", "x", "nowhere"]}, {}, {}, UnknownIdError, "FX-M201"),
        ({}, {"element": ["nowhere"]}, {}, UnknownIdError, "FX-M201"),
        ({"step": [3, 3, 92]}, {}, {"day": "2026-03-29"}, OfferError, "FX-M203"),
        ({"step": [3, 3, -1]}, {}, {}, OfferError, "FX-M203"),
        ({"offer_id": ["a", "a", "c"]}, {}, {}, OfferError, "FX-M202"),
        ({"direction": ["up", "up", "left"]}, {}, {}, OfferError, "FX-A002"),
        ({}, {}, {"parent": {"element": ["x", "y", "f"], "parent": ["y", "x", "f"]}}, GridError, "FX-M205"),
        ({}, {}, {"method": "merit_order"}, OfferError, "FX-M204"),
    ],
)
def test_bad_tables_are_refused(offers, needs, options, error, code):
    options = {"parent": PARENT, **options}
    if "day" in options:
        options["day"] = fx.MarketDay(options["day"])
    with pytest.raises(error) as caught:
        fx.clear({**OFFERS, **offers}, {**NEEDS, **needs}, **options)
    assert code in caught.value.codes


def test_empty_tables_clear_to_nothing():
    empty = {name: [] for name in OFFERS}
    result = fx.clear(empty, NEEDS, parent=PARENT)
    assert result.accepted_w.size == 0
    assert result.unserved_w.tolist() == [8000]
    assert result.to_arrow().num_rows == 0
    result, _ = local([-1, 0], [-INF, 5.0], [INF, INF], [])
    assert result.unserved_w.tolist() == [5]
