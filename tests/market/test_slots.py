"""Slots against the dict reference, and the rules of mutual unavailability."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flexcore.errors import StateError, ValidationError
from flexcore.market.slots import (
    BLOCKED,
    FREE,
    GLOBAL_FIRM,
    GLOBAL_PRELIMINARY,
    LOCAL_FIRM,
    LOCAL_PRELIMINARY,
    Slots,
)
from flexcore.units import GLOBAL, LOCAL
from tests.reference.market_slots import DictSlots


def steps(n_steps, *marked):
    mask = np.zeros(n_steps, bool)
    for part in marked:
        mask[part] = True
    return mask


@pytest.mark.rule("MUT-01")
def test_a_held_pod_is_unavailable_to_the_other_operator():
    slots = Slots(3, 8)
    slots.hold(LOCAL, [1], steps(8, slice(0, 4)), firm=True)
    unavailable = slots.unavailable(GLOBAL)
    assert unavailable[1, :4].all()
    assert unavailable.sum() == 4
    with pytest.raises(StateError) as error:
        slots.hold(GLOBAL, [0, 1], steps(8, slice(3, 5)))
    assert error.value.codes == ("FX-M101",)
    assert error.value.findings[0].ids == (1,)


@pytest.mark.rule("MUT-01")
def test_a_refused_hold_changes_nothing():
    slots = Slots(4, 8)
    slots.hold(GLOBAL, [3], steps(8, 5))
    before = slots.state.copy()
    for pods, mask in (([0, 1, 2, 3], np.ones(8, bool)), ([3], steps(8, 5)), ([0, 0], np.ones((2, 8), bool))):
        with pytest.raises(StateError):
            slots.hold(LOCAL, pods, mask)
        assert np.array_equal(slots.state, before)


@pytest.mark.rule("MUT-02")
def test_the_rest_of_a_selected_pod_is_never_available_but_other_pods_are():
    slots = Slots(2, 4)
    slots.hold(LOCAL, [0], np.ones(4, bool), firm=True)
    assert slots.unavailable(LOCAL)[0].all()
    assert not slots.unavailable(LOCAL)[1].any()
    assert not slots.unavailable(GLOBAL)[1].any()
    with pytest.raises(StateError) as error:
        slots.hold(LOCAL, [0], np.ones(4, bool))
    assert error.value.codes == ("FX-M102",)
    slots.hold(GLOBAL, [1], np.ones(4, bool))


@pytest.mark.rule("MUT-03")
def test_preliminary_holds_block_the_other_operator_until_released():
    slots = Slots(2, 8)
    assert slots.hold(GLOBAL, [0], np.ones(8, bool), firm=slice(0, 4)) == 8
    assert (slots.state[0, :4] == GLOBAL_FIRM).all()
    assert (slots.state[0, 4:] == GLOBAL_PRELIMINARY).all()
    assert slots.unavailable(LOCAL)[0].all()
    # its owner plans the preliminary part anew, the firm part stays
    assert slots.unavailable(GLOBAL)[0].tolist() == [True] * 4 + [False] * 4
    assert slots.release(LOCAL, 0) == 0
    assert slots.release(GLOBAL, 4) == 4
    assert not slots.unavailable(LOCAL)[0, 4:].any()
    slots.hold(LOCAL, [0], steps(8, slice(4, 8)), firm=slice(4, 6))
    assert slots.state[0].tolist() == [GLOBAL_FIRM] * 4 + [LOCAL_FIRM] * 2 + [LOCAL_PRELIMINARY] * 2


def test_make_firm_keeps_the_holder():
    slots = Slots(1, 8)
    slots.hold(LOCAL, [0], np.ones(8, bool))
    assert slots.make_firm(GLOBAL, slice(0, 8)) == 0
    assert slots.make_firm(LOCAL, slice(2, 4)) == 2
    assert slots.release(LOCAL, 0) == 6
    assert slots.state[0].tolist() == [0, 0, 2, 2, 0, 0, 0, 0]


def test_blocked_slots_are_unavailable_to_both_and_holders_keep_theirs():
    slots = Slots(2, 4)
    slots.hold(LOCAL, [0], steps(4, 0), firm=True)
    assert slots.block([0, 1], steps(4, 0, 1)) == 3
    assert slots.state.tolist() == [[LOCAL_FIRM, BLOCKED, FREE, FREE], [BLOCKED, BLOCKED, FREE, FREE]]
    assert slots.unavailable(LOCAL)[:, 1].all()
    assert slots.unavailable(GLOBAL)[:, 1].all()
    assert slots.movable().tolist() == [[False, False, True, True], [False, False, True, True]]
    with pytest.raises(StateError) as error:
        slots.hold(GLOBAL, [1], steps(4, 1))
    assert error.value.codes == ("FX-M103",)


def test_one_slot_twice_in_a_call_is_refused_but_a_pod_may_stand_in_two_lines():
    slots = Slots(2, 4)
    slots.hold(LOCAL, [1, 1], np.array([[True, False, False, False], [False, True, False, False]]))
    assert slots.held(LOCAL)[1].tolist() == [True, True, False, False]
    with pytest.raises(StateError) as error:
        slots.hold(LOCAL, [0, 0], np.ones(4, bool))
    assert error.value.codes == ("FX-M104",)


@pytest.mark.rule("SES-03")
def test_publication_lists_firm_and_preliminary_runs():
    slots = Slots(3, 8)
    slots.hold(LOCAL, [2], np.ones(8, bool), firm=slice(0, 4))
    slots.hold(GLOBAL, [0], steps(8, slice(1, 3), 6))
    published = slots.publish(1, "MSD")
    rows = list(zip(published.pod, published.state, published.start, published.stop, strict=True))
    assert rows == [
        (0, GLOBAL_PRELIMINARY, 1, 3),
        (0, GLOBAL_PRELIMINARY, 6, 7),
        (2, LOCAL_FIRM, 0, 4),
        (2, LOCAL_PRELIMINARY, 4, 8),
    ]
    assert published.firm.pod.tolist() == [2]
    assert published.preliminary.pod.tolist() == [0, 0, 2]
    table = published.to_arrow(["a", "b", "c"]).to_pydict()
    assert table["pod"] == ["a", "a", "c", "c"]
    assert table["firm"] == [False, False, True, False]


def test_wrong_arguments_are_typed_errors():
    slots = Slots(2, 4)
    with pytest.raises(ValidationError) as error:
        slots.hold(LOCAL, [2], np.ones(4, bool))
    assert error.value.codes == ("FX-A006",)
    with pytest.raises(ValidationError) as error:
        slots.hold(LOCAL, [0], np.ones(5, bool))
    assert error.value.codes == ("FX-A001",)
    for act in (slots.hold, lambda _, mask, steps: slots.block(mask, steps)):
        with pytest.raises(ValidationError, match="flatnonzero") as error:
            act(LOCAL, np.array([False, True]), np.ones(4, bool))
        assert error.value.codes == ("FX-A002",)
    for operator in (2, -1, 0.5, True):
        for act in (
            lambda who: slots.hold(who, [0], np.ones(4, bool)),
            lambda who: slots.release(who, 0),
            lambda who: slots.make_firm(who, slice(0, 4)),
            slots.unavailable,
            slots.held,
        ):
            with pytest.raises(ValidationError, match="operator"):
                act(operator)
    assert not slots.state.any()
    with pytest.raises(ValueError):
        slots.state[0, 0] = 1


def test_exclusive_awards_are_checked_against_the_slots():
    slots = Slots(2, 2)
    slots.hold(LOCAL, [0], np.ones(2, bool))
    local, globally = np.array([[5, 5], [0, 0]]), np.array([[0, 0], [0, 0]])
    slots.check_exclusive(local, globally)
    globally[0, 1] = 3
    with pytest.raises(StateError) as error:
        slots.check_exclusive(local, globally)
    assert error.value.findings[0].rows == (0,)


N_PODS, N_STEPS = 4, 6
ACTION = st.tuples(
    st.sampled_from(["hold", "release", "firm", "block"]),
    st.sampled_from([LOCAL, GLOBAL]),
    st.lists(st.integers(0, N_PODS - 1), max_size=3),
    st.lists(st.booleans(), min_size=N_STEPS, max_size=N_STEPS),
    st.integers(0, N_STEPS),
)


@pytest.mark.rule("MUT-01")
@settings(max_examples=200, deadline=None)
@given(st.lists(ACTION, max_size=12))
def test_any_sequence_of_actions_equals_the_dict_reference(actions):
    slots, reference = Slots(N_PODS, N_STEPS), DictSlots(N_PODS, N_STEPS)
    for kind, operator, pods, mask, step in actions:
        if kind == "hold":
            done = reference.hold(operator, pods, [mask] * len(pods), range(step))
            try:
                slots.hold(operator, pods, np.array(mask), firm=slice(0, step))
                assert done
            except StateError:
                assert not done
        elif kind == "release":
            assert slots.release(operator, step) == reference.release(operator, step)
        elif kind == "firm":
            assert slots.make_firm(operator, slice(0, step)) == reference.make_firm(operator, range(step))
        else:
            slots.block(pods, np.array(mask))
            reference.block(pods, [mask] * len(pods))
        expected = [[reference.state(pod, t) for t in range(N_STEPS)] for pod in range(N_PODS)]
        assert slots.state.tolist() == expected
        for side, states in ((LOCAL, (LOCAL_PRELIMINARY, LOCAL_FIRM)), (GLOBAL, (GLOBAL_PRELIMINARY, GLOBAL_FIRM))):
            np.testing.assert_array_equal(slots.held(side), np.isin(expected, states))
            marked = [[reference.unavailable(side, pod, t) for t in range(N_STEPS)] for pod in range(N_PODS)]
            assert slots.unavailable(side).tolist() == marked


def test_threads_and_chunks_change_no_bit(monkeypatch):
    monkeypatch.setattr("flexcore.market.slots._CHUNK", 7)
    rng = np.random.default_rng(1)
    mask = rng.random((50, 92)) < 0.3
    one, two = Slots(60, 92), Slots(60, 92, n_threads=2)
    for slots in (one, two):
        slots.hold(LOCAL, np.arange(50), mask, firm=slice(0, 16))
        slots.hold(GLOBAL, np.arange(50), ~mask, firm=slice(0, 16))
        slots.release(GLOBAL, 16)
    assert np.array_equal(one.state, two.state)
    assert np.array_equal(one.copy().state, two.state)
    a, b = one.publish(1, "LFP"), two.publish(1, "LFP")
    assert all(np.array_equal(getattr(a, name), getattr(b, name)) for name in ("pod", "state", "start", "stop"))
