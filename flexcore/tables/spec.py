"""What a table is: columns with a type, a unit, bounds and a meaning."""

from dataclasses import dataclass
from typing import Literal

Kind = Literal["int64", "int32", "int8", "uint8", "float64", "str", "bool", "key"]


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table.

    Attributes
    ----------
    name : str
    kind : Kind
        Element type; "key" is the user's own key, whole numbers or text.
    meaning : str
        One line for the reference page.
    unit : str
        Empty where the column has none.
    lo, hi : float or None
        Inclusive bounds.
    required : bool
        A column that is not required is filled with `default`.
    default : object
    unique : bool
        True for the key of the table.
    choices : tuple of str
        Allowed values of a text column; empty allows all.
    """

    name: str
    kind: Kind
    meaning: str
    unit: str = ""
    lo: float | None = None
    hi: float | None = None
    required: bool = True
    default: object = None
    unique: bool = False
    choices: tuple[str, ...] = ()


def optional(
    name: str,
    kind: Kind,
    meaning: str,
    default: object,
    unit: str = "",
    *,
    lo: float | None = None,
    hi: float | None = None,
    choices: tuple[str, ...] = (),
) -> Column:
    """Return a column that is filled with `default` where a table lacks it."""
    return Column(name, kind, meaning, unit, lo, hi, required=False, default=default, choices=choices)


@dataclass(frozen=True, slots=True)
class TableSpec:
    """A table: its name, its columns in order, and what a row is."""

    name: str
    row: str
    columns: tuple[Column, ...]

    def column(self, name: str) -> Column:
        """Return the column of that name; KeyError if there is none."""
        return next(column for column in self.columns if column.name == name)
