"""Steps of a trace: one number each, as the settlement has it and as it came out again."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class TraceStep:
    """One number of the chain.

    Attributes
    ----------
    part : str
        Whether it belongs to the POD's quarter-hours, its share, the line, or the statement.
    rule : str
        Key of the rule that makes it, see rules.md.
    name : str
        What it is.
    how : str
        How it follows from numbers above it, with those numbers.
    value : int or None
        As the settlement has it; None where it is missing.
    again : int or None
        Computed again; None where it is taken as given.
    unit : str
    given : bool
        True for inputs, and for numbers of methods that the trace cannot compute again.
    """

    part: str
    rule: str
    name: str
    how: str
    value: int | None
    again: int | None
    unit: str
    given: bool = False

    @property
    def agrees(self) -> bool:
        """True if it is given, or came out the same again."""
        return self.given or self.value == self.again


@dataclass(frozen=True, slots=True)
class Trace:
    """The chains of all lines that a POD has a share in, in order of time.

    Attributes
    ----------
    pod : str
    steps : tuple of TraceStep
    """

    pod: str
    steps: tuple[TraceStep, ...]

    @property
    def agrees(self) -> bool:
        """True if every number came out the same again."""
        return all(step.agrees for step in self.steps)

    @property
    def not_computed(self) -> tuple[TraceStep, ...]:
        """Numbers that are no readings, and that the trace takes as given."""
        return tuple(step for step in self.steps if step.given and step.rule != "MET-01")

    def to_arrow(self) -> Any:
        """Return a pyarrow Table with one row for each number."""
        import pyarrow as pa

        names = ("part", "rule", "name", "how", "value", "again", "unit", "given")
        kinds = (pa.string(),) * 4 + (pa.int64(),) * 2 + (pa.string(), pa.bool_())
        columns = {
            name: pa.array([getattr(step, name) for step in self.steps], kind)
            for name, kind in zip(names, kinds, strict=True)
        }
        return pa.table({**columns, "agrees": pa.array([step.agrees for step in self.steps], pa.bool_())})
