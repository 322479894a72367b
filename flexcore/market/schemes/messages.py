"""Counts the messages of a scheme and their bytes: the price of information that a scheme pays (D4.1 BUC 09)."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from flexcore.market.schemes.run import SchemeRun, StageRecord

#: Bytes of one record: offer (id, place, step, direction, quantity, price), award (id, step, quantity), limit of one
#: element or perimeter and direction (id, step, value), point of a curve (power, price), and what describes a branch.
OFFER, AWARD, LIMIT, POINT, BRANCH = 32, 20, 20, 16, 40


class Traffic(NamedTuple):
    """Messages and bytes."""

    messages: int
    n_bytes: int


def count_messages(run: SchemeRun) -> Traffic:
    """Count what the parties of a scheme send each other, one message per sender, receiver and stage.

    Every provider sends its offers to the market of each stage and gets its awards from it, unless the stage before
    forwards them; a market that knows a grid of another operator gets its branches and limits; a dynamic traffic light,
    forwarded offers, curves, interface prices and the filter's answer are messages of their own. What stays inside one
    operator is none.
    """
    messages = n_bytes = 0
    before: StageRecord | None = None
    for record in run.stages:
        sent = _forwarded_offers(run, before, record)
        parts = (_offers(run, record, sent), _awards(run, record), _grid(run, record), _limits(run, record),
                 _forwarded(run, before, record, sent))  # fmt: skip
        messages += sum(part.messages for part in parts)
        n_bytes += sum(part.n_bytes for part in parts)
        before = record
    return Traffic(messages, n_bytes)


def _forwarded_offers(run: SchemeRun, before: StageRecord | None, record: StageRecord) -> npt.NDArray[np.bool_]:
    """Offers and steps of the distribution systems that the market before has and passes on, or that curves replace."""
    inside = (run.case.offers.node >= 0)[:, None]
    kind = "none" if before is None else before.stage.forward
    if kind == "curve":
        return np.broadcast_to(inside, record.seen.shape)
    if before is None or kind not in ("remaining", "unselected", "filtered"):
        return np.zeros_like(record.seen)
    return inside & record.seen & before.seen


def _offers(run: SchemeRun, record: StageRecord, forwarded: npt.NDArray[np.bool_]) -> Traffic:
    sent = record.seen & ~forwarded
    bsp = run.case.offers.bsp[sent.any(axis=1)]
    return Traffic(int(np.unique(bsp).size), OFFER * int(sent.sum()))


def _awards(run: SchemeRun, record: StageRecord) -> Traffic:
    awarded = record.kept_kw > 0
    bsp = run.case.offers.bsp[awarded.any(axis=1)]
    return Traffic(int(np.unique(bsp).size), AWARD * int(awarded.sum()))


def _grid(run: SchemeRun, record: StageRecord) -> Traffic:
    """Grids that a market of somebody else knows: those of DSOs where a TSO buys, that of the TSO where a DSO does."""
    case, stage = run.case, record.stage
    traffic = Traffic(0, 0)
    if stage.grid_seen in ("d", "t+d") and set(stage.buyers) != {"dso"}:
        rows = int(np.isfinite(case.rows.upper_kw).sum() + np.isfinite(case.rows.w_upper).sum())
        traffic = Traffic(case.n_systems, BRANCH * case.grid.n_nodes + 2 * LIMIT * rows)
    if stage.grid_seen in ("t", "t+d") and "tso" not in stage.buyers:
        lines = case.transmission.limit_kw.size
        traffic = Traffic(traffic.messages + 1, traffic.n_bytes + lines * (BRANCH + LIMIT * case.n_steps))
    if stage.check == "ex_post":  # the list goes to the DSO and comes back
        traffic = Traffic(traffic.messages + 2, traffic.n_bytes + AWARD * int((record.accepted_kw > 0).sum()) * 2)
    return traffic


def _limits(run: SchemeRun, record: StageRecord) -> Traffic:
    case = run.case
    messages = n_bytes = 0
    if record.cap_kw is not None:
        messages, n_bytes = case.n_systems, LIMIT * int(record.cap_kw.size)
    if record.interface_price is not None:
        # one price there and one reply back per round, step and system
        messages += 2 * max(record.n_rounds, case.n_steps) * case.n_systems
        n_bytes += 2 * POINT * max(record.n_rounds, case.n_steps) * case.n_systems
    return Traffic(messages, n_bytes)


def _forwarded(
    run: SchemeRun, before: StageRecord | None, record: StageRecord, forwarded: npt.NDArray[np.bool_]
) -> Traffic:
    """Offers, or one curve per system, that the operators of the stage before send; none within one operator."""
    if before is None or set(before.stage.buyers) == set(record.stage.buyers) == {"tso"}:
        return Traffic(0, 0)
    systems = run.case.n_systems
    if before.stage.forward == "curve":
        return Traffic(systems, POINT * record.n_rounds)
    return Traffic(systems, OFFER * int(forwarded.sum())) if forwarded.any() else Traffic(0, 0)
