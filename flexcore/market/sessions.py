"""The six LFP/MSD pairs of a delivery day: windows, gates, states and messages (D4.1 section 6.3, Table 9)."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from flexcore.arrays import as_int
from flexcore.errors import Findings, OfferError, StateError, TimeSeriesError, check_option
from flexcore.market_day import N_SESSIONS, MarketDay
from flexcore.units import GLOBAL, LOCAL

#: States of a session, in the order in which it goes through them; `SKIPPED` stands for OPEN to CHECKED.
PLANNED, OPEN, CLOSED, CLEARED, CHECKED, PUBLISHED, SKIPPED = range(7)
STATE_NAMES = ("planned", "open", "closed", "cleared", "checked", "published", "skipped")

Int64s = npt.NDArray[np.int64]

_BUYERS: dict[tuple[int, ...], str] = {(LOCAL,): "DSO", (GLOBAL,): "TSO"}
_NEXT = {
    PLANNED: (OPEN, SKIPPED),
    OPEN: (CLOSED,),
    CLOSED: (CLEARED,),
    CLEARED: (CHECKED,),
    CHECKED: (PUBLISHED,),
    SKIPPED: (PUBLISHED,),
    PUBLISHED: (),
}


@dataclass(frozen=True, slots=True)
class Stage:
    """One market that is held in each of the six sessions of a day.

    Attributes
    ----------
    market : str
        Name, such as "LFP".
    operators : tuple of int
        Who buys: `(LOCAL,)`, `(GLOBAL,)` or, in a joint market, `(LOCAL, GLOBAL)`.
    gate_min, published_min : int
        Minutes from the gate, and from the publication of results, to the start of the session's firm window.
    on_occurrence : bool
        Without a need it is skipped (SES-04).
    light : bool
        It publishes a traffic light, also where it is skipped.
    """

    market: str
    operators: tuple[int, ...]
    gate_min: int
    published_min: int
    on_occurrence: bool = False
    light: bool = False


LFP = Stage("LFP", (LOCAL,), 210, 180, on_occurrence=True, light=True)
MSD = Stage("MSD", (GLOBAL,), 150, 105)
#: The pair of D4.1 section 6.3.
LFP_MSD = (LFP, MSD)


@dataclass(frozen=True, slots=True)
class SessionTimes:
    """Gates and publications of the twelve sessions, unix seconds.

    Attributes
    ----------
    lfp_gate, lfp_published, msd_gate, msd_published : ndarray of int64, shape (6,)
        Offers are taken until the gate; results are out at the time of publication.
    """

    lfp_gate: npt.NDArray[np.int64]
    lfp_published: npt.NDArray[np.int64]
    msd_gate: npt.NDArray[np.int64]
    msd_published: npt.NDArray[np.int64]


def _placed(day: MarketDay, minutes: Sequence[tuple[int, int]], hint: str) -> tuple[Int64s, Int64s]:
    """Gates and publications, each of shape (n_stages, 6), from (gate, publication) minutes before the window."""
    start = np.array([day.start(day.firm(k).start).timestamp() for k in range(1, N_SESSIONS + 1)], np.int64)
    gates, published = (start - 60 * np.array([pair[i] for pair in minutes], np.int64)[:, None] for i in (0, 1))
    late = (
        (gates >= published).any(axis=0)
        | (published[:-1] > gates[1:]).any(axis=0)
        | (published[-1] > start)
        | np.append(published[-1, :-1] > gates[0, 1:], False)
    )
    if late.any():
        found = Findings("session_times", N_SESSIONS)
        numbers = np.flatnonzero(late) + 1
        found.add("FX-M107", f"times of {numbers.size} sessions are not in order", ids=numbers, hint=hint)
        found.raise_errors(TimeSeriesError)
    return gates, published


def session_times(
    day: MarketDay,
    *,
    lfp_gate_min: int = LFP.gate_min,
    lfp_published_min: int = LFP.published_min,
    msd_gate_min: int = MSD.gate_min,
    msd_published_min: int = MSD.published_min,
) -> SessionTimes:
    """Place the gates before the four-hour windows of a day.

    Parameters
    ----------
    day : MarketDay
    lfp_gate_min, lfp_published_min, msd_gate_min, msd_published_min : int
        Minutes before the start of the session's firm window. D4.1 fixes only the order; the defaults publish MSD an
        hour and 45 minutes ahead, as Italian MSD sessions do, and leave half an hour or more for every step before.

    Raises
    ------
    TimeSeriesError
        FX-M107 unless LFP gate < LFP publication <= MSD gate < MSD publication <= window, and the next LFP gate is
        not before the MSD publication.
    """
    hint = "LFP gate < LFP publication <= MSD gate < MSD publication <= window, one pair after the other"
    minutes = ((lfp_gate_min, lfp_published_min), (msd_gate_min, msd_published_min))
    gates, published = _placed(day, minutes, hint)
    return SessionTimes(gates[0], published[0], gates[1], published[1])


class Session:
    """One market of one session: a small state machine.

    Attributes
    ----------
    number : int
        1..6.
    stage : Stage
    market : str
        Name of the stage: "LFP" or "MSD" in D4.1.
    operators : tuple of int
        Who buys.
    operator : int
        The first of them: `LOCAL` for LFP, `GLOBAL` for MSD.
    firm, plan : slice
        Steps that the session makes firm, and all steps that it plans: its window and the rest of the day (SES-02).
    gate, publish_at : int
        Unix seconds.
    state : int
        `PLANNED`, `OPEN`, `CLOSED`, `CLEARED`, `CHECKED`, `PUBLISHED` or `SKIPPED`.
    skipped : bool
        True for an LFP (or another stage that is held on occurrence) without a need (SES-04).
    light_version : int
        Version of the traffic light that was published with it, 0 for none.
    """

    __slots__ = (
        "_before",
        "firm",
        "gate",
        "light_version",
        "market",
        "number",
        "operator",
        "operators",
        "plan",
        "publish_at",
        "skipped",
        "stage",
        "state",
    )

    def __init__(
        self, number: int, stage: Stage, day: MarketDay, gate: int, publish_at: int, before: "Session | None"
    ) -> None:
        self.number = number
        self.stage = stage
        self.market = stage.market
        self.operators = stage.operators
        self.operator = stage.operators[0]
        self.firm = day.firm(number)
        self.plan = day.plan(number)
        self.gate = gate
        self.publish_at = publish_at
        self.state = PLANNED
        self.skipped = False
        self.light_version = 0
        self._before = before

    @property
    def name(self) -> str:
        """Name such as "LFP_2"."""
        return f"{self.market}_{self.number}"

    def __repr__(self) -> str:
        return f"<{self.name} {STATE_NAMES[self.state]}>"

    def _refuse(self, code: str, message: str, hint: str = "") -> None:
        found = Findings("sessions")
        found.add(code, message, ids=[self.name], hint=hint)
        found.raise_errors(StateError)

    def _advance(self, state: int) -> None:
        if state not in _NEXT[self.state]:
            allowed = " or ".join(STATE_NAMES[s] for s in _NEXT[self.state]) or "nothing"
            message = f"{self.name} is {STATE_NAMES[self.state]} and cannot become {STATE_NAMES[state]}"
            self._refuse("FX-M105", message, f"next comes {allowed}")
        if self.state == PLANNED and self._before is not None and self._before.state != PUBLISHED:
            self._refuse("FX-M105", f"{self.name} cannot start: {self._before.name} is not published yet")
        self.state = state

    def open(self) -> None:
        """Take offers from now on; every earlier session must be published (SES-01)."""
        self._advance(OPEN)

    def close(self) -> None:
        """Take no more offers: the gate has passed."""
        self._advance(CLOSED)

    def clear(self) -> None:
        """Record that the selection is made."""
        self._advance(CLEARED)

    def check(self) -> None:
        """Record that the AC check is made."""
        self._advance(CHECKED)

    def skip(self) -> None:
        """Skip an LFP because there is no need; its traffic light must still be published (SES-04)."""
        if not self.stage.on_occurrence:
            self._refuse("FX-M105", f"{self.name} cannot be skipped", "in D4.1 only LFP is held on occurrence")
        self._advance(SKIPPED)
        self.skipped = True

    def publish(self, light_version: int = 0) -> None:
        """Publish the results; an LFP, also a skipped one, publishes its traffic light with them.

        Raises
        ------
        StateError
            FX-M106 if a traffic light is due and there is none, FX-M105 if the session is not checked or skipped.
        """
        if self.stage.light and light_version < 1 and PUBLISHED in _NEXT[self.state]:
            self._refuse("FX-M106", f"{self.name} has no traffic light to publish", "pass light_version=1, 2, ...")
        self._advance(PUBLISHED)
        self.light_version = light_version


class Sequencer:
    """The sessions of a day in order: LFP_1, MSD_1, ..., LFP_6, MSD_6, or the stages of another scheme (SES-01).

    Parameters
    ----------
    day : MarketDay
    times : SessionTimes, optional
        Gates and publications of LFP and MSD; by default those of the stages.
    stages : sequence of Stage
        What is held, in this order, in each of the six sessions.

    Attributes
    ----------
    sessions : tuple of Session
    messages : Messages

    Raises
    ------
    OfferError
        FX-M280 no stage, two of one name, one whose buyers are not local, global or both; or `times` for other stages.
    TimeSeriesError
        FX-M107 unless each gate comes before its publication, and each publication before the next gate.

    Notes
    -----
    Iterate over it: each session must be published before the next one is given out.
    """

    __slots__ = ("day", "messages", "sessions", "stages")

    def __init__(self, day: MarketDay, times: SessionTimes | None = None, *, stages: Sequence[Stage] = LFP_MSD) -> None:
        self.day = day
        self.stages = tuple(stages)
        self.messages = Messages()
        _check_stages(self.stages, times)
        if times is None:
            minutes = [(stage.gate_min, stage.published_min) for stage in self.stages]
            gates, published = _placed(day, minutes, "gate_min > published_min, stages one after the other")
        else:
            gates = np.stack([times.lfp_gate, times.msd_gate])
            published = np.stack([times.lfp_published, times.msd_published])
        sessions: list[Session] = []
        for k in range(N_SESSIONS):
            for i, stage in enumerate(self.stages):
                before = sessions[-1] if sessions else None
                sessions.append(Session(k + 1, stage, day, int(gates[i, k]), int(published[i, k]), before))
        self.sessions = tuple(sessions)

    def __iter__(self) -> Iterator[Session]:
        for session in self.sessions:
            yield session
            if session.state != PUBLISHED:
                session._refuse("FX-M105", f"{session.name} is {STATE_NAMES[session.state]}, not published")

    def session(self, number: int, market: str) -> Session:
        """Return the session of a number (1..6) and market ("LFP" or "MSD" in D4.1).

        Raises
        ------
        ValidationError
            FX-A006 a number outside 1..6.
        OptionError
            FX-E002 a market that is no stage.
        """
        as_int(number, "number", shape=(), lo=1, hi=N_SESSIONS)
        markets = [stage.market for stage in self.stages]
        check_option("market", market, markets)
        return self.sessions[len(markets) * (number - 1) + markets.index(market)]


def _check_stages(stages: tuple[Stage, ...], times: SessionTimes | None) -> None:
    found = Findings("stages", len(stages))
    names = [stage.market for stage in stages]
    if not stages:
        found.add("FX-M280", "a session needs at least one stage")
    same = [row for row, name in enumerate(names) if names.count(name) > 1]
    if same:
        found.add("FX-M280", f"{len(same)} stages share a name", rows=same, ids=[names[row] for row in same])
    buyers = ((LOCAL,), (GLOBAL,), (LOCAL, GLOBAL))
    wrong = [row for row, stage in enumerate(stages) if stage.operators not in buyers]
    if wrong:
        hint = "operators is (LOCAL,), (GLOBAL,) or (LOCAL, GLOBAL)"
        found.add(
            "FX-M280", f"{len(wrong)} stages have other buyers", rows=wrong, ids=[names[r] for r in wrong], hint=hint
        )
    if times is not None and names != [stage.market for stage in LFP_MSD]:
        found.add("FX-M280", "times are those of LFP and MSD", ids=names, hint="give the minutes of each stage instead")
    found.raise_errors(OfferError)


class Messages:
    """Messages per session and pair of parties: the measure of information exchange (BUC 09)."""

    __slots__ = ("bytes", "counts")

    def __init__(self) -> None:
        self.counts: Counter[tuple[int, str, str, str, str]] = Counter()
        self.bytes: Counter[tuple[int, str, str, str, str]] = Counter()

    def add(self, session: Session, sender: str, receiver: str, kind: str, n: int = 1, n_bytes: int = 0) -> None:
        """Count `n` messages of `n_bytes` together."""
        if n:
            key = (session.number, session.market, sender, receiver, kind)
            self.counts[key] += n
            self.bytes[key] += n_bytes

    def add_session(self, session: Session, *, n_offering: int, n_awarded: int) -> None:
        """Count the exchange of one session by the steps of D4.1 section 6.3.

        Parameters
        ----------
        session : Session
        n_offering, n_awarded : int
            BSPs that submitted offers, and BSPs with an award.
        """
        buyer = _BUYERS.get(session.operators, "DSO and TSO")
        if not session.skipped:
            self.add(session, "BSP", buyer, "offers", n_offering)  # step 5: restated for each session
            self.add(session, buyer, "BSP", "awards", n_awarded)  # step 4
            self.add(session, "BSP", "register", "unavailability", n_awarded)  # step 5
        if session.operators == (LOCAL,):
            self.add(session, "DSO", "TSO", "local plan", int(not session.skipped))  # step 2a
        if session.stage.light:
            self.add(session, "DSO", "TSO", "traffic light")  # step 2b
        if session.operators == (GLOBAL,):
            self.add(session, "TSO", "DSO", "global plan")  # for the DSO's check of the whole outcome

    def of(self, session: Session) -> int:
        """Messages of one session."""
        return sum(n for key, n in self.counts.items() if key[:2] == (session.number, session.market))

    def total(self) -> int:
        """Messages of the day."""
        return self.counts.total()

    def to_arrow(self) -> Any:
        """Return one row per session, sender, receiver and kind, as a pyarrow Table."""
        import pyarrow as pa

        keys = sorted(self.counts)
        names = ("session", "market", "sender", "receiver", "kind")
        columns: dict[str, Any] = {name: [key[i] for key in keys] for i, name in enumerate(names)}
        columns["messages"] = [self.counts[key] for key in keys]
        columns["bytes"] = [self.bytes[key] for key in keys]
        return pa.table(columns)
