import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flexcore.errors import OptionError, StateError, ValidationError
from flexcore.register import states
from flexcore.register.states import MACHINES, NO_EVENT, apply_events, approval_times
from tests.reference import register_states as reference


@pytest.mark.rule("REG-02")
@pytest.mark.parametrize("machine", MACHINES, ids=lambda machine: machine.name)
def test_every_state_and_event_as_drawn(machine):
    drawn = reference.transitions(getattr(reference, machine.name))
    assert {state for pair in drawn for state in (pair[0], drawn[pair])} == set(machine.states)
    assert {event for _, event in drawn} == set(machine.events)
    for s, state in enumerate(machine.states):
        for e, event in enumerate(machine.events):
            expected = drawn.get((state, event))
            moved = apply_events(machine, [s], [e], partial=True)
            if expected is None:
                assert (moved.state[0], moved.reason[0]) == (s, states.ILLEGAL)
                with pytest.raises(StateError) as refused:
                    apply_events(machine, [s], event, ids=["it"])
                assert refused.value.codes == ("FX-R016",)
                assert event in str(refused.value)
                assert state in str(refused.value)
                assert refused.value.findings[0].ids == ("it",)
            else:
                assert machine.states[moved.state[0]] == expected
                assert moved.reason[0] == states.APPLIED
                for before in (-1, 77):
                    after = approval_times(machine, np.array([before]), moved, 99)[0]
                    assert after == reference.approval(machine.name, event, before, 99)


@settings(max_examples=50, deadline=None)
@given(st.data())
def test_columns_agree_with_the_dict(data):
    machine = data.draw(st.sampled_from(MACHINES))
    drawn = reference.transitions(getattr(reference, machine.name))
    n = data.draw(st.integers(0, 40))
    state = data.draw(st.lists(st.integers(0, len(machine.states) - 1), min_size=n, max_size=n))
    codes = st.one_of(st.just(NO_EVENT), st.integers(0, len(machine.events) - 1))
    event = data.draw(st.lists(codes, min_size=n, max_size=n))
    allowed = data.draw(st.lists(st.booleans(), min_size=n, max_size=n))
    moved = apply_events(machine, state, event, allowed=allowed, partial=True)
    refused = 0
    for row in range(n):
        name = machine.states[state[row]]
        target = None if event[row] == NO_EVENT else drawn.get((name, machine.events[event[row]]))
        applies = target is not None and allowed[row]
        refused += event[row] != NO_EVENT and not applies
        assert machine.states[moved.state[row]] == (target if applies else name)
    assert moved.n_refused == refused
    if refused:
        with pytest.raises(StateError):
            apply_events(machine, state, event, allowed=allowed)
    else:
        assert (apply_events(machine, state, event, allowed=allowed).state == moved.state).all()


def test_one_refused_row_refuses_all_and_is_named():
    with pytest.raises(StateError) as refused:
        apply_events(states.UNIT, [0, 3, 0, 3], "activate", ids=["a", "b", "c", "d"])
    finding = refused.value.findings[0]
    assert finding.rows == (1, 3)
    assert finding.ids == ("b", "d")
    assert "no way out" in finding.hint


def test_guard_is_named():
    with pytest.raises(StateError) as refused:
        apply_events(states.AGGREGATE, [0, 0], "activate", allowed=[True, False], guard="needs members")
    assert refused.value.codes == ("FX-R017",)
    assert refused.value.findings[0].hint == "needs members"


def test_codes_out_of_range_are_refused():
    with pytest.raises(ValidationError, match="FX-A006"):
        apply_events(states.UNIT, [4], "activate")
    with pytest.raises(ValidationError, match="FX-A006"):
        apply_events(states.UNIT, [0], [17])
    with pytest.raises(OptionError):
        apply_events(states.UNIT, [0], "explode")


def test_threads_and_read_only_input_give_the_same():
    rng = np.random.default_rng(1)
    state = rng.integers(0, 4, 200_000).astype(np.uint8)
    event = rng.integers(0, 4, 200_000).astype(np.uint8)
    state.flags.writeable = event.flags.writeable = False
    one = apply_events(states.UNIT, state, event, partial=True)
    two = apply_events(states.UNIT, state, event, partial=True, n_threads=2)
    assert (one.state == two.state).all()
    assert (one.reason == two.reason).all()
