"""The table of explanations: one row per offer not taken in full, and per open need and cause."""

from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from flexcore.market.explain_codes import CODE, CODE_NAMES, KIND_WORDS, SENTENCES
from flexcore.market.pricing import NO_PRICE
from flexcore.units import UP

I8A = npt.NDArray[np.int64]
U1A = npt.NDArray[np.uint8]

OFFER, NEED, VOLTAGE_NEED = range(3)
SUBJECTS = ("offer", "need", "voltage need")
DIRECTION_WORDS = ("up", "down")


@dataclass(frozen=True, slots=True)
class Cuts:
    """What was taken out of offers before the selection, one row per offer, step and reason.

    Attributes
    ----------
    offer : ndarray of int64
        Position of the offer.
    step : ndarray of int64
        Position of the step.
    w : ndarray of int64
        [W]
    code : ndarray of uint8
        A value of `CODE`: held, withdrawn, not_validated, gate, expired, notice, recovery, minimum, ...
    by : ndarray of object
        Who or what caused it, such as the session that holds the PODs, or None.
    """

    offer: I8A
    step: I8A
    w: I8A
    code: U1A
    by: npt.NDArray[Any]

    @classmethod
    def join(cls, parts: "Iterable[Cuts]") -> "Cuts":
        """Put cuts under one another; none at all are cuts of no rows."""
        none = np.zeros(0, np.int64)
        every = [cls(none, none, none, np.zeros(0, np.uint8), np.zeros(0, object)), *parts]
        return cls(*(np.concatenate([getattr(part, f.name) for part in every]) for f in fields(cls)))


@dataclass(frozen=True, slots=True)
class Explanation:
    """One row per offer and step that was not taken in full, and per open need, step and cause.

    Attributes
    ----------
    subject : ndarray of uint8, shape (n_rows,)
        `OFFER`, `NEED` or `VOLTAGE_NEED`.
    id : ndarray of object
        The offer, or the element whose need stayed open.
    direction : ndarray of int8
        0 up, 1 down.
    step : ndarray of int64
    code : ndarray of uint8
        Reason, an index into `CODE_NAMES`. Of a need: no_offers, exhausted, blocked or counter.
    because : ndarray of uint8
        Of a blocked need: the reason of the offers that were not taken; else that of `code`.
    offered_w, accepted_w : ndarray of int64
        Of an offer, what it offered in the selection and what was taken; of a need, what is offered at and below it in
        its direction, and what was served. [W]
    needed_w : ndarray of int64
        Of a need. 0 for an offer. [W]
    w : ndarray of int64
        Of an offer, what this reason kept out; of a need, what this cause kept from it. [W]
    limit_w : ndarray of int64
        Bound of the full element, -1 where the reason names none. [W]
    margin_ueur_per_mwh : ndarray of int64
        Price that explains it, `NO_PRICE` where none does. [micro-EUR/MWh]
    element : ndarray of object
        Full element or node without room, None where the reason names none.
    element_kind : ndarray of uint8
        Of `element`, an index into `KIND_WORDS`.
    by : ndarray of object
        Who holds what was cut, or None.
    session : ndarray of object
        Name of the session, "" outside a day.
    """

    subject: U1A
    id: npt.NDArray[Any]
    direction: npt.NDArray[np.int8]
    step: I8A
    code: U1A
    because: U1A
    offered_w: I8A
    accepted_w: I8A
    needed_w: I8A
    w: I8A
    limit_w: I8A
    margin_ueur_per_mwh: I8A
    element: npt.NDArray[Any]
    element_kind: U1A
    by: npt.NDArray[Any]
    session: npt.NDArray[Any]

    def __len__(self) -> int:
        return int(self.step.size)

    @classmethod
    def join(cls, parts: "Iterable[Explanation]") -> "Explanation":
        """Put explanations under one another."""
        every = list(parts)
        return cls(*(np.concatenate([getattr(part, f.name) for part in every]) for f in fields(cls)))

    def rows(self, keep: npt.NDArray[Any]) -> "Explanation":
        """Return some rows, by mask or position."""
        return Explanation(*(getattr(self, f.name)[keep] for f in fields(self)))

    def to_arrow(self) -> Any:
        """Return the rows as a pyarrow Table; codes as names, numbers null where the reason has none."""
        import pyarrow as pa

        def text(values: npt.NDArray[Any]) -> Any:
            return pa.array([None if x is None else str(x) for x in values.tolist()], pa.string())

        names = np.array(CODE_NAMES)
        return pa.table(
            {
                "session": text(self.session),
                "subject": np.array(SUBJECTS)[self.subject],
                "id": text(self.id),
                "direction": np.array(DIRECTION_WORDS)[self.direction],
                "step": self.step,
                "code": names[self.code],
                "because": names[self.because],
                "offered_w": self.offered_w,
                "accepted_w": self.accepted_w,
                "needed_w": pa.array(self.needed_w, mask=self.subject == OFFER),
                "w": self.w,
                "limit_w": pa.array(self.limit_w, mask=self.limit_w < 0),
                "margin_ueur_per_mwh": pa.array(self.margin_ueur_per_mwh, mask=self.margin_ueur_per_mwh == NO_PRICE),
                "element": text(self.element),
                "by": text(self.by),
            }
        )

    def sentences(self) -> list[str]:
        """Return one plain sentence per row."""
        return [self._sentence(row) for row in range(len(self))]

    def _sentence(self, row: int) -> str:
        at = "" if self.element[row] is None else f"{KIND_WORDS[self.element_kind[row]]} {self.element[row]}"
        if self.code[row] == CODE["voltage"] or self.because[row] == CODE["voltage"]:
            at = f"node {self.element[row]}"
        margin, by = int(self.margin_ueur_per_mwh[row]), self.by[row]
        text = SENTENCES[self.code[row]].format(
            w=self.w[row], limit=self.limit_w[row], at=at, offered=self.offered_w[row],
            margin="" if margin == NO_PRICE else f"{margin / 1e6:.6g} EUR/MWh",
            by="" if by is None else f" since {by}",
        )  # fmt: skip
        session = f"{self.session[row]}, " if self.session[row] else ""
        where = f"({session}step {self.step[row]}, {DIRECTION_WORDS[self.direction[row]]})"
        if self.subject[row] == OFFER:
            return f"Offer {self.id[row]} {where} {text}."
        missing = self.needed_w[row] - self.accepted_w[row]
        head = f"{SUBJECTS[self.subject[row]].capitalize()} of {self.needed_w[row]} W at {self.id[row]} {where}"
        tail = ""
        if self.code[row] == CODE["blocked"]:
            tail = f" ({CODE_NAMES[self.because[row]].replace('_', ' ')}{f': {at}' if at else ''})"
        return f"{head} misses {missing} W: {text}{tail}."


def fill(n: int, session: str, **columns: Any) -> Explanation:
    """Fill the columns that are not given with what stands for nothing."""
    blank: dict[str, Any] = {
        "subject": np.uint8(OFFER), "direction": np.int8(UP), "code": np.uint8(0), "element_kind": np.uint8(0),
        "limit_w": np.int64(-1), "margin_ueur_per_mwh": np.int64(NO_PRICE), "needed_w": np.int64(0),
        "offered_w": np.int64(0), "accepted_w": np.int64(0), "w": np.int64(0), "step": np.int64(0),
    }  # fmt: skip
    columns.setdefault("because", columns["code"])
    columns["session"] = np.full(n, session, object)
    filled = []
    for f in fields(Explanation):
        if f.name in columns:
            filled.append(np.asarray(columns[f.name]))
        elif f.name in blank:
            filled.append(np.full(n, blank[f.name]))
        else:
            filled.append(np.full(n, None, object))
    return Explanation(*filled)
