from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flexcore.errors import RegisterError, StateError, UnknownIdError, ValidationError
from flexcore.register import prequalification as pq
from flexcore.register.states import AGGREGATE_PRODUCT
from tests.reference import register_aggregates as reference
from tests.register.conftest import assert_same, form, products_table, registered, snapshot, unit_ids

DAY = 86400
BITS = {
    "no due step": pq.NO_DUE_STEP,
    "volume": pq.VOLUME,
    "activation": pq.ACTIVATION,
    "step": pq.STEP,
    "ramp": pq.RAMP,
}


def series(*rows):
    return np.array(rows, np.int64)


def pass_test(register, agg, product, *, at=2000, power=None, delivered=None):
    """Ask for all that is to be qualified, and deliver it; upward what is given, and the first test is that one."""
    row = register.qualification_rows([agg], [product])[0]
    up = register.qualifications.up_w[row] if power is None else power
    down = register.qualifications.down_w[row]
    required = series(*([0, x, x, x] for x in (up, down) if x > 0))
    shift = required.copy()
    if delivered is not None:
        shift[0] = delivered
    shift[1:] *= -1  # down is more withdrawal
    n = len(required)
    tests = {"agg_id": [agg] * n, "product_id": [product] * n, "direction": [0, 1][:n]}
    return register.run_tests(tests, required, required + 10, required + 10 - shift, at=at)


def states(register):
    return [AGGREGATE_PRODUCT.states[state] for state in register.qualifications.state]


# -- technical test --------------------------------------------------------------------------------------------------


@pytest.mark.rule("PRQ-02")
def test_by_hand():
    # withdrawal 10 kW, asked to give 4 kW up: 3.6 kW on average is 900 per mille, and passes
    required, baseline = series([0, 4000, 4000]), series([10_000, 10_000, 10_000])
    good = pq.technical_test([0], required, baseline, series([0, 6200, 6600]))
    assert good.delivered_wqh.tolist() == [7200]  # what happens before the first due step does not count
    assert good.ratio.tolist() == [0.9]
    assert good.passed.tolist() == [True]
    poor = pq.technical_test([0], required, baseline, series([0, 6200, 6601]))
    assert poor.failed.tolist() == [pq.VOLUME]
    # down is the mirror image
    assert pq.technical_test([1], required, baseline, series([0, 13_800, 13_400])).passed.tolist() == [True]
    assert pq.technical_test([1], required, baseline, baseline).failed.tolist() == [pq.VOLUME]
    # a step that moves the wrong way fails also where no share of a step is asked for
    wrong = pq.technical_test([1], required, baseline, series([0, 6200, 6600])).failed.tolist()
    assert wrong == [pq.VOLUME | pq.ACTIVATION | pq.STEP]


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_against_the_loop(data):
    n, n_steps = data.draw(st.integers(1, 5)), data.draw(st.integers(0, 6))

    def table(low, high):
        row = st.lists(st.integers(low, high), min_size=n_steps, max_size=n_steps)
        return np.array(data.draw(st.lists(row, min_size=n, max_size=n)), np.int64).reshape(n, n_steps)

    required, baseline, metered = table(0, 4), table(-6, 6), table(-6, 6)
    direction = data.draw(st.lists(st.integers(0, 1), min_size=n, max_size=n))
    shares = [data.draw(st.lists(st.sampled_from([0, 500, 900, 1000]), min_size=n, max_size=n)) for _ in range(3)]
    result = pq.technical_test(
        direction, required, baseline, metered, min_pm=shares[0], step_pm=shares[1], ramp_pm=shares[2]
    )
    for row in range(n):
        arguments = [x[row].tolist() for x in (required, baseline, metered)]
        ratio, failed = reference.technical_test(direction[row], *arguments, *(s[row] for s in shares))
        assert result.failed[row] == sum(BITS[name] for name in failed)
        if ratio is None:
            assert np.isnan(result.ratio[row])
        else:
            assert result.ratio[row] == pytest.approx(float(ratio), rel=1e-15)


def test_threads_and_shapes():
    rng = np.random.default_rng(2)
    required, baseline, metered = (rng.integers(0, 100, (5000, 8)) for _ in range(3))
    way = rng.integers(0, 2, 5000)
    one = pq.technical_test(way, required, baseline, metered, n_threads=1)
    two = pq.technical_test(way, np.asfortranarray(required), baseline.astype(np.int32), metered, n_threads=2)
    assert (one.failed == two.failed).all()
    assert (one.delivered_wqh == two.delivered_wqh).all()
    with pytest.raises(ValidationError, match="FX-A001"):
        pq.technical_test(way, required, baseline[:, :7], metered)


# -- requests and tests in the register ------------------------------------------------------------------------------


@pytest.mark.rule("PRQ-01")
def test_products_hold_the_attributes_of_table_7(register):
    attributes = {
        "flex_area": [0, -1],
        "first_month": [11, 1],
        "last_month": [2, 12],
        "weekdays": [31, 127],
        "first_hour": [17, 0],
        "last_hour": [20, 23],
        "up": [True, True],
        "down": [False, True],
        "notice_s": [900, 300],
        "recovery_s": [3600, 0],
    }
    register.register_products(products_table(**{name: np.array(values) for name, values in attributes.items()}))
    for name, values in attributes.items():
        assert getattr(register.products, name).tolist() == values
    with pytest.raises(RegisterError, match="FX-R004"):
        register.register_products(products_table())


@pytest.mark.rule("PRQ-02")
def test_a_pass_qualifies_and_a_fail_refuses(market):
    register = market.register
    asked = register.request_products({"agg_id": ["L1", "L2", "L3"], "product_id": ["P_loc"] * 3})
    assert asked.all()
    assert register.qualifications.up_w.tolist() == [6000, 4000, 4000]
    assert register.qualifications.down_w.tolist() == [3000, 2000, 2000]
    assert pass_test(register, "L1", "P_loc").passed.all()
    poor = pass_test(register, "L2", "P_loc", delivered=[0, 4000, 2000, 4000])
    assert poor.failed.tolist() == [pq.VOLUME, 0]
    assert states(register) == ["PREQUALIFIED", "REFUSED", "REQUESTED"]
    quals = register.qualifications
    assert quals.ratio[:2].tolist() == [1.0, 10 / 12]
    assert np.isnan(quals.ratio[2])
    assert quals.approved_at.tolist() == [2000, -1, -1]
    assert quals.expires_at.tolist() == [2000 + 10 * DAY, -1, -1]
    assert quals.failed.tolist() == [0, pq.VOLUME, 0]
    with pytest.raises(StateError, match="L1 for P_loc"):
        pass_test(register, "L1", "P_loc")
    register.send("qualification", "reapply", rows=[1])
    pass_test(register, "L2", "P_loc", at=3000)
    assert states(register)[1] == "PREQUALIFIED"
    assert register.test_counts == (6, 6)  # three campaigns of two directions


def test_all_tests_of_a_qualification_must_pass(market):
    register = market.register
    register.request_products({"agg_id": ["L1"], "product_id": ["P_loc"]})
    tests = {"agg_id": ["L1", "L1"], "product_id": ["P_loc", "P_loc"], "direction": [0, 1]}
    required = series([6000, 6000], [3000, 3000])
    result = register.run_tests(tests, required, series([0, 0], [0, 0]), series([-6000, -6000], [3000, 0]), at=5)
    assert result.failed.tolist() == [0, pq.VOLUME]
    assert states(register) == ["REFUSED"]
    assert register.qualifications.ratio.tolist() == [0.5]
    assert register.qualifications.n_tests.tolist() == [2]


@pytest.mark.rule("PRQ-02")
@pytest.mark.parametrize("direction", [0, 1])
def test_a_direction_that_was_not_tested_is_not_qualified(market, direction):
    register = market.register
    register.request_products({"agg_id": ["L1"], "product_id": ["P_loc"]})
    sign = 1 - 2 * direction
    required = series([6000, 6000])
    tests = {"agg_id": ["L1"], "product_id": ["P_loc"], "direction": [direction]}
    result = register.run_tests(tests, required, required, required - sign * required, at=5)
    assert result.failed.tolist() == [pq.UNTESTED]
    assert states(register)[0] == "REFUSED"
    assert register.qualifications.failed[0] == pq.UNTESTED


def test_a_test_must_ask_for_the_power_and_leave_no_more_than_the_notice(market):
    register = market.register
    register.request_products({"agg_id": ["L1", "L2"], "product_id": ["P_loc"] * 2})
    assert pass_test(register, "L1", "P_loc", power=5999).failed.tolist() == [pq.POWER, 0]
    slow = register.units.activation_s.copy()
    slow[3] = 901
    register.units = replace(register.units, activation_s=slow)
    assert pass_test(register, "L2", "P_loc").failed.tolist() == [pq.NOTICE, pq.NOTICE]


REFUSED_REQUESTS = {
    "FX-R005": {"product_id": ["?"]},
    "FX-R018": {"product_id": ["P_glo"]},
    "FX-R019": {"agg_id": ["L1", "L1"], "product_id": ["P_loc", "P_loc"]},
    "FX-R020": {"up_w": [6500]},
    "FX-A006": {"up_w": [-2]},
}


@pytest.mark.parametrize("code", REFUSED_REQUESTS)
def test_refused_requests_change_nothing(market, code):
    register = market.register
    before = snapshot(register)
    with pytest.raises(RegisterError) as refused:
        register.request_products({"agg_id": ["L1"], "product_id": ["P_loc"]} | REFUSED_REQUESTS[code])
    assert code in refused.value.codes
    assert_same(before, snapshot(register))


@pytest.mark.parametrize(
    ("power", "accepted"),
    [((6000, 0), True), ((5999, 0), False), ((500, 0), False), ((0, 0), False), ((0, 1000), True)],
)
def test_requested_power_fits_the_product(market, power, accepted):
    table = {"agg_id": ["L1"], "product_id": ["P_loc"], "up_w": [power[0]], "down_w": [power[1]]}
    assert market.register.request_products(table, partial=True).tolist() == [accepted]
    assert market.register.qualifications.state.size == accepted


def test_the_perimeter_of_the_product(market):
    register = market.register
    columns = {"product_id": ["far", "near"], "flex_area": [3, 0]}
    register.register_products(products_table(operator=[0, 0], **columns))
    table = {"agg_id": ["L1", "L1"], "product_id": ["far", "near"]}
    with pytest.raises(RegisterError, match="FX-R021"):
        register.request_products(table)
    assert register.request_products(table, partial=True).tolist() == [False, True]


def test_tests_of_nothing(market):
    register = market.register
    before = snapshot(register)
    with pytest.raises(UnknownIdError, match="never requested"):
        pass_test(register, "L1", "P_loc")
    assert_same(before, snapshot(register))


# -- Table of Equivalences -------------------------------------------------------------------------------------------


def requested(market, **products):
    """L1 = G1 (pure case), L2 inside G2, L3 and G3 disjoint; L1, L2, L3 tested on the local product."""
    register = market.register
    if products:
        columns = products_table(product_id=np.array(["Q_loc", "Q_glo"]))
        register.register_products(columns | {name: np.array(values) for name, values in products.items()})
    local, global_ = ("Q_loc", "Q_glo") if products else ("P_loc", "P_glo")
    register.request_products({"agg_id": ["L1", "L2", "L3"], "product_id": [local] * 3})
    register.request_products({"agg_id": ["G1", "G2", "G3"], "product_id": [global_] * 3})
    for agg in ("L1", "L2", "L3"):
        pass_test(register, agg, local)
    return register


@pytest.mark.rule("PRQ-03")
def test_only_the_pure_case_is_equivalent(market):
    register = requested(market)
    table = register.apply_equivalences(at=3000)
    assert states(register)[3:] == ["EQUIVALENT", "REQUESTED", "REQUESTED"]
    assert table.derived_from.tolist() == [-1, -1, -1, 0, -1, -1]
    assert register.qualifications.derived_from.tolist() == table.derived_from.tolist()
    assert table.reason[3:].tolist() == [pq.GRANTED, pq.OTHER_AGGREGATE, pq.NO_TEST]
    assert register.test_counts == (6, 8)
    # the derived one ends with the test that it was derived from (10 days), not with its own validity (20 days)
    assert register.qualifications.expires_at[3] == 2000 + 10 * DAY
    again = snapshot(register)
    register.apply_equivalences(at=3000)
    assert_same(again, snapshot(register))


@pytest.mark.rule("PRQ-03")
@pytest.mark.parametrize(
    ("products", "reason", "with_inclusion"),
    [
        ({"service": ["congestion", "balancing"]}, pq.OTHER_SERVICE, pq.OTHER_SERVICE),
        ({"test_setup": ["pgui", "scada"]}, pq.OTHER_SETUP, pq.OTHER_SETUP),
        ({"test_min_pm": [900, 950]}, pq.OTHER_REQUIREMENT, pq.OTHER_REQUIREMENT),
        ({"test_min_pm": [950, 900]}, pq.OTHER_REQUIREMENT, pq.GRANTED),
        ({"notice_s": [300, 900]}, pq.OTHER_REQUIREMENT, pq.GRANTED),
        ({"notice_s": [900, 300]}, pq.OTHER_REQUIREMENT, pq.OTHER_REQUIREMENT),
        ({"validity_days": [5, 9]}, pq.GRANTED, pq.GRANTED),
    ],
)
def test_refusals_are_coded(market, products, reason, with_inclusion):
    register = requested(market, **products)
    before = register.qualifications
    assert register.apply_equivalences(at=3000).reason[3] == reason
    register.qualifications = before
    assert register.apply_equivalences(at=3000, inclusion=True).reason[3] == with_inclusion


def test_other_power_is_not_the_pure_case(market):
    register = market.register
    register.request_products({"agg_id": ["L1"], "product_id": ["P_loc"]})
    register.request_products({"agg_id": ["G1"], "product_id": ["P_glo"], "up_w": [5000]})
    pass_test(register, "L1", "P_loc")
    before = register.qualifications
    assert register.apply_equivalences(at=3000).reason[1] == pq.OTHER_POWER
    register.qualifications = before
    assert register.apply_equivalences(at=3000, inclusion=True).reason[1] == pq.GRANTED  # 5 kW of a tested 6 kW
    register.qualifications = before
    assert register.apply_equivalences(at=2000 + 10 * DAY).reason[1] == pq.NO_TEST  # expired


@pytest.mark.rule("PRQ-03")
def test_an_equivalence_saves_the_tests_of_one_decision(market):
    register = market.register
    register.request_products({"agg_id": ["L1", "G1"], "product_id": ["P_loc", "P_glo"]})
    pass_test(register, "L1", "P_loc", delivered=[0, 0, 0, 0])
    register.send("qualification", "reapply", rows=[0])
    for year, counts in enumerate([(4, 6), (6, 10), (8, 14)]):  # the failed campaign of two tests saved nothing
        at = 2000 + year * 365 * DAY
        register.expire(at)
        pass_test(register, "L1", "P_loc", at=at)
        register.apply_equivalences(at=at)
        assert register.test_counts == counts
    # verified without a test: nothing to be saved
    register.expire(2000 + 3 * 365 * DAY)
    register.send("qualification", "admit", rows=[0], at=at)
    register.send("qualification", "verify", rows=[0], at=at)
    register.apply_equivalences(at=at)
    assert states(register) == ["VERIFIED", "EQUIVALENT"]
    assert register.test_counts == (8, 14)


def test_a_test_of_the_other_operator_does_not_count(market):
    register = market.register
    register.request_products({"agg_id": ["L1", "G1"], "product_id": ["P_loc", "P_glo"]})
    pass_test(register, "G1", "P_glo")
    assert register.apply_equivalences(at=3000).reason.tolist() == [pq.NO_TEST, pq.NOT_ASKED]


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_equivalences_against_the_loop(data):
    register = registered()
    register.apply_static_light(at=1000)
    units = list(range(6))
    groups = {}
    for side, name in ((0, "L"), (1, "G")):
        where = data.draw(st.lists(st.integers(0, 2), min_size=6, max_size=6))
        for k in range(3):
            groups[f"{name}{k}"] = ("B1", side, [u for u in units if where[u] == k])
    n_members = sum(len(group[2]) for group in groups.values())
    power = data.draw(st.lists(st.sampled_from([1000, 2000]), min_size=n_members, max_size=n_members))
    form(register, groups, up_w=power)
    pick = lambda *values: data.draw(st.lists(st.sampled_from(values), min_size=6, max_size=6))  # noqa: E731
    products = {
        "product_id": np.array([f"P{k}" for k in range(6)]),
        "operator": np.array([0, 0, 0, 1, 1, 1]),
        "service": np.array(pick("a", "a", "b")),
        "test_setup": np.array(pick("x", "x", "y")),
        "notice_s": np.array(pick(600, 900)),
        "test_min_pm": np.array(pick(800, 900)),
        "down": np.array(pick(True, False)),
    }
    register.register_products(products)
    names = list(groups)
    rows = [(a, p) for a in names for p in range(6) if (a[0] == "G") == (p >= 3) and data.draw(st.booleans())]
    table = {"agg_id": np.array([a for a, _ in rows], "U2"), "product_id": np.array([f"P{p}" for _, p in rows], "U2")}
    register.request_products(table, partial=True)
    before = register.qualifications
    tested = np.array(data.draw(st.lists(st.booleans(), min_size=before.state.size, max_size=before.state.size)), bool)
    approved = np.array(data.draw(st.lists(st.integers(5, 7), min_size=tested.size, max_size=tested.size)), np.int64)
    register.qualifications = replace(
        before,
        state=np.where(tested, AGGREGATE_PRODUCT.state("PREQUALIFIED"), 0).astype(np.uint8),
        approved_at=np.where(tested, approved, -1),
        expires_at=np.where(tested, 10**6, -1),
    )
    inclusion = data.draw(st.booleans())
    result = register.apply_equivalences(at=100, inclusion=inclusion)
    u, goods, quals = register.units, register.products, register.qualifications
    members = {}
    for position, name in enumerate(names):
        side = groups[name][1]
        held = np.flatnonzero(u.aggregate[side] == position)
        members[name] = {int(k): (int(u.enrolled_up_w[side, k]), int(u.enrolled_down_w[side, k])) for k in held}
    catalogue = [{f: getattr(goods, f)[p] for f in goods.__dataclass_fields__} for p in range(6)]
    entries = [
        {
            "aggregate": names[quals.aggregate[q]],
            "product": int(quals.product[q]),
            "up": quals.up_w[q],
            "down": quals.down_w[q],
            "approved_at": approved[q],
        }
        for q in range(tested.size)
    ]
    sources = [entries[q] for q in np.flatnonzero(tested)]
    for q in range(tested.size):
        got = result.derived_from[q]
        if tested[q]:
            assert got == -1
            assert result.reason[q] == pq.NOT_ASKED
            continue
        expected = reference.equivalence(entries[q], sources, catalogue, members, inclusion=inclusion)
        found = None if got < 0 else tuple(entries[got][key] for key in ("approved_at", "aggregate", "product"))
        assert found == expected
        assert (result.reason[q] == pq.GRANTED) == (expected is not None)


# -- expiry and change -----------------------------------------------------------------------------------------------


@pytest.mark.rule("PRQ-04")
def test_expiry_reopens_what_was_tested_and_what_was_derived(market):
    register = requested(market)
    register.apply_equivalences(at=3000)
    assert register.expire(2000 + 10 * DAY - 1).size == 0
    assert register.expire(2000 + 10 * DAY).tolist() == [0, 1, 2, 3]
    assert states(register) == ["REQUESTED"] * 6
    assert (register.qualifications.approved_at == -1).all()
    assert (register.qualifications.derived_from == -1).all()


@pytest.mark.rule("PRQ-04")
def test_a_relevant_change_reopens_the_aggregates_of_the_unit(market):
    register = requested(market)
    register.apply_equivalences(at=3000)
    register.send("grid", "start")
    register.send("grid", "approve", at=3000)
    register.report_change(register.unit_rows(unit_ids(1)))
    assert states(register) == ["REQUESTED", "PREQUALIFIED", "PREQUALIFIED", "REQUESTED", "REQUESTED", "REQUESTED"]
    grid = register.aggregates.grid_state.tolist()
    assert grid == [1, 2, 2, 1, 2, 2]  # L1 and G1 back in progress, and their approval stands meanwhile
    assert (register.aggregates.grid_approved_at == 3000).all()
    assert register.units.light_state[1] == 0
    assert register.units.light_approved_at[1] == 1000
    # a new owner takes over no approval, be the light repeated already or not
    register.report_change(register.unit_rows(unit_ids(1, 2)), new_owner=True)
    assert register.units.light_approved_at[:4].tolist() == [1000, -1, -1, 1000]


@pytest.mark.rule("PRQ-04")
def test_a_new_member_reopens_too(market):
    register = requested(market)
    register.enrol({"agg_id": ["L1"], "unit_id": unit_ids(6)})
    assert states(register)[:3] == ["REQUESTED", "PREQUALIFIED", "PREQUALIFIED"]


@pytest.mark.rule("PRQ-04")
def test_a_cut_leaves_no_more_to_qualify_than_is_enrolled(market):
    register = requested(market)
    register.report_change(register.unit_rows(unit_ids(0, 1, 3)), up_w=[0, 0, 1250], down_w=[1000, 1000, 0])
    # L1, L2, G1, G2; the last 1000 W down of L2 are as much as the minimum, and G3 is not concerned
    quals = register.qualifications
    assert quals.up_w.tolist() == [2000, 3000, 4000, 2000, 5000, 4000]
    assert quals.down_w.tolist() == [3000, 1000, 2000, 3000, 2000, 2000]
    assert pass_test(register, "L1", "P_loc", at=4000).passed.all()
    assert states(register)[0] == "PREQUALIFIED"
    # what falls below the minimum is not offered at all
    register.report_change(register.unit_rows(unit_ids(2)), up_w=[999])
    assert register.qualifications.up_w[0] == 0


@pytest.mark.rule("PRQ-04")
def test_a_reopened_request_can_be_replaced(market):
    register = requested(market)
    again = {"agg_id": ["L1"], "product_id": ["P_loc"], "up_w": [4000], "down_w": [0]}
    with pytest.raises(RegisterError, match="FX-R019"):  # it is qualified
        register.request_products(again)
    register.enrol({"agg_id": ["L1"], "unit_id": unit_ids(6)})
    assert register.qualifications.up_w[0] == 6000  # more is enrolled, but nobody asked for it
    n = register.qualifications.state.size
    assert register.request_products({"agg_id": ["L1"], "product_id": ["P_loc"]}).all()
    assert register.qualifications.up_w[0] == 8000
    assert register.request_products(again).all()
    assert (register.qualifications.up_w[0], register.qualifications.down_w[0]) == (4000, 0)
    assert register.qualifications.state.size == n
    assert pass_test(register, "L1", "P_loc", at=4000).passed.all()
