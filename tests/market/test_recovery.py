"""Recovery times, longest runs and rebound (MUT-05) against the references, and by hand."""

import itertools

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from flexcore.errors import OfferError, StateError, ValidationError
from flexcore.market.awards import split_awards
from flexcore.market.recovery import rebound, recovery_steps
from flexcore.market.slots import FREE, GLOBAL_PRELIMINARY, LOCAL_FIRM, RECOVERY_FIRM, RECOVERY_PRELIMINARY, Slots
from flexcore.units import GLOBAL, LOCAL
from tests.reference import market_recovery as reference
from tests.reference.market_slots import DictSlots, requests

pytestmark = pytest.mark.rule("MUT-05")


def steps(n_steps, *marked):
    mask = np.zeros(n_steps, bool)
    for part in marked:
        mask[part] = True
    return mask


def test_after_an_award_of_either_operator_a_pod_is_not_ready_to_both_until_it_has_recovered():
    slots = Slots(1, 12, recovery_steps=[2])
    slots.hold(LOCAL, [0], steps(12, slice(4, 6)), firm=True)
    assert slots.state[0].tolist() == [0, 0, 6, 6, LOCAL_FIRM, LOCAL_FIRM, RECOVERY_FIRM, RECOVERY_FIRM, 0, 0, 0, 0]
    for operator in (LOCAL, GLOBAL):
        assert slots.unavailable(operator)[0].tolist() == [False] * 2 + [True] * 6 + [False] * 4
        # neither too soon after it nor so shortly before it that it could not recover in between
        for t in (2, 7):
            with pytest.raises(StateError) as error:
                slots.hold(operator, [0], steps(12, t))
            assert error.value.codes == ("FX-M281",)
            assert error.value.findings[0].ids == (0,)
    slots.hold(GLOBAL, [0], steps(12, 8))
    assert slots.publish(1, "MSD").firm.start.tolist() == [2, 4, 6]


def test_recovery_ends_with_the_preliminary_award_that_caused_it():
    slots = Slots(2, 12, recovery_steps=[3, 0])
    slots.hold(GLOBAL, [0, 1], steps(12, 5))
    assert (slots.state[0] == RECOVERY_PRELIMINARY).sum() == 6
    assert (slots.state[1] != FREE).sum() == 1
    published = slots.publish(1, "MSD")
    assert published.preliminary.pod.tolist() == [0, 0, 0, 1]
    assert not published.firm.pod.size
    assert slots.release(GLOBAL, 0) == 2
    assert not slots.state.any()
    # a firm award keeps its recovery, and a slot near both counts as firm
    slots.hold(LOCAL, [0], steps(12, 1, 2), firm=slice(0, 2))
    assert slots.state[0].tolist() == [6, LOCAL_FIRM, 1, 6, 6, 7, 0, 0, 0, 0, 0, 0]
    slots.release(LOCAL, 2)
    assert slots.state[0].tolist() == [6, LOCAL_FIRM, 6, 6, 6, 0, 0, 0, 0, 0, 0, 0]


def test_an_operator_may_carry_on_with_its_own_request_in_the_next_session():
    slots = Slots(1, 12, recovery_steps=[2])
    slots.hold(LOCAL, [0], steps(12, slice(2, 6)), firm=slice(0, 4))
    slots.release(LOCAL, 4)
    assert slots.unavailable(LOCAL)[0, 4:].tolist() == [True, True] + [False] * 6
    # the other operator cannot carry on with it
    slots.mark_recovery(carry_on=(GLOBAL,), step=4)
    assert slots.unavailable(GLOBAL)[0, 4:6].all()
    slots.mark_recovery(carry_on=(LOCAL,), step=4)
    assert not slots.unavailable(LOCAL)[0, 4:].any()
    power = np.full((1, 12), 10)
    wanted = np.zeros((1, 12), int)
    wanted[0, [5, 7]] = 10  # 5 would be a new request without recovery, 7 is late enough
    awards = split_awards(wanted, [0, 1], [0], power, slots=slots, operator=LOCAL)
    assert awards.member_w[0].nonzero()[0].tolist() == [7]
    assert awards.short_w[0, 5] == 10
    wanted[0, 4:8] = 10
    awards = split_awards(wanted, [0, 1], [0], power, slots=slots, operator=LOCAL)
    assert not awards.short_w.any()
    slots.hold(LOCAL, [0], awards.selected, firm=slice(4, 8))
    assert (slots.state[0, 2:8] == LOCAL_FIRM).all()
    assert slots.state[0, 8:].tolist() == [6, 6, 0, 0]


def test_no_pod_runs_longer_than_it_can():
    slots = Slots(2, 8, recovery_steps=[1, 0], max_run_steps=[2, 3])
    with pytest.raises(StateError) as error:
        slots.hold(GLOBAL, [0, 1], steps(8, slice(0, 3)))
    assert error.value.codes == ("FX-M282",)
    assert error.value.findings[0].ids == (0,)
    awards = split_awards(np.full((1, 8), 5), [0, 2], [0, 1], np.full((2, 8), 5), slots=slots, operator=GLOBAL)
    # POD 0 first, as it stands first; then the other one for as long as it can
    assert (awards.member_w[0] > 0).tolist() == [True] * 2 + [False] * 3 + [True] * 2 + [False]
    assert (awards.member_w[1] > 0).tolist() == [False] * 2 + [True] * 3 + [False] * 2 + [True]
    assert not awards.short_w.any()
    slots.hold(GLOBAL, [0, 1], awards.selected)
    assert (slots.held(GLOBAL).sum(axis=0) == 1).all()


def test_two_buyers_in_one_call_never_get_the_same_pod():
    slots = Slots(2, 8, recovery_steps=[1, 1])
    accepted = np.array([[5] * 4 + [0] * 4, [5] * 8])
    awards = split_awards(accepted, [0, 2, 4], [0, 1, 0, 1], np.full((4, 8), 5), slots=slots, operator=[LOCAL, GLOBAL])
    assert (awards.member_w[0] > 0).tolist() == [True] * 4 + [False] * 4
    assert (awards.member_w[3] > 0).all()
    assert not awards.member_w[[1, 2]].any()


N_PODS, N_STEPS = 3, 9
LIMITS = st.lists(st.integers(0, 3), min_size=N_PODS, max_size=N_PODS)
ACTION = st.tuples(
    st.sampled_from(["hold", "hold", "release", "firm", "block", "give back", "give back what is held"]),
    st.sampled_from([LOCAL, GLOBAL]),
    st.lists(st.integers(0, N_PODS - 1), max_size=3),
    st.lists(st.integers(0, 3), min_size=N_STEPS, max_size=N_STEPS).map(lambda marks: [mark == 0 for mark in marks]),
    st.integers(0, N_STEPS),
)


@pytest.mark.rule("MUT-01")
@settings(max_examples=300, deadline=None)
@given(LIMITS, LIMITS, st.lists(ACTION, max_size=12))
def test_any_history_with_recovery_equals_the_dict_reference(recovery, max_run, actions):
    slots = Slots(N_PODS, N_STEPS, recovery_steps=recovery, max_run_steps=max_run)
    expected = DictSlots(N_PODS, N_STEPS, recovery, max_run)
    for kind, operator, pods, mask, step in actions:
        if kind == "hold":
            done = expected.hold(operator, pods, [mask] * len(pods), range(step))
            try:
                slots.hold(operator, pods, np.array(mask), firm=slice(0, step))
                assert done
            except StateError:
                assert not done
        elif kind == "release":
            assert slots.release(operator, step) == expected.release(operator, step)
        elif kind == "firm":
            assert slots.make_firm(operator, slice(0, step)) == expected.make_firm(operator, range(step))
        elif kind == "block":
            slots.block(pods, np.array(mask))
            expected.block(pods, [mask] * len(pods))
        else:
            marked = np.zeros((N_PODS, N_STEPS), bool)
            marked[pods] = mask
            if kind == "give back what is held":
                marked &= slots.held(operator)
            done = expected.give_back(operator, marked)
            try:
                assert slots.give_back(operator, marked) == marked.sum()
                assert done
            except StateError:
                assert not done
        assert slots.state.tolist() == [[expected.state(pod, t) for t in range(N_STEPS)] for pod in range(N_PODS)]
        for side in (LOCAL, GLOBAL):
            marked = [[expected.unavailable(side, pod, t) for t in range(N_STEPS)] for pod in range(N_PODS)]
            assert slots.unavailable(side).tolist() == marked


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 10**9), LIMITS, LIMITS)
def test_the_split_in_time_equals_the_reference_and_can_always_be_held(seed, recovery, max_run):
    assume(any(recovery + max_run))  # without a limit awards are split step by step, in any order
    rng = np.random.default_rng(seed)
    slots = Slots(N_PODS, N_STEPS, recovery_steps=recovery, max_run_steps=max_run)
    for operator in (LOCAL, GLOBAL):  # some history, where it is allowed
        for pod in range(N_PODS):
            try:
                slots.hold(operator, [pod], rng.random(N_STEPS) < rng.choice([0.15, 0.8]))
            except StateError:
                continue
        # what the DSO takes back may leave less than the recovery time inside a run (CHK-02)
        slots.give_back(operator, slots.held(operator) & (rng.random(slots.state.shape) < 0.2))
    start = int(rng.integers(N_STEPS))
    for operator in (LOCAL, GLOBAL):
        slots.release(operator, start)
    slots.mark_recovery(carry_on=(LOCAL, GLOBAL), step=start)
    held = {(p, t): int(s - 1) // 2 for (p, t), s in np.ndenumerate(slots.state) if 1 <= s <= 4}
    pods = [0, 1, 2, 1, 2, 0]
    free = slots.state[pods] == FREE
    power = np.where(free, rng.integers(1, 5, (6, N_STEPS)), 0)
    indptr, operator = [0, 3, 5, 6], [LOCAL, GLOBAL, LOCAL]
    accepted = rng.integers(0, np.add.reduceat(power, indptr[:3]) + 1)
    got = split_awards(accepted, indptr, pods, power, slots=slots, operator=operator)
    lines = [
        {
            "operator": operator[i],
            "pods": pods[indptr[i] : indptr[i + 1]],
            "power": {(pods[m], t): int(power[m, t]) for m in range(indptr[i], indptr[i + 1]) for t in range(N_STEPS)},
            "award": accepted[i].tolist(),
        }
        for i in range(3)
    ]
    member, short = reference.split_in_time(lines, held, recovery, max_run, N_STEPS)
    for i in range(3):
        for m in range(indptr[i], indptr[i + 1]):
            assert got.member_w[m].tolist() == [member.get((i, pods[m], t), 0) for t in range(N_STEPS)]
        assert got.short_w[i].tolist() == [short[i, t] for t in range(N_STEPS)]
    for side in (LOCAL, GLOBAL):
        rows = np.isin(np.repeat(np.arange(3), np.diff(indptr)), np.flatnonzero(np.array(operator) == side))
        slots.hold(side, np.array(pods)[rows], got.selected[rows])
    holder = {(p, t): int(s - 1) // 2 for (p, t), s in np.ndenumerate(slots.state) if 1 <= s <= 4}
    for pod in range(N_PODS):
        runs = [run for _, run in requests(pod, holder, N_STEPS)]
        new = [any((pod, t) not in held for t in run) for run in runs]
        for i, j in itertools.pairwise(range(len(runs))):
            assert runs[j][0] - runs[i][-1] - 1 >= recovery[pod] or not (new[i] or new[j])
        assert not max_run[pod] or max(map(len, runs), default=0) <= max_run[pod]


@pytest.mark.rule("MUT-05")
def test_a_run_that_a_cut_has_split_is_not_carried_on():
    slots = Slots(1, 12, recovery_steps=[3])
    slots.hold(LOCAL, [0], np.arange(12) < 6, firm=True)
    slots.give_back(LOCAL, np.arange(12)[None, :] == 4)  # 0-3 and 5 stay: one step apart, by the DSO's cut
    slots.mark_recovery(carry_on=(LOCAL,), step=6)
    awards = split_awards(np.where(np.arange(12) > 5, 5, 0)[None, :], [0, 1], [0], np.full((1, 12), 5), slots=slots)
    assert awards.member_w[0].tolist() == [0] * 9 + [5] * 3
    assert slots.hold(LOCAL, [0], awards.selected) == 3


def test_a_split_over_positions_that_do_not_exist_is_refused():
    slots = Slots(1, 4, recovery_steps=[1])
    for change in ({"operator": 2}, {"operator": [0, 1]}):
        with pytest.raises((ValidationError, ValueError)):
            split_awards(np.ones((1, 4), int), [0, 1], [0], np.ones((1, 4), int), slots=slots, **change)
    with pytest.raises(ValidationError):
        split_awards(np.ones((1, 4), int), [0, 1], [1], np.ones((1, 4), int), slots=slots)
    with pytest.raises(ValidationError):
        split_awards(np.ones((1, 5), int), [0, 1], [0], np.ones((1, 5), int), slots=slots)
    with pytest.raises(OfferError):
        split_awards(np.full((1, 4), 2), [0, 1], [0], np.ones((1, 4), int), slots=slots)
    for wrong in ({"recovery_steps": [-1]}, {"max_run_steps": [1, 2]}):
        with pytest.raises(ValidationError):
            Slots(1, 4, **wrong)


def test_threads_change_no_bit(monkeypatch):
    monkeypatch.setattr("flexcore.market.slots._CHUNK", 7)
    monkeypatch.setattr("flexcore.market.recovery._CHUNK", 7)
    rng = np.random.default_rng(2)
    recovery = rng.integers(0, 4, 40)
    one, two = (Slots(40, 92, recovery_steps=recovery, n_threads=n) for n in (1, 2))
    mask = np.repeat(rng.random((40, 23)) < 0.1, 4, axis=1)
    mask[recovery > 0, :] &= np.arange(92) < 8
    for slots in (one, two):
        slots.hold(GLOBAL, np.arange(40), mask)
    assert (one.state == RECOVERY_PRELIMINARY).any()
    assert (one.state == GLOBAL_PRELIMINARY).any()
    assert np.array_equal(one.state, two.state)
    assert np.array_equal(one.copy().unavailable(LOCAL), two.unavailable(LOCAL))
    awards = rng.integers(0, 900, (2, 40, 92))
    a, b = (rebound(awards, np.full(40, 700), n_back=8, n_threads=n) for n in (1, 2))
    assert np.array_equal(a.load_w, b.load_w)


def test_recovery_times_are_counted_in_begun_quarter_hours():
    assert recovery_steps([0, 1, 900, 901, 3600]).tolist() == [0, 1, 1, 2, 4]


def test_what_comes_back_is_more_load_after_less_load():
    awards = np.zeros((2, 2, 8), int)
    awards[0, 0, 1:3] = 100  # upwards: 200 W quarter-hours, of which 80 % come back
    awards[1, 1, 6] = 50  # downwards: less load later, on the next day
    got = rebound(awards, [800, 1000], n_back=3, delay=1)
    assert got.load_w.tolist() == [[0, 0, 0, 0, 53, 53, 54, 0], [0] * 8]
    assert got.next_day_w.tolist() == [[0, 0, 0, 0], [-17, -17, -16, 0]]


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.integers(-1000, 1000), min_size=1, max_size=12),
    st.integers(0, 2000),
    st.integers(1, 5),
    st.integers(0, 3),
)
def test_rebound_equals_the_reference_and_adds_up(net, share, n_back, delay):
    net_w = np.array([net])
    got = rebound(np.stack([np.maximum(net_w, 0), np.maximum(-net_w, 0)]), [share], n_back=n_back, delay=delay)
    expected = reference.rebound(net, share, n_back, delay)
    assert [*got.load_w[0], *got.next_day_w[0]] == expected
    if share == 1000:
        assert sum(expected) == sum(net)


def test_rebound_refuses_what_it_cannot_add_up():
    good = np.zeros((2, 1, 4), int)
    for awards, share, n_back in ((good - 1, [0], 1), (good, [2001], 1), (good, [0, 0], 1), (good, [0], 0)):
        with pytest.raises(ValidationError):
            rebound(awards, share, n_back=n_back)
