"""The order of the sessions, their windows on days of 92, 96 and 100 quarter-hours, gates, states and messages."""

import numpy as np
import pytest

from flexcore.errors import OptionError, StateError, TimeSeriesError, ValidationError
from flexcore.market.sessions import OPEN, PUBLISHED, SKIPPED, Sequencer, session_times
from flexcore.market_day import MarketDay
from flexcore.units import GLOBAL, LOCAL

DAYS = {"2026-03-29": 92, "2026-05-20": 96, "2026-10-25": 100}


def run(session, light=1):
    session.open()
    session.close()
    session.clear()
    session.check()
    session.publish(light)


@pytest.mark.rule("SES-01")
def test_six_pairs_lfp_before_msd():
    names = []
    for session in Sequencer(MarketDay("2026-05-20")):
        names.append((session.number, session.market, session.operator))
        run(session)
    expected = [(k, market, side) for k in range(1, 7) for market, side in (("LFP", LOCAL), ("MSD", GLOBAL))]
    assert names == expected


@pytest.mark.rule("SES-02")
@pytest.mark.parametrize(("date", "n_steps"), DAYS.items())
def test_windows_cover_the_day_once(date, n_steps):
    sequencer = Sequencer(MarketDay(date))
    firm = np.zeros(n_steps, int)
    for session in sequencer.sessions:
        firm[session.firm] += 1
        assert session.plan == slice(session.firm.start, n_steps)
    assert (firm == 2).all()  # once in LFP, once in MSD
    lengths = [session.firm.stop - session.firm.start for session in sequencer.sessions if session.market == "LFP"]
    assert lengths == [n_steps - 80, 16, 16, 16, 16, 16]


@pytest.mark.parametrize("date", DAYS)
def test_gates_are_in_order_and_before_their_window(date):
    day = MarketDay(date)
    times = session_times(day)
    line = np.stack([times.lfp_gate, times.lfp_published, times.msd_gate, times.msd_published]).T.ravel()
    assert (np.diff(line) > 0).all()
    start = [day.start(day.firm(k).start).timestamp() for k in range(1, 7)]
    assert (times.msd_published <= np.array(start)).all()
    assert (times.lfp_gate[0], times.msd_published[0]) == (start[0] - 210 * 60, start[0] - 105 * 60)


def test_times_out_of_order_are_refused():
    day = MarketDay("2026-05-20")
    for wrong in (
        {"lfp_gate_min": 170},
        {"msd_gate_min": 200},
        {"msd_published_min": 150},
        {"msd_published_min": -1},
        {"lfp_gate_min": 400},
    ):
        with pytest.raises(TimeSeriesError) as error:
            session_times(day, **wrong)
        assert error.value.codes == ("FX-M107",)
    # a window of three hours leaves less room before LFP_2
    assert session_times(day, lfp_gate_min=330).lfp_gate.size == 6
    with pytest.raises(TimeSeriesError) as error:
        session_times(MarketDay("2026-03-29"), lfp_gate_min=330)
    assert error.value.findings[0].ids == (1,)


def test_states_follow_each_other():
    sequencer = Sequencer(MarketDay("2026-05-20"))
    first = sequencer.session(1, "LFP")
    for step in (first.close, first.clear, first.check, first.publish):
        with pytest.raises(StateError) as error:
            step()
        assert error.value.codes == ("FX-M105",)
        assert error.value.findings[0].ids == ("LFP_1",)
    first.open()
    assert first.state == OPEN
    with pytest.raises(StateError):
        first.open()
    with pytest.raises(StateError):
        first.skip()
    first.close()
    first.clear()
    first.check()
    first.publish(1)
    assert first.state == PUBLISHED
    with pytest.raises(StateError):
        first.publish(2)
    assert first.light_version == 1


@pytest.mark.rule("SES-01")
def test_no_session_starts_before_the_earlier_one_is_published():
    sequencer = Sequencer(MarketDay("2026-05-20"))
    with pytest.raises(StateError) as error:
        sequencer.session(1, "MSD").open()
    assert "LFP_1" in str(error.value)
    walk = iter(sequencer)
    next(walk).open()
    with pytest.raises(StateError):
        next(walk)


@pytest.mark.rule("SES-04")
def test_a_skipped_lfp_still_publishes_its_light():
    sequencer = Sequencer(MarketDay("2026-05-20"))
    first, second = sequencer.sessions[:2]
    first.skip()
    assert first.state == SKIPPED
    with pytest.raises(StateError):
        second.open()
    with pytest.raises(StateError) as error:
        first.publish()
    assert error.value.codes == ("FX-M106",)
    first.publish(light_version=1)
    assert first.skipped
    second.open()
    assert not second.skipped


def test_msd_cannot_be_skipped():
    sequencer = Sequencer(MarketDay("2026-05-20"))
    run(sequencer.session(1, "LFP"))
    with pytest.raises(StateError) as error:
        sequencer.session(1, "MSD").skip()
    assert error.value.codes == ("FX-M105",)


def test_messages_are_counted_per_session_and_party():
    sequencer = Sequencer(MarketDay("2026-05-20"))
    lfp, msd = sequencer.sessions[:2]
    sequencer.messages.add_session(lfp, n_offering=5, n_awarded=2)
    sequencer.messages.add_session(msd, n_offering=4, n_awarded=0)
    third = sequencer.session(2, "LFP")
    third.skipped = True
    sequencer.messages.add_session(third, n_offering=5, n_awarded=0)
    assert sequencer.messages.of(lfp) == 5 + 2 + 2 + 2
    assert sequencer.messages.of(msd) == 4 + 1
    assert sequencer.messages.of(third) == 1
    assert sequencer.messages.total() == 17
    sequencer.messages.add(msd, "TSO", "DSO", "global plan", n=2, n_bytes=30)
    rows = sequencer.messages.to_arrow().to_pylist()
    row = next(row for row in rows if row["kind"] == "global plan")
    assert (row["messages"], row["bytes"]) == (3, 30)


def test_only_sessions_that_there_are_can_be_asked_for():
    sequencer = Sequencer(MarketDay("2026-05-20"))
    assert sequencer.session(6, "MSD").name == "MSD_6"
    for number in (0, -1, 7, 1.5):
        with pytest.raises(ValidationError):
            sequencer.session(number, "LFP")
    with pytest.raises(OptionError):
        sequencer.session(1, "XBID")
