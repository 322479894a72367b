"""The sessions of a day over any clearing: release, restatement, gate, clearing, split, holding, publication.

A stage is one market of a session, LFP or MSD in D4.1. Its `StageRules` say how it clears; everything else is the same
for every coordination scheme. In a joint stage both operators buy, and no POD is sold to both.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from flexcore.arrays import as_int
from flexcore.errors import Findings, OfferError
from flexcore.market.awards import split_awards, sum_members
from flexcore.market.offers import LinePower, OfferBook, Restatement, line_power, restate, submit
from flexcore.market.purchases import Purchase, Redispatch, StageRecord, redispatch_table
from flexcore.market.sessions import LFP_MSD, Sequencer, Session, Stage
from flexcore.market.slots import OPERATOR_NAMES, Slots, preliminary
from flexcore.market_day import MarketDay
from flexcore.units import DOWN, UP

Int64s = npt.NDArray[np.int64]

#: Power that each POD can offer: (direction, n_pods, n_steps) for a session and operator. [W]
PowerOf = Callable[[Session, int], npt.ArrayLike]
#: What the BSPs submit, given their free and held power: (session, book, power) -> book.
Submit = Callable[[Session, OfferBook, LinePower], OfferBook]


@dataclass(frozen=True, slots=True)
class StageRules:
    """How a stage clears.

    Attributes
    ----------
    clear : callable
        `clear(session, books, market)` returns one array of accepted power, (n_lines, n_steps) in W, for each of
        `books`: the restated offers of the operators that buy, in the order of `session.operators`.
    needed : callable, optional
        `needed(session, market)`: False skips a stage that is held on occurrence (SES-04). Always held by default.
    check : callable, optional
        `check(session, purchases, market)`: called when the awards are held and before anything is published, also in
        a skipped session; returns the version of the traffic light, 0 for none. Here the DSO may `take_back` awards.
    """

    clear: "Callable[[Session, tuple[OfferBook, ...], RollingMarket], Sequence[npt.ArrayLike]]"
    needed: "Callable[[Session, RollingMarket], bool] | None" = None
    check: "Callable[[Session, tuple[Purchase, ...], RollingMarket], int] | None" = None


def submit_before_gate(careless: npt.ArrayLike | None = None) -> Submit:
    """Return BSPs that offer all that is free in the hour before each gate, always in the order of their first offers.

    Parameters
    ----------
    careless : array_like of bool, shape (n_bsps,), optional
        BSPs that forget to take out what is held (D4.1 section 6.3, step 5).
    """

    def submitted(session: Session, book: OfferBook, power: LinePower) -> OfferBook:
        times = session.gate - 3600 + book.submitted_at * 3600 // max(book.n_lines, 1)
        return submit(book, power, careless=careless, submitted_at=times)

    return submitted


@dataclass(slots=True)
class _Opened:
    """An operator's side of a stage before it clears."""

    operator: int
    restatement: Restatement
    power: LinePower
    blocked_pods: int
    released_w: Int64s


class RollingMarket:
    """Runs the sessions of a day over any clearing and keeps the state between them.

    Parameters
    ----------
    day : MarketDay
    books : mapping of int to OfferBook
        Offer lines of each operator that buys, by `LOCAL` and `GLOBAL`; quantities are submitted anew for each session.
    power_w : callable or array_like of int, shape (2, 2, n_pods, n_steps)
        Power of each POD by operator and direction that is validated, enrolled, ready and expected to be movable, or
        a function of (session, operator) that returns it as (2, n_pods, n_steps): forecasts change. [W]
    stages : sequence of Stage
        The markets of each session, in order; the LFP/MSD pair of D4.1 by default.
    slots : Slots, optional
        Give it to set recovery and longest run times (MUT-05) or to block PODs beforehand.
    n_pods : int, optional
        Needed where neither `slots` nor an array of power tells it.
    submit : callable, optional
        What BSPs submit; by default `submit_before_gate()`. `lambda session, book, power: book` takes the quantities
        of the books.
    gate_policy : {"cut", "withdraw"}
        What happens to lines that still count held PODs, see `restate`.
    split_policy : {"fewest_pods", "pro_rata"}
        How a BSP splits an award over its PODs, see `split_awards`.
    n_threads : int

    Attributes
    ----------
    slots : Slots
    awards_w : ndarray of int64, shape (2, 2, n_pods, n_steps)
        Standing awards by operator, direction, POD and step. [W]
    sequencer : Sequencer
    records : list of StageRecord

    Raises
    ------
    ValidationError, TimeSeriesError, OfferError
        FX-A001, FX-A002, FX-A004 power of wrong shape, type or sign; FX-T002 a book of another day's length; FX-M280
        stages that do not fit together, FX-M284 an operator that buys without a book.

    Notes
    -----
    Each stage releases the preliminary awards of those who buy in it, also where an operator buys in several stages of
    a session: its needs are what the standing awards (`awards_w`) leave open. With recovery times a clearing may accept
    what the PODs of a line cannot give in every step; `Purchase.short_w` says how much.
    """

    __slots__ = (
        "_earlier",
        "awards_w",
        "books",
        "day",
        "gate_policy",
        "n_threads",
        "power_of",
        "records",
        "sequencer",
        "slots",
        "split_policy",
        "submit",
    )

    def __init__(
        self,
        day: MarketDay,
        books: Mapping[int, OfferBook],
        power_w: PowerOf | npt.ArrayLike,
        *,
        stages: Sequence[Stage] = LFP_MSD,
        slots: Slots | None = None,
        n_pods: int | None = None,
        submit: Submit | None = None,
        gate_policy: str = "cut",
        split_policy: str = "fewest_pods",
        n_threads: int = 1,
    ) -> None:
        self.day = day
        self.books = dict(books)
        self.sequencer = Sequencer(day, stages=stages)
        if callable(power_w):
            self.power_of: PowerOf = power_w
        else:
            power = as_int(power_w, "power_w", shape=(2, 2, None, day.n_steps), lo=0)
            n_pods = int(power.shape[2])
            self.power_of = lambda session, operator: power[operator]
        if slots is None:
            slots = Slots(n_pods or 0, day.n_steps, n_threads=n_threads)
        self.slots = slots
        day.check_steps(slots.n_steps, "slots")
        missing = {operator for stage in stages for operator in stage.operators} - set(self.books)
        found = Findings("books")
        if missing:
            found.add("FX-M284", "an operator that buys has no book", ids=[OPERATOR_NAMES[i] for i in sorted(missing)])
        found.raise_errors(OfferError)
        for operator, book in self.books.items():
            day.check_steps(book.n_steps, f"book of the {OPERATOR_NAMES[operator]} operator")
            if book.pods.size:
                as_int(book.pods, "pods", dtype=np.int32, lo=0, hi=slots.n_pods - 1)
        self.awards_w = np.zeros((2, 2, slots.n_pods, day.n_steps), np.int64)
        self.submit = submit_before_gate() if submit is None else submit
        self.gate_policy = gate_policy
        self.split_policy = split_policy
        self.n_threads = n_threads
        self.records: list[StageRecord] = []
        #: Slots that each buyer of the current stage held before it.
        self._earlier: dict[int, npt.NDArray[np.bool_]] = {}

    def run(
        self, rules: Mapping[str, StageRules], *, progress: Callable[[str], None] | None = None
    ) -> list[StageRecord]:
        """Run all sessions, in order.

        Parameters
        ----------
        rules : mapping of str to StageRules
            By the name of the stage.
        progress : callable, optional
            Called with a line of text before each session.

        Returns
        -------
        list of StageRecord
            `records`.

        Raises
        ------
        OfferError
            FX-M284 a stage without rules, FX-M283 a clearing that returns something else than one array for each
            book, FX-O107 accepted power beyond that of a line's PODs.
        StateError
            FX-M105 the sessions ran already, or a stage that is not held on occurrence is not needed; FX-M106 a
            traffic light is due and `check` returned none.
        """
        missing = [stage.market for stage in self.sequencer.stages if stage.market not in rules]
        if missing:
            found = Findings("rules")
            found.add("FX-M284", f"{len(missing)} markets have no rules", ids=missing)
            found.raise_errors(OfferError)
        for session in self.sequencer:
            if progress is not None:
                progress(f"session {session.name}")
            self.records.append(self._run(session, rules[session.market]))
        self.slots.check_exclusive(*self.awards_w.sum(axis=1))
        return self.records

    def _run(self, session: Session, rules: StageRules) -> StageRecord:
        opened = self._open(session)
        books = tuple(side.restatement.book for side in opened)
        if rules.needed is not None and not rules.needed(session, self):
            session.skip()
            accepted = [np.zeros(book.quantity_w.shape, np.int64) for book in books]
        else:
            session.open()
            session.close()
            accepted = _checked(session, books, rules.clear(session, books, self))
        purchases = self._award(session, opened, accepted)
        if not session.skipped:
            session.clear()
        light = 0 if rules.check is None else rules.check(session, purchases, self)
        if not session.skipped:
            session.check()
        self.sequencer.messages.add_session(
            session,
            n_offering=_count_bsps(books, [book.quantity_w for book in books]),
            n_awarded=_count_bsps(books, [purchase.accepted_w for purchase in purchases]),
        )
        published = self.slots.publish(session.number, session.market)
        session.publish(light_version=light)
        return StageRecord(session, purchases, published)

    def _open(self, session: Session) -> list[_Opened]:
        """Release what the buyers hold preliminarily, let BSPs restate, check what they still may sell."""
        released = [self._release(session, operator) for operator in session.operators]
        self._earlier = {operator: self.slots.held(operator) for operator in session.operators}
        self.slots.mark_recovery(carry_on=session.operators, step=session.plan.start)
        opened = []
        for operator, before in zip(session.operators, released, strict=True):
            book, steps = self.books[operator], session.plan
            shape = (2, self.slots.n_pods, self.day.n_steps)
            up_w, down_w = as_int(self.power_of(session, operator), "power_w", shape=shape, lo=0)
            power = line_power(book, self.slots, up_w, down_w, steps=steps, n_threads=self.n_threads)
            submitted = self.submit(session, book, power)
            restated = restate(submitted, power, gate=session.gate, steps=steps, policy=self.gate_policy)
            blocked = self.slots.unavailable(operator)[:, steps] & ((up_w[:, steps] > 0) | (down_w[:, steps] > 0))
            opened.append(_Opened(operator, restated, power, int(blocked.any(axis=1).sum()), before))
        return opened

    def _release(self, session: Session, operator: int) -> Int64s:
        """Free the operator's preliminary slots and awards; returns the awards, (2, n_pods, steps of the plan)."""
        awards = self.awards_w[operator][:, :, session.plan]  # a view
        gone = self.slots.state[:, session.plan] == preliminary(operator)
        before = np.where(gone, awards, 0)
        np.copyto(awards, 0, where=gone)
        self.slots.release(operator, session.plan.start)
        return before

    def _award(self, session: Session, opened: list[_Opened], accepted: list[Int64s]) -> tuple[Purchase, ...]:
        """Split awards over PODs and hold the slots; of both buyers of a joint stage at once."""
        books = [side.restatement.book for side in opened]
        sizes = [book.pods.size for book in books]
        indptr = np.concatenate([[0], *(np.diff(book.indptr) for book in books)]).cumsum()
        awards = split_awards(
            np.concatenate(accepted),
            indptr,
            np.concatenate([book.pods for book in books]),
            np.concatenate([side.power.member_w for side in opened]),
            policy=self.split_policy,
            line_id=np.concatenate([book.line_id for book in books]),
            slots=self.slots,
            operator=np.repeat([side.operator for side in opened], [book.n_lines for book in books]),
            n_threads=self.n_threads,
        )
        purchases = []
        first_line = first_member = 0
        for side, book, size, wanted in zip(opened, books, sizes, accepted, strict=True):
            member_w = awards.member_w[first_member : first_member + size]
            short_w = awards.short_w[first_line : first_line + book.n_lines]
            first_member, first_line = first_member + size, first_line + book.n_lines
            held = self.slots.hold(side.operator, book.pods, member_w > 0, firm=session.firm)
            of_member = book.direction[book.line_of_member]
            counts = np.zeros(4, np.int64)
            for way in (UP, DOWN):
                rows = np.where(of_member == way, book.pods, -1)
                added = sum_members(member_w, rows, self.slots.n_pods, n_threads=self.n_threads)
                self.awards_w[side.operator, way] += added
                before, after = side.released_w[way], added[:, session.plan]
                kept, old, new = np.minimum(before, after).sum(), before.sum(), after.sum()
                counts += (old, kept, old - kept, new - kept)
            redispatch = Redispatch(*(int(n) for n in counts))
            purchases.append(
                Purchase(
                    side.operator,
                    side.restatement,
                    wanted - short_w,
                    short_w,
                    side.power.held_w,
                    held,
                    side.blocked_pods,
                    redispatch,
                    np.zeros_like(wanted),
                )
            )
        return tuple(purchases)

    def take_back(self, purchase: Purchase, cut_w: npt.ArrayLike) -> None:
        """Take power out of the awards of a purchase before they are published; what carries nothing is free again.

        Parameters
        ----------
        purchase : Purchase
            As handed to `StageRules.check`; its `accepted_w`, `cut_w` and `n_slots_held` are brought up to date.
        cut_w : array_like of int, shape (2, n_pods, n_steps)
            Power to be taken by direction and POD, for example from `flexcore.market.award_cut.cut_awards`. [W]

        Raises
        ------
        OfferError
            FX-M285 with the PODs from which more is taken than this purchase gave them; nothing is changed then.
        ValidationError
            FX-A001, FX-A002, FX-A004 a cut of wrong shape, type or sign.
        """
        book, standing = purchase.book, self.awards_w[purchase.operator]
        cut = as_int(cut_w, "cut_w", shape=standing.shape, lo=0)
        of_member = book.direction[book.line_of_member]
        member_w = cut[of_member, book.pods]
        of_lines = sum_members(member_w, book.line_of_member, book.n_lines, n_threads=self.n_threads)
        too_much: npt.NDArray[np.bool_] = np.asarray((cut > standing).any(axis=(0, 2)))
        offered = np.zeros(standing.shape[:2], np.bool_)
        offered[of_member, book.pods] = True
        too_much |= (~offered & cut.any(axis=2)).any(axis=0)
        # what an earlier stage awarded is not this purchase's, even where its line has as much from other PODs
        too_much |= (self._earlier[purchase.operator] & cut.any(axis=0)).any(axis=1)
        over_line = np.asarray((of_lines > purchase.accepted_w).any(axis=1))
        too_much[book.pods[over_line[book.line_of_member]]] = True
        bad = np.flatnonzero(too_much)
        if bad.size:
            found = Findings("cut_w", standing.shape[1])
            found.add("FX-M285", f"more is taken from {bad.size} PODs than they were awarded", ids=bad)
            found.raise_errors(OfferError)
        emptied = cut.any(axis=0) & ~(standing > cut).any(axis=0)  # before the cut, which may be a view of the awards
        standing -= cut
        purchase.accepted_w = purchase.accepted_w - of_lines
        purchase.cut_w = purchase.cut_w + of_lines
        purchase.n_slots_held -= self.slots.give_back(purchase.operator, emptied)

    def redispatch_table(self) -> Any:
        """Return what each session changed in its buyer's plan, as a pyarrow Table.

        One row per stage and operator: energy of the preliminary plan that was released, and how much of it was kept,
        given back and newly selected, in MWh; what was taken back from the new one; how much of it became firm.
        """
        return redispatch_table(self.records)


def _count_bsps(books: tuple[OfferBook, ...], power_w: list[Int64s]) -> int:
    """BSPs with any power in one of the books."""
    bsps = [book.bsp[power.any(axis=1)] for book, power in zip(books, power_w, strict=True)]
    return int(np.unique(np.concatenate(bsps)).size)


def _checked(session: Session, books: tuple[OfferBook, ...], accepted: Sequence[npt.ArrayLike]) -> list[Int64s]:
    """Check that a clearing returned whole watts for each line and step that its offers and its plan allow."""
    found = Findings("clearing")
    arrays = list(accepted) if isinstance(accepted, list | tuple) else []
    if len(arrays) != len(books):
        what = f"{session.name}: {len(arrays)} arrays for {len(books)} books"
        found.add("FX-M283", what, hint="return a list or a tuple of one (n_lines, n_steps) array for each book")
        found.raise_errors(OfferError)
    powers = [
        as_int(array, "accepted_w", shape=book.quantity_w.shape, lo=0)
        for array, book in zip(arrays, books, strict=True)
    ]
    for book, power in zip(books, powers, strict=True):
        over = np.flatnonzero((power > book.quantity_w).any(axis=1))
        if over.size:
            what = f"{session.name}: {over.size} of {book.n_lines} lines were accepted beyond their offer"
            found.add("FX-M283", what, rows=over, ids=book.line_id[over])
    found.raise_errors(OfferError)
    return powers
