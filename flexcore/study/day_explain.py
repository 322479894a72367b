"""Explanations of a planned day: why each line was not taken in full, and why each open need stayed open."""

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from flexcore.market.cleared import Cleared, cleared_global, cleared_local
from flexcore.market.explain import explain
from flexcore.market.explain_codes import CODE
from flexcore.market.explanation import Cuts, Explanation
from flexcore.market.offers import WITHDRAWN
from flexcore.study.planning import Plan, SessionRecord
from flexcore.units import LOCAL

Int64s = npt.NDArray[np.int64]


def explain_day(plan: Plan) -> Explanation:
    """Explain all sessions of a day under one another.

    Parameters
    ----------
    plan : Plan
        From `plan_day`.

    Returns
    -------
    Explanation
        One row per session, line, step and reason, and per open need, step and cause. The step of an hourly global
        session is the first quarter-hour of the hour. A skipped LFP, which takes no offers, has no rows.
    """
    return Explanation.join(explain_session(plan, record) for record in plan.records if _ran(record))


def explain_session(plan: Plan, record: SessionRecord) -> Explanation:
    """Explain one session that was not skipped; see `explain_day`."""
    cleared = cleared_session(plan, record)
    before = plan.records[: _place(plan, record)]
    others = [r.session.name for r in before if r.session.operator != record.session.operator]
    holder = others[-1] if others else None
    cuts, withheld = _lost(record, cleared, holder)
    return explain(cleared, cuts=cuts, withheld=withheld, session=record.session.name, n_threads=plan.n_threads)


def cleared_session(plan: Plan, record: SessionRecord) -> Cleared:
    """Put the selection of a session back beside its rows: what pricing and explanations read."""
    city, book, steps = plan.city, record.book, record.session.plan
    if record.session.operator == LOCAL:
        assert record.needs is not None
        assert record.clearing is not None
        cleared = cleared_local(
            city.grid,
            record.needs.rows,
            record.clearing,
            node=book.node,
            direction=book.direction,
            quantity_w=np.ascontiguousarray(book.quantity_w[:, steps]),
            price_ueur_per_mwh=book.price_ueur_per_mwh,
            submitted_at=book.submitted_at,
            offer_id=book.line_id,
            n_threads=plan.n_threads,
        )
        return replace(cleared, step=cleared.step + steps.start)
    light = plan.records[_place(plan, record) - 1].light
    assert light is not None
    assert record.selection is not None
    assert record.selected_from is not None
    return cleared_global(
        record.selected_from,
        record.selection,
        light,
        zone=city.aggregates.zone[book.aggregate],
        price_cap_ueur_per_mwh=city.global_needs(plan.day, record.session.number).price_cap_ueur_per_mwh,
        perimeter_ids=city.places.perimeter_ids,
        zone_ids=city.places.zone_ids,
        n_threads=plan.n_threads,
    )


def _ran(record: SessionRecord) -> bool:
    return record.clearing is not None or record.selection is not None


def _place(plan: Plan, record: SessionRecord) -> int:
    return next(k for k, other in enumerate(plan.records) if other is record)


def _lost(record: SessionRecord, cleared: Cleared, holder: str | None) -> tuple[Cuts, Cuts]:
    """What the gate and the split took from lines, and what their BSPs left out because the other operator holds it."""
    book, quarters = record.book, cleared.quarters
    n_lines, width = book.quantity_w.shape[0], cleared.n_steps * quarters
    first = int(cleared.step[0]) if cleared.n_steps else 0
    part = slice(first, first + width)

    def of_steps(values: Int64s) -> Int64s:
        """Bring (n_lines, quarter-hours) to (n_lines, steps): what holds through the whole step."""
        return np.asarray(values[:, part].reshape(n_lines, -1, quarters).min(axis=-1))

    assert record.restatement is not None
    # quarter by quarter first: an hour loses what its worst quarter loses
    removed_w = record.restatement.removed_w
    gone = (record.restatement.line_state == WITHDRAWN)[:, None]
    hold_w = np.where(gone, 0, np.minimum(removed_w, record.held_w))
    submitted = of_steps(book.quantity_w + removed_w)
    unheld = of_steps(book.quantity_w + removed_w - hold_w)
    excess = unheld - of_steps(book.quantity_w)
    selected = record.clearing.accepted_w if record.clearing is not None else of_steps(_selected(record))
    kinds = (
        ("withdrawn", np.where(gone, excess, 0), holder),
        ("held", submitted - unheld, holder),
        ("not_validated", np.where(gone, 0, excess), None),
        ("recovery", of_steps(book.quantity_w) - of_steps((record.selected_from or book).quantity_w), None),
        ("pods_taken", selected - of_steps(record.accepted_w), None),
    )
    left_w = np.maximum(record.held_w - removed_w, 0)
    left_out = of_steps(book.quantity_w + removed_w + left_w) - submitted
    return Cuts.join(_cuts(*kind) for kind in kinds), _cuts("held", left_out, holder)


def _selected(record: SessionRecord) -> Int64s:
    assert record.selection is not None
    return record.selection.accepted_w


def _cuts(code: str, w: Int64s, by: str | None) -> Cuts:
    line, step = np.nonzero(w > 0)
    return Cuts(
        line, step, w[line, step], np.full(line.size, CODE[code], np.uint8), np.full(line.size, by, object)
    )  # fmt: skip
