"""Typed errors with stable codes: every problem of one input is found, named and raised at once."""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

#: Every code, with its meaning. A code is never reused; docs/reference/errors.md is generated from this table.
CODES: dict[str, str] = {
    "FX-A001": "an array has the wrong shape",
    "FX-A002": "an array has a type that cannot be converted without loss",
    "FX-A003": "an array holds NaN or infinite values",
    "FX-A004": "a quantity that has no sign is negative",
    "FX-A005": "an output array has the wrong shape or type, or overlaps an input",
    "FX-A006": "a number lies outside its allowed range",
    "FX-A007": "a table lacks a required column",
    "FX-A008": "a table has a column that its specification does not know",
    "FX-A009": "a key column has duplicate values",
    "FX-A010": "a key column has missing values",
    "FX-A011": "a value is not one of those that its column allows",
    "FX-T001": "a time has no time zone",
    "FX-T002": "a series does not have the number of quarter-hours of its local day",
    "FX-T003": "a time lies outside the market day",
    "FX-T004": "a time does not fall on a quarter-hour",
    "FX-T005": "a date or a time zone is not known",
    "FX-T006": "a local day does not have 92, 96 or 100 whole quarter-hours",
    "FX-G001": "branches form a loop where a forest is required",
    "FX-G002": "nodes lie in an island without a slack node",
    "FX-G003": "the network has no slack node",
    "FX-G004": "two slack nodes stand in one tree",
    "FX-G005": "a branch names an unknown node",
    "FX-G006": "a node or a branch has the id of another one",
    "FX-G007": "a network parameter is NaN or infinite",
    "FX-G008": "a branch has no impedance",
    "FX-G009": "a limit is negative or the lower one is above the upper one",
    "FX-G010": "a branch joins a node with itself",
    "FX-G011": "no node or branch of the grid has this id",
    "FX-G012": "a regulated busbar is fed by a branch that is declared towards its parent",
    "FX-G013": "a calculation does not know regulated busbars inside a tree",
    "FX-G014": "a grid with loops or PV nodes has regulated nodes",
    "FX-G020": "a load depends on the voltage (ZIP)",
    "FX-G021": "a generator holds the voltage away from the slack node",
    "FX-G022": "a ward or an extended ward is not modelled",
    "FX-G023": "a dc line is not modelled",
    "FX-G024": "an impedance element is not modelled",
    "FX-G025": "a three-winding transformer is not modelled",
    "FX-G026": "an element of this kind is not modelled",
    "FX-G027": "a bus without supply has loads or generators",
    "FX-G028": "slack elements at one node hold different voltages",
    "FX-G030": "a step needs a radial network, this one has loops or PV nodes",
    "FX-G031": "a branch inside a loop has no reactance, or those of a loop cancel",
    "FX-G050": "an activation would move a voltage the wrong way (negative r + tan_phi x)",
    "FX-G051": "the forecast power flow has no voltage: the load is beyond what can be fed",
    "FX-G052": "a sharing weight is not positive",
    "FX-G053": "a sensitivity is asked for without naming nodes",
    "FX-G054": "topologies do not have the same nodes",
    "FX-O101": "an offer was submitted after the gate of its session",
    "FX-O102": "an offer line was cut: it still counted PODs that are held",
    "FX-O103": "an offer line was withdrawn: it still counted PODs that are held",
    "FX-O104": "an offer line was cut: it exceeds the free validated power of its PODs",
    "FX-O105": "two offer lines of one aggregate cover the same node group in the same direction",
    "FX-O106": "a POD stands in two offer lines of one direction",
    "FX-O107": "an award exceeds the power of its line's PODs",
    "FX-O109": "the PODs of the offer lines are not a valid list of lists",
    "FX-M101": "a POD is held by the other operator",
    "FX-M102": "a POD is already held by the same operator",
    "FX-M103": "a POD is blocked",
    "FX-M104": "a POD is selected twice in one quarter-hour",
    "FX-M105": "a session is not in the state that this step needs",
    "FX-M106": "a local session is published without its traffic light",
    "FX-M107": "gate and publication times of the sessions are not in order",
    "FX-M108": "a perimeter lies in more than one zone",
    "FX-M109": "a selection exceeds a published capability or an offer",
    "FX-M110": "a red direction was selected",
    "FX-M201": "an offer, a need or a limit names a node, element, perimeter or zone that does not exist",
    "FX-M202": "an offer line is given twice",
    "FX-M203": "a step lies outside the day",
    "FX-M204": "the plain merit order cannot serve nested needs",
    "FX-M205": "the elements of a selection form a loop",
    "FX-M260": "an order is over before it arrives",
    "FX-M261": "an order wants to trade at least more than its quantity",
    "FX-M262": "a paired request would rest in the book",
    "FX-M263": "activation rows are given without their grid",
    "FX-M301": "a coordination scheme has a word that no stage knows, or contradicts itself",
    "FX-M302": "text is not TOML, or a stage of a scheme has unknown or missing fields",
    "FX-M303": "an offer of transmission names no node of it",
    "FX-M304": "the static traffic light leaves more of an offer than was declared",
    "FX-M305": "an interface is bounded, and no bounds are given",
    "FX-M306": "bounds of an interface cross, or are no numbers",
    "FX-M307": "a coordination case has a price, a length of step, a bound or a bid that cannot be meant",
    "FX-M280": "the stages of a session do not fit together",
    "FX-M281": "a POD is selected within the recovery time of another selection",
    "FX-M282": "a POD is selected for longer than its maximum run time",
    "FX-M283": "a clearing returned something else than an award for each line and step",
    "FX-M284": "a market of the day has no rules, or no offer book for an operator that buys in it",
    "FX-M285": "more is taken back than was awarded, or a slot that is not held",
    "FX-M270": "a service window ends before it starts, or holds no quarter-hour",
    "FX-M271": "a row names a tender, an offer, a contract or a window that does not exist, or that is not needed",
    "FX-M272": "an offer or a contract has no service window",
    "FX-M273": "the least award of an offer is above what it offers, or leaves no multiple of the granularity",
    "FX-M274": "a window is given twice for one tender, offer or contract",
    "FX-M275": "an auction ended without an answer that holds in whole numbers",
    "FX-M240": "accepted quantities do not fit the offers that they belong to",
    "FX-M241": "a pricing rule has no price for an accepted offer",
    "FX-M210": "the offers of a step sum to more than can be added up safely",
    "FX-M220": "rows of one offer, block, unit or exclusive group contradict each other",
    "FX-M221": "a least accepted power is above the offered one, or no multiple of the granularity lies between",
    "FX-M222": "a rebound stands outside a block, or a block delivers nothing",
    "FX-M223": "rows of a block have price steps, or quantities that are no multiple of their granularity",
    "FX-M224": "a need's condition names no other need of its step, or conditions form a loop",
    "FX-M225": "the places of an offer do not fit it",
    "FX-M226": "a notice time or an expiry is given, but not the time of the selection",
    "FX-M227": "an option of the selection does not go with the conditions of its offers",
    "FX-M228": "two needs have one key in one step",
    "FX-R001": "a POD code does not match the pattern",
    "FX-R002": "a POD code is given more than once",
    "FX-R003": "a POD lies at a node that the grid does not have",
    "FX-R004": "a key is already registered",
    "FX-R005": "a row points to a key that is not registered",
    "FX-R006": "a party is not a BSP",
    "FX-R007": "several units of one table take their POD's code as id",
    "FX-R008": "keys of one table mix numbers and text",
    "FX-R009": "a unit declares no power in either direction",
    "FX-R010": "an aggregate holds units of another BSP",
    "FX-R011": "a unit sits in two aggregates of one market side",
    "FX-R012": "a unit is shared by aggregates of different BSPs",
    "FX-R013": "a unit lies outside the flex_area of its local aggregate",
    "FX-R014": "more power is enrolled than validated",
    "FX-R015": "a unit has no approved static traffic light",
    "FX-R016": "a state machine has no such transition",
    "FX-R017": "a guard forbids the transition",
    "FX-R018": "an aggregate asks for a product of the other operator",
    "FX-R019": "an aggregate asks twice for a product, or for one that is decided already",
    "FX-R020": "the power to be qualified does not fit the aggregate or the product",
    "FX-R021": "an aggregate lies outside the perimeter of the product",
    "FX-R022": "an aggregate or a unit is terminated",
    "FX-R023": "the POD pattern is not a regular expression",
    "FX-R024": "the register is not connected to a grid",
    "FX-B001": "a POD has more than one reading for a quarter-hour",
    "FX-B002": "a POD lacks readings for quarter-hours of the day",
    "FX-B003": "a reading belongs to a POD that is not listed",
    "FX-B004": "a baseline rule contradicts itself",
    "FX-B005": "a nominated baseline came at or after its gate",
    "FX-B006": "a baseline method lacks an input that it needs",
    "FX-B007": "a parameter of the simulated readings lies outside its range",
    "FX-B020": "the holidays of a place or year are not known, or a calendar has neither a place nor dates",
    "FX-B021": "a rule of eligibility contradicts itself",
    "FX-B022": "reference days are out of order, in another time zone, or not before the event day",
    "FX-B023": "an event holds no quarter-hour",
    "FX-B080": "a preset needs an argument that Arrow streams do not take",
    "FX-B081": "reference days were chosen for other days or PODs than the files hold",
    "FX-B070": "a monitoring rule contradicts itself",
    "FX-B071": "a set-point has no baseline, or lies on the wrong side of it",
    "FX-B072": "a quarter-hour does not follow the one that was monitored last",
    "FX-B073": "neither or both of order and set-point are given",
    "FX-B074": "the energies of an event are too large to be monitored exactly",
    "FX-B060": "a file of readings is no whole Parquet file",
    "FX-B061": "a Parquet file does not have the layout of readings",
    "FX-B062": "a file of readings is of another day, or has another number of quarter-hours",
    "FX-B063": "keys of PODs are missing, repeated or not in order",
    "FX-B064": "files of several days do not hold the same PODs",
    "FX-B065": "a file changed while it was read, or its content contradicts its footer",
    "FX-B066": "a file or folder exists, and would be lost to something else",
    "FX-B067": "a day has no file, or days are repeated or out of order",
    "FX-B068": "rows of readings are not grouped by POD",
    "FX-B069": "an executor needs a folder to write to",
    "FX-B031": "a row of a reference profile, temperature zone or control group does not exist",
    "FX-B032": "a temperature lies outside what is possible, or too far from the base of degree hours",
    "FX-B033": "a POD names the same control twice",
    "FX-B034": "the sum of a group does not fit 32 bits",
    "FX-B035": "a group of PODs has no POD",
    "FX-B050": "the window of a placebo event is empty or leaves the day",
    "FX-B051": "no day can be drawn for a placebo event",
    "FX-B052": "a weight or a limit of an accuracy measure lies outside its range",
    "FX-B053": "a group of PODs is larger than the PODs that it is drawn from",
    "FX-B054": "a comparison of baseline methods has no POD or no method",
    "FX-S001": "an energy or an amount is too large for exact 64-bit money",
    "FX-S002": "an order has no reading or no baseline to be settled against",
    "FX-S003": "settlement terms contradict themselves or lack a price",
    "FX-S004": "a POD is ordered more than once for one quarter-hour",
    "FX-S005": "a settlement run is in a state that forbids the step",
    "FX-S010": "factors that share an amount do not sum to a million, or are given where none are used",
    "FX-S011": "an availability is settled for a month that nothing is due for, or that is not counted as a whole",
    "FX-S012": "an amount is to be shared, and nobody is there to take it",
    "FX-S013": "a settlement lacks an input that its terms need",
    "FX-S014": "a unit has more reliability tests in a year than are allowed, or one without an order",
    "FX-S015": "the availability of a POD would be counted twice",
    "FX-S016": "a POD stands behind a contract of the other direction",
    "FX-S017": "penalties would be invoiced before their cap, or capped twice",
    "FX-S040": "a statement is asked for a BSP or a POD that has no line",
    "FX-S041": "the rows, names or reference days of a statement do not fit the settlement",
    "FX-S042": "a run folder has no statements: it holds no settlement",
    "FX-S030": "a folder that a run cites holds no settlement of its day",
    "FX-S070": "the days of a period do not ascend, or do not fit its settlements",
    "FX-S071": "a statement lacks the provider's factors, or its period does not hold the day",
    "FX-S060": "orders name too many PODs and aggregates for one run",
    "FX-S061": "lines or POD lines that were written cannot be read again",
    "FX-S080": "a run that is cited is damaged: what it kept of its inputs is not what its manifest names",
    "FX-S090": "a settlement gives a reason, but no run that it corrects",
    "FX-C001": "SimBench has no network of that code",
    "FX-C010": "the files in a folder are not those of one whole run, as it was written",
    "FX-C011": "a seed is not a whole number from 0",
    "FX-C012": "the files of a run were written by another version of flexcore",
    "FX-E001": "an optional package is missing",
    "FX-E002": "a method, engine or option of that name does not exist",
}

_SHOWN = 5  # ids and rows named in a message; the rest is in `Finding.ids` and `ValidationError.to_arrow`


class FlexcoreError(Exception):
    """Root of all errors that flexcore raises on purpose."""


class MissingExtraError(FlexcoreError, ImportError):
    """An optional package is not installed; the message names the pip line."""

    code = "FX-E001"

    def __init__(self, package: str, extra: str) -> None:
        self.package = package
        self.extra = extra
        super().__init__(f"FX-E001 {package} is not installed. Hint: pip install 'flexcore[{extra}]'")


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


@dataclass(frozen=True, slots=True)
class Finding:
    """One problem of an input: what, where, how many, and the way out.

    Attributes
    ----------
    code : str
        Stable code, a key of `CODES`.
    severity : {"error", "warning"}
    message : str
        What was found and what was expected.
    table, field : str
        Table or argument, and the column in it.
    rows, ids : tuple
        Positions and ids of the rows concerned (either may be empty).
    count : int
        Number of rows concerned.
    hint : str
        What to do next.
    """

    code: str
    severity: Literal["error", "warning"]
    message: str
    table: str
    field: str
    rows: tuple[int, ...]
    ids: tuple[Any, ...]
    count: int
    hint: str

    def __str__(self) -> str:
        lines = [f"{self.code} {self.severity:<8} {self.message}"]
        if self.ids and self.rows:
            shown = [f"{i!r} (row {r})" for i, r in zip(self.ids[:_SHOWN], self.rows[:_SHOWN], strict=False)]
            lines.append(f"        e.g. {', '.join(shown)}")
        elif self.ids:
            lines.append(f"        e.g. {', '.join(repr(i) for i in self.ids[:_SHOWN])}")
        elif self.rows:
            lines.append(f"        rows {', '.join(str(r) for r in self.rows[:_SHOWN])}")
        if self.count > _SHOWN:
            lines[-1] += f" and {self.count - _SHOWN} more"
        if self.hint:
            lines.append(f"        Hint: {self.hint}")
        return "\n".join(lines)


class ValidationError(FlexcoreError, ValueError):
    """An input was refused; nothing was changed. Carries all findings.

    Attributes
    ----------
    findings : tuple of Finding
        All problems of the input, errors and warnings.
    codes : tuple of str
        Their codes, in the order found.
    """

    def __init__(self, findings: Sequence[Finding]) -> None:
        self.findings = tuple(findings)
        self.codes = tuple(finding.code for finding in self.findings)
        n_errors = sum(finding.severity == "error" for finding in self.findings)
        tables = ", ".join(sorted({repr(finding.table) for finding in self.findings}))
        counts = f"{_count(n_errors, 'error')}, {_count(len(self.findings) - n_errors, 'warning')}"
        head = f"{_count(len(self.findings), 'finding')} ({counts}) in {tables}"
        super().__init__("\n".join([head, *(f" {finding}" for finding in self.findings)]))

    def __str__(self) -> str:
        return str(self.args[0])

    def __reduce__(self) -> tuple[Any, ...]:
        """Survive the trip back from a worker process."""
        return (type(self), (self.findings,))

    def to_arrow(self) -> Any:
        """Return one row per bad row of the input, as a pyarrow Table."""
        import pyarrow as pa

        columns: dict[str, list[Any]] = {"code": [], "severity": [], "table": [], "field": [], "row": [], "id": []}
        for finding in self.findings:
            length = max(len(finding.rows), len(finding.ids), 1)
            for position in range(length):
                columns["code"].append(finding.code)
                columns["severity"].append(finding.severity)
                columns["table"].append(finding.table)
                columns["field"].append(finding.field)
                columns["row"].append(finding.rows[position] if position < len(finding.rows) else None)
                columns["id"].append(str(finding.ids[position]) if position < len(finding.ids) else None)
        return pa.table(columns)


class GridError(ValidationError):
    """A network cannot be used as given."""


class TimeSeriesError(ValidationError):
    """A time or a series does not fit its market day."""


class RegisterError(ValidationError):
    """A registration, an aggregate or a qualification is refused."""


class StateError(RegisterError):
    """A state machine has no such transition from the present state."""


class OfferError(ValidationError):
    """An offer or a need is refused."""


class FileError(ValidationError):
    """A file of readings or results cannot be used as it is."""


class SettlementError(ValidationError):
    """Orders, readings or terms cannot be settled."""


class UnknownIdError(ValidationError, KeyError):
    """An id does not exist in the table that it points to."""


class OptionError(ValidationError):
    """A method, engine or option of that name does not exist."""


class Findings:
    """Collects all problems of one input and raises once.

    Parameters
    ----------
    table : str
        Name of the table or argument that is checked.
    n_rows : int, optional
        Its number of rows, shown in messages as 'n of n_rows'.
    """

    def __init__(self, table: str, n_rows: int | None = None) -> None:
        self.table = table
        self.n_rows = n_rows
        self.items: list[Finding] = []

    def __bool__(self) -> bool:
        return any(finding.severity == "error" for finding in self.items)

    def add(
        self,
        code: str,
        message: str,
        *,
        field: str = "",
        rows: npt.ArrayLike | None = None,
        ids: Sequence[Any] | npt.NDArray[Any] | None = None,
        hint: str = "",
        severity: Literal["error", "warning"] = "error",
    ) -> None:
        """Add one finding; `rows` are the positions of the bad rows, `ids` their ids in the same order."""
        if code not in CODES:
            raise KeyError(f"{code} is not in flexcore.errors.CODES")
        bad = () if rows is None else tuple(int(row) for row in np.atleast_1d(np.asarray(rows)).ravel())
        names = () if ids is None else tuple(i.item() if isinstance(i, np.generic) else i for i in ids)
        count = max(len(bad), len(names))
        self.items.append(Finding(code, severity, message, self.table, field, bad, names, count, hint))

    def check_count(self, name: str, value: object, least: int) -> None:
        """Add FX-A006 unless `value` is a whole number from `least` to 2^31 - 1; True and False are no numbers."""
        if isinstance(value, bool) or not isinstance(value, int | np.integer) or not least <= value < 1 << 31:
            self.add("FX-A006", f"{name} is {value!r}, expected a whole number from {least}, below 2^31", field=name)

    def raise_errors(self, error: type[ValidationError] = ValidationError) -> None:
        """Raise `error` with everything collected, if at least one finding is an error."""
        if self:
            raise error(self.items)


def check_option(name: str, value: object, allowed: Sequence[str]) -> None:
    """Raise `OptionError` unless `value` is one of the `allowed` names."""
    if not isinstance(value, str) or value not in allowed:
        found = Findings(name)
        found.add("FX-E002", f"{name}={value!r} does not exist", hint=f"use one of {', '.join(allowed)}")
    if value not in allowed:
        found, hint = Findings(name), f"use one of {', '.join(allowed)}"
        if near := difflib.get_close_matches(str(value), allowed, n=1):
            hint = f"did you mean {near[0]}? Else {hint}"
        found.add("FX-E002", f"{name}={value!r} does not exist", hint=hint)
        found.raise_errors(OptionError)
