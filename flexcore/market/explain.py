"""Explanations: why each offer was not taken in full, and what was missing for each need that stayed open."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from flexcore.chunks import run_chunks
from flexcore.market.cleared import Cleared
from flexcore.market.explain_codes import CODE, PERIMETER
from flexcore.market.explanation import NEED, VOLTAGE_NEED, Cuts, Explanation, fill
from flexcore.market.pricing import price_elements
from flexcore.market.voltage_prices import voltage_values
from flexcore.units import DOWN, UP

I8A = npt.NDArray[np.int64]
U1A = npt.NDArray[np.uint8]

_STEPS_PER_CHUNK = 4
#: Engine reasons (`REASONS`) and the codes they become where no exact prices exist.
_ENGINE = {2: "marginal", 3: "worth_less", 4: "element_full", 5: "voltage", 7: "no_need"}


def explain(
    cleared: Cleared, *, cuts: Cuts | None = None, withheld: Cuts | None = None, session: str = "", n_threads: int = 1
) -> Explanation:
    """Say why each offer was not taken in full and what was missing for each need that stayed open.

    Parameters
    ----------
    cleared : Cleared
        A selection with its rows, from `cleared_local`, `cleared_tables` or `cleared_global`.
    cuts : Cuts, optional
        What was taken out of the offers before the selection; each row is a row of the answer.
    withheld : Cuts, optional
        What was never offered, such as PODs that the other operator holds and that their BSP left out: causes of open
        needs, but no rows of offers.
    session : str
        Name to put on the rows.
    n_threads : int
        Never changes the result.

    Returns
    -------
    Explanation

    Notes
    -----
    Reasons follow from the local prices (`local_prices`), so each can be checked:

    - dearer: the offer costs more than the margin, the greatest worth of a W on its path, which is the price of an
      offer that was accepted; tie: it costs just that.
    - element_full, perimeter_full: the element lies on its path and is at its bound. Either a need on the path stays
      open, and no margin is given, or above the element a W is worth at least what the offer costs: the margin.
    - opposed: as before, but the bound is a need for the other direction that would be served less.
    - marginal: accepted in part, at the price of its element.
    - no_need: in its direction a W is worth nothing anywhere on its path.

    In feeders that voltage rows decided there are no such prices. There the reasons of the engine hold: voltage names a
    node whose row leaves less than 2 W; worth_less has the dual of the node, from `voltage_prices`.

    A need that stays open lacks `needed_w - accepted_w`. Its causes add up to that: blocked, by the reason and the
    element of the offers below it that were not taken; counter, what acts the other way below it; exhausted, what all
    offers together are short of (no_offers: there are none). Where offers were more than enough, causes add up to more.
    Cuts below a need, and what was withheld, are causes beside these. Voltage needs have no such sum: power elsewhere
    acts on them in part.
    """
    code, at, margin = _reasons(cleared, n_threads)
    offer_rows = _offer_rows(cleared, code, at, margin, session)
    lost = [part for part in (cuts, withheld) if part is not None]
    parts = [offer_rows, *_need_rows(cleared, code, at, Cuts.join(lost), session)]
    if cuts is not None and cuts.offer.size:
        parts.append(_cut_rows(cleared, cuts, session))
    return Explanation.join(parts)


def _reasons(cleared: Cleared, n_threads: int) -> tuple[U1A, npt.NDArray[np.int32], I8A]:
    """Code, preorder position and real price per offer, each (n_steps, n_offers)."""
    from flexcore.kernels.market.explain import explain_by_price

    _, _, value, raised, priced = price_elements(cleared, n_threads=n_threads)
    shape = cleared.accepted_w.shape
    code, at, margin = np.empty(shape, np.uint8), np.empty(shape, np.int32), np.empty(shape, np.int64)
    tree, rows, book = cleared.tree, cleared.rows, cleared.book
    good = np.ascontiguousarray(priced, np.uint8)

    def task(lo: int, hi: int) -> None:
        explain_by_price(
            tree.parent, book.node, book.down, book.price, book.quantity_w, cleared.accepted_w, cleared.barred,
            rows.lower_w, rows.upper_w, cleared.y_w, value, raised, good, code, at, margin, lo, hi,
        )  # fmt: skip

    run_chunks(task, shape[0], n_threads=n_threads, chunk=_STEPS_PER_CHUNK)
    kind = np.zeros(tree.parent.size, np.uint8)
    kind[cleared.position] = cleared.element_kind
    code[(code == CODE["element_full"]) & (kind[np.maximum(at, 0)] == PERIMETER)] = CODE["perimeter_full"]
    unknown = code == CODE["not_priced"]
    if unknown.any() and cleared.engine_reason is not None and cleared.engine_at is not None:
        worth = voltage_values(cleared, priced)[0][:, book.node]
        worth = np.where(book.down == 1, -worth, worth) - raised[:, book.node]
        for reason, name in _ENGINE.items():
            here = unknown & (cleared.engine_reason == reason)
            code[here] = CODE[name]
            if name in ("voltage", "element_full"):
                at[here] = cleared.engine_at[here]
            if name == "worth_less":
                known = here & np.isfinite(worth)
                margin[known] = np.rint(worth[known]).astype(np.int64)
    return code, at, margin


def _names(cleared: Cleared) -> tuple[npt.NDArray[Any], U1A]:
    """Id and kind of each preorder position."""
    name, kind = np.full(cleared.tree.parent.size, None, object), np.zeros(cleared.tree.parent.size, np.uint8)
    name[cleared.position], kind[cleared.position] = cleared.element_id, cleared.element_kind
    return name, kind


def _objects(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    out = np.empty(values.size, object)
    out[:] = values.tolist()
    return out


def _bound_of(cleared: Cleared, step: I8A, at: I8A, down: npt.NDArray[Any]) -> I8A:
    """Bound of an element in a direction, -1 without one."""
    upper, lower = cleared.rows.upper_w[step, at], cleared.rows.lower_w[step, at]
    return np.where(at >= 0, np.where(down == DOWN, np.maximum(-lower, 0), np.maximum(upper, 0)), -1)


def _offer_rows(cleared: Cleared, code: U1A, at: npt.NDArray[np.int32], margin: I8A, session: str) -> Explanation:
    book = cleared.book
    step, offer = np.nonzero(cleared.accepted_w < book.quantity_w)
    name, kind = _names(cleared)
    where, reason = at[step, offer], code[step, offer]
    full = np.isin(reason, (CODE["element_full"], CODE["perimeter_full"]))
    element = name[np.maximum(where, 0)]
    element[where < 0] = None
    offered, accepted = book.quantity_w[step, offer], cleared.accepted_w[step, offer]
    return fill(
        step.size, session, id=_objects(cleared.offer_id[offer]), direction=book.down[offer].astype(np.int8),
        step=cleared.step[step], code=reason, offered_w=offered, accepted_w=accepted, w=offered - accepted,
        limit_w=np.where(full, _bound_of(cleared, step, where.astype(np.int64), book.down[offer]), -1),
        margin_ueur_per_mwh=margin[step, offer], element=element, element_kind=kind[np.maximum(where, 0)],
    )  # fmt: skip


def _cut_rows(cleared: Cleared, cuts: Cuts, session: str) -> Explanation:
    book = cleared.book
    return fill(
        cuts.offer.size, session, id=_objects(cleared.offer_id[cuts.offer]),
        direction=book.down[cuts.offer].astype(np.int8), step=cleared.step[cuts.step], code=cuts.code,
        offered_w=book.quantity_w[cuts.step, cuts.offer], accepted_w=cleared.accepted_w[cuts.step, cuts.offer],
        w=cuts.w, by=cuts.by,
    )  # fmt: skip


def _need_rows(
    cleared: Cleared, code: U1A, at: npt.NDArray[np.int32], cuts: Cuts, session: str
) -> Iterable[Explanation]:
    """One row per open need and cause. Open needs are few: a loop over them, arrays below each."""
    inside, names = cleared.tree.parent >= 0, _names(cleared)
    lower, upper, y = cleared.rows.lower_w, cleared.rows.upper_w, cleared.y_w
    for way, needed, served in ((UP, lower, y), (DOWN, -upper, -y)):
        for t, i in np.argwhere((needed > 0) & (served < needed) & inside):
            below = (int(i), int(cleared.tree.last[i]))
            yield _causes(
                cleared,
                names,
                code,
                at,
                cuts,
                session,
                NEED,
                way,
                int(t),
                int(i),
                below,
                int(needed[t, i]),
                int(served[t, i]),
            )  # fmt: skip
    for way, t, i, needed_w, open_w in _open_voltage(cleared):
        top = int(cleared.tree.feeder[i])
        below = (top, int(cleared.tree.last[top]))
        yield _causes(
            cleared, names, code, at, cuts, session, VOLTAGE_NEED, way, t, i, below, needed_w, max(needed_w - open_w, 0)
        )


def _open_voltage(cleared: Cleared) -> Iterable[tuple[int, int, int, int, int]]:
    """Direction, step, node, need and gap in W at the node of each voltage need with a gap of more than 1 W."""
    rows, tree = cleared.rows, cleared.tree
    needs = rows.voltage_need_w
    if needs is None or rows.w_lower is None or rows.w_upper is None or not (needs[0].any() or needs[1].any()):
        return
    w = np.zeros(cleared.y_w.shape)
    for i in np.flatnonzero(tree.parent >= 0):  # preorder: a parent comes first
        w[:, i] = w[:, tree.parent[i]] + rows.m[i] * (cleared.y_w[:, i] / 1000.0)
    for way, need, short in ((UP, needs[0], rows.w_lower - w), (DOWN, needs[1], w - rows.w_upper)):
        for t, i in np.argwhere((need > 0) & (tree.feeder >= 0)):
            gap = 1000.0 * float(short[t, i]) / float(rows.reach[i])
            if gap > 1.001:  # whole watts cannot close less
                yield way, int(t), int(i), int(need[t, i]), int(np.ceil(gap - 1e-3))


def _causes(
    cleared: Cleared, names: tuple[npt.NDArray[Any], U1A], code: U1A, at: npt.NDArray[np.int32], cuts: Cuts,
    session: str, subject: int, way: int, t: int, i: int, below: tuple[int, int], needed: int, served: int,
) -> Explanation:  # fmt: skip
    book, (name, kind) = cleared.book, names
    under = (book.node >= below[0]) & (book.node < below[1])
    mine = np.flatnonzero(under & (book.down == way) & (book.quantity_w[t] > 0))
    offered, accepted = int(book.quantity_w[t, mine].sum()), int(cleared.accepted_w[t, mine].sum())
    causes: list[tuple[str, int, int, int, Any]] = []
    left = book.quantity_w[t, mine] - cleared.accepted_w[t, mine]
    keys = np.stack([code[t, mine], at[t, mine]]).astype(np.int64)[:, left > 0]
    pairs, of = np.unique(keys, axis=1, return_inverse=True)
    lost = np.zeros(pairs.shape[1], np.int64)
    np.add.at(lost, of.ravel(), left[left > 0])
    causes += [("blocked", int(c), int(w), int(e), None) for (c, e), w in zip(pairs.T, lost, strict=True)]
    here = np.flatnonzero((cuts.step == t) & under[cuts.offer] & (book.down[cuts.offer] == way))
    gone: dict[tuple[int, str], int] = {}
    for k in here:
        key = (int(cuts.code[k]), str(cuts.by[k] or ""))
        gone[key] = gone.get(key, 0) + int(cuts.w[k])
    causes += [("blocked", c, w, -1, by or None) for (c, by), w in sorted(gone.items())]
    if subject == NEED and accepted > served:
        causes.append(("counter", CODE["counter"], accepted - served, -1, None))
    if not offered:
        causes.append(("no_offers", CODE["no_offers"], needed - served, -1, None))
    elif offered < needed or not causes:
        causes.append(("exhausted", CODE["exhausted"], max(needed - offered, 0), -1, None))
    causes.sort(key=lambda cause: -cause[2])
    n = len(causes)
    where = np.array([cause[3] for cause in causes])
    element = np.full(n, None, object)
    element[where >= 0] = name[where[where >= 0]]
    subject_id = np.full(n, None, object)
    subject_id[:] = name[i]
    return fill(
        n, session, subject=np.full(n, subject, np.uint8), id=subject_id, direction=np.full(n, way, np.int8),
        step=np.full(n, cleared.step[t]), code=np.array([CODE[cause[0]] for cause in causes], np.uint8),
        because=np.array([cause[1] for cause in causes], np.uint8), offered_w=np.full(n, offered),
        accepted_w=np.full(n, served), needed_w=np.full(n, needed), w=np.array([cause[2] for cause in causes]),
        element=element, element_kind=kind[np.maximum(where, 0)], by=_objects(np.array([c[4] for c in causes], object)),
    )  # fmt: skip
