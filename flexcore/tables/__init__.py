"""Tables at the border: one registry of column specifications drives validation, documentation and test data."""

from flexcore.tables.check import check, to_arrow
from flexcore.tables.registry import TABLES
from flexcore.tables.spec import Column, TableSpec

__all__ = ["TABLES", "Column", "TableSpec", "check", "to_arrow"]
