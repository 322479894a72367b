import datetime as dt

import pytest

from flexcore import MarketDay
from flexcore.market.sessions import session_times
from flexcore.metering.nomination import gate_of


@pytest.mark.rule("BAS-03")
@pytest.mark.parametrize("date", ["2026-01-21", "2026-03-29", "2026-03-30", "2026-10-25", "2026-10-26"])
def test_the_gate_of_nominations_lies_on_the_day_before_and_before_lfp_1(date):
    """Bids of the first local session are made when every baseline of the day is declared and fixed."""
    day = MarketDay(date)
    gate = gate_of(day)
    assert gate.date() == day.date - dt.timedelta(days=1)
    assert gate.timestamp() < session_times(day).lfp_gate[0]
    assert session_times(day).lfp_gate[0] < day.start().timestamp()
