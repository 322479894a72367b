import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flexcore.errors import RegisterError, StateError
from flexcore.register.aggregates import (
    CONFIGURATIONS,
    DISJOINT,
    IDENTICAL,
    INSIDE,
    OVERLAPPING,
    classify,
    configurations,
)
from flexcore.register.states import AGGREGATE
from tests.reference import register_aggregates as reference
from tests.register.conftest import assert_same, form, pod_codes, registered, snapshot, unit_ids, units_table


@pytest.mark.rule("AGG-01")
def test_part_of_the_validated_power_is_enrolled(register):
    form(register, {"L1": ("B1", 0, [2, 0]), "G1": ("B1", 1, [0])}, up_w=[500, 1500, 800], down_w=[-1, 0, 1000])
    m = register.members
    assert register.units.unit_id[m.unit].tolist() == unit_ids(0, 2, 0).tolist()  # ascending by id
    assert m.indptr.tolist() == [0, 2, 3]
    assert m.up_w.tolist() == [1500, 500, 800]
    assert m.down_w.tolist() == [0, 1000, 1000]
    assert [total.tolist() for total in register.enrolled_w()] == [[2000, 800], [1000, 1000]]
    assert (register.aggregates.state == 1).all()


def refused(register, code, aggregates, **columns):
    before = snapshot(register)
    with pytest.raises(RegisterError) as error:
        form(register, aggregates, **columns)
    assert code in error.value.codes
    assert_same(before, snapshot(register))
    return next(finding for finding in error.value.findings if finding.code == code)


@pytest.mark.rule("AGG-01")
def test_an_aggregate_with_two_bsps(register):
    finding = refused(register, "FX-R010", {"L1": ("B1", 0, [0, 8]), "L2": ("B2", 0, [9])})
    assert finding.ids == ("L1",)
    assert finding.rows == (1,)
    assert unit_ids(8)[0] in finding.message


@pytest.mark.rule("AGG-02")
def test_a_unit_in_two_local_aggregates(register):
    finding = refused(register, "FX-R011", {"L1": ("B1", 0, [0, 1]), "L2": ("B1", 0, [1, 2])})
    assert finding.ids == (unit_ids(1)[0],) * 2
    assert "'L1', 'L2'" in finding.message
    # one local and one global aggregate is what a unit may have
    form(register, {"L1": ("B1", 0, [0, 1]), "G1": ("B1", 1, [1, 2])})
    # and the rule holds against aggregates that were formed earlier
    finding = refused(register, "FX-R011", {"L3": ("B1", 0, [1])})
    assert "'L1', 'L3'" in finding.message
    assert "local" in finding.message
    finding = refused(register, "FX-R011", {"G3": ("B1", 1, [2])})
    assert "global" in finding.message


@pytest.mark.rule("AGG-03")
def test_a_shared_unit_has_one_bsp(register):
    form(register, {"L1": ("B1", 0, [0, 1])})
    finding = refused(register, "FX-R012", {"G1": ("B2", 1, [1])})
    assert finding.ids == (unit_ids(1)[0],)
    assert "'G1'" in finding.message
    assert "'L1'" in finding.message


def test_a_local_aggregate_lies_in_one_area():
    from tests.register.conftest import Nodes, Register, pods_table

    register = Register(Nodes(["n0", "n1", "n2", "n3"]))
    register.register_parties({"party_id": ["B1", "B2"], "kind": ["BSP", "BSP"]})
    register.register_pods(pods_table(flex_area=np.arange(12) // 6))
    register.register_units(units_table())
    register.apply_static_light(at=1)
    finding = refused(register, "FX-R013", {"L1": ("B1", 0, [4, 5, 6])})
    assert finding.ids == (unit_ids(6)[0],)
    form(register, {"G1": ("B1", 1, [4, 5, 6])})  # a global one may span areas


@pytest.mark.parametrize(
    ("code", "aggregates", "columns"),
    [
        ("FX-R005", {"L1": ("nobody", 0, [0])}, {}),
        ("FX-R006", {"L1": ("DSO", 0, [0])}, {}),
        ("FX-R005", {"L1": ("B1", 0, [0])}, {"unit_id": ["?"]}),
        ("FX-R005", {"L1": ("B1", 0, [0])}, {"agg_id": ["L7"]}),
        ("FX-R014", {"L1": ("B1", 0, [0])}, {"up_w": [2001]}),
        ("FX-A006", {"L1": ("B1", 0, [0])}, {"up_w": [-2]}),
        ("FX-A006", {"L1": ("B1", 2, [0])}, {}),
    ],
)
def test_refused_aggregates_change_nothing(register, code, aggregates, columns):
    refused(register, code, aggregates, **columns)


def test_without_members_nothing_is_activated(register):
    form(register, {"L1": ("B1", 0, []), "L2": ("B1", 0, [0])})
    assert register.aggregates.state.tolist() == [0, 1]
    before = snapshot(register)
    with pytest.raises(StateError, match="FX-R017"):
        register.send("aggregate", "activate", rows=[0])
    assert_same(before, snapshot(register))
    register.enrol({"agg_id": ["L1"], "unit_id": unit_ids(1)})
    register.send("aggregate", "activate", rows=[0])
    assert register.aggregates.state.tolist() == [1, 1]


def test_termination_frees_the_members(register):
    form(register, {"L1": ("B1", 0, [0, 1]), "G1": ("B1", 1, [0])})
    register.send("aggregate", "terminate", rows=[0])
    assert (register.units.aggregate[0] == -1).all()
    assert register.units.aggregate[1, 0] == 1
    with pytest.raises(RegisterError, match="FX-R022"):
        register.enrol({"agg_id": ["L1"], "unit_id": unit_ids(1)})
    register.send("unit", "terminate", rows=[0])
    assert register.members.unit.size == 0
    with pytest.raises(RegisterError, match="FX-R022"):
        register.enrol({"agg_id": ["G1"], "unit_id": unit_ids(0)})


@pytest.mark.rule("REG-02")
def test_an_aggregate_that_loses_its_last_member_is_inactive(register):
    form(register, {"L1": ("B1", 0, [0]), "G1": ("B1", 1, [0, 1])})
    register.send("unit", "terminate", rows=[0])
    assert [AGGREGATE.states[state] for state in register.aggregates.state] == ["INACTIVE", "ACTIVE"]
    with pytest.raises(StateError, match="FX-R017"):
        register.send("aggregate", "resume", rows=[0])
    register.enrol({"agg_id": ["L1"], "unit_id": unit_ids(1)})
    register.send("aggregate", "resume", rows=[0])
    assert AGGREGATE.states[register.aggregates.state[0]] == "ACTIVE"


# -- Table 8 ---------------------------------------------------------------------------------------------------------


@pytest.mark.rule("AGG-04")
@pytest.mark.parametrize(
    ("local", "global_", "kind", "toe", "bsp"),
    [
        # D4.1 Table 8: (conformation, BSP, ToE applicability)
        ([0, 1, 2], [0, 1, 2], IDENTICAL, True, "B1"),  # the same units: single BSP, yes
        ([0, 1], [0, 1, 2], INSIDE, False, "B1"),  # one inside the other: single BSP, no
        ([0, 1], [1, 2], OVERLAPPING, False, "B1"),  # some units shared: single BSP, no
        ([0, 1], [2, 3], DISJOINT, False, "B1"),  # nothing shared: single BSP ...
        ([0, 1], [8, 9], DISJOINT, False, "B2"),  # ... or different ones, no
    ],
)
def test_the_four_rows_of_table_8(register, local, global_, kind, toe, bsp):
    form(register, {"L": ("B1", 0, local), "G": (bsp, 1, global_)})
    assert classify(unit_ids(*local), unit_ids(*global_)) == kind
    assert register.classify("L", "G") == register.classify("G", "L") == kind
    pairs = register.configurations()
    assert pairs.between(0, 1) == pairs.between(1, 0) == kind
    assert pairs.toe.tolist() == ([toe] if kind != DISJOINT else [])
    assert CONFIGURATIONS[kind] == reference.configuration(local, global_)


@pytest.mark.rule("AGG-04")
def test_the_same_units_with_other_power_are_not_the_pure_case(register):
    form(register, {"L": ("B1", 0, [0, 1]), "G": ("B1", 1, [0, 1])}, up_w=[-1, -1, -1, 1999])
    pairs = register.configurations()
    assert pairs.configuration.tolist() == [IDENTICAL]
    assert pairs.same_power.tolist() == [False]
    assert pairs.toe.tolist() == [False]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(-1, 2), st.integers(-1, 2), st.booleans()), min_size=1, max_size=10))
def test_all_pairs_against_sets(rows):
    register = registered()
    n = len(rows)
    from dataclasses import replace

    sides = np.array([[a, b + 3 if b >= 0 else -1] for a, b, _ in rows], np.int32).T
    power = np.array([[5, 5 if same else 6] for _, _, same in rows], np.int64).T
    units = replace(register.units, aggregate=sides, enrolled_up_w=power, enrolled_down_w=power)
    pairs = configurations(units, 6)
    found = {
        (a, b): (k, s)
        for a, b, k, s in zip(pairs.local, pairs.global_, pairs.configuration, pairs.same_power, strict=True)
    }
    for a in range(3):
        for b in range(3, 6):
            one, other = ({u for u in range(n) if sides[k, u] == x} for k, x in ((0, a), (1, b)))
            expected = reference.configuration(one, other)
            assert CONFIGURATIONS[pairs.between(a, b)] == expected
            if expected == "disjoint":
                assert (a, b) not in found
            else:
                assert CONFIGURATIONS[found[a, b][0]] == expected
                assert found[a, b][1] == all(rows[u][2] for u in one & other)
                assert CONFIGURATIONS[classify(list(one), list(other))] == expected


def test_aggregate_sums_count_a_pod_once(register):
    register.register_units(
        {
            "unit_id": ["second"],
            "pod_code": pod_codes(1),
            "bsp": ["B1"],
            "technology": [8],
            "up_w": [10],
            "down_w": [10],
            "activation_s": [1],
        }
    )
    register.apply_static_light(at=1)
    form(register, {"L1": ("B1", 0, [1, 2, 0]), "L2": ("B2", 0, [9])})
    register.enrol({"agg_id": ["L1"], "unit_id": ["second"]})
    values = np.arange(24).reshape(12, 2)
    assert register.aggregate_sums_w(values).tolist() == [[0 + 2 + 4, 1 + 3 + 5], [18, 19]]
    assert register.aggregate_sums_w(values.astype(np.int32), n_threads=2).tolist() == [[6, 9], [18, 19]]
