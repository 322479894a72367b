"""Counts the messages of a scheme and their bytes: the price of information that a scheme pays (D4.1 BUC 09)."""

from typing import NamedTuple

import numpy as np

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

    Every provider sends its offers to the market of each stage and gets its awards from it; a market that knows a grid
    of another operator gets its branches and limits; a dynamic traffic light, forwarded offers, curves, interface
    prices and the filter's answer are messages of their own. What stays inside one operator is none.
    """
    messages = n_bytes = 0
    for number, record in enumerate(run.stages):
        for part in (_offers(run, record), _awards(run, record), _grid(run, record), _limits(run, record)):
            messages, n_bytes = messages + part.messages, n_bytes + part.n_bytes
        if number + 1 < len(run.stages):
            part = _forwarded(run, record, run.stages[number + 1])
            messages, n_bytes = messages + part.messages, n_bytes + part.n_bytes
    return Traffic(messages, n_bytes)


def _offers(run: SchemeRun, record: StageRecord) -> Traffic:
    bsp = run.case.offers.bsp[record.seen.any(axis=1)]
    return Traffic(int(np.unique(bsp).size), OFFER * int(record.seen.sum()))


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


def _forwarded(run: SchemeRun, record: StageRecord, following: StageRecord) -> Traffic:
    case, kind = run.case, record.stage.forward
    if kind == "curve":
        return Traffic(case.n_systems, POINT * following.n_rounds)
    if kind in ("remaining", "unselected", "filtered") and following.seen.any():
        inside = case.offers.node >= 0
        return Traffic(case.n_systems, OFFER * int(following.seen[inside].sum()))
    return Traffic(0, 0)
