"""Settlement: what each operator pays for what was delivered, to the micro-EUR, and how it is shared."""

from flexcore.settlement.presets import TERMS
from flexcore.settlement.remuneration import settle
from flexcore.settlement.result import PodLines, SettlementLines, SettlementResult, SettlementTotals
from flexcore.settlement.runs import SettlementRun, changed_lines, correct, finalise, open_run
from flexcore.settlement.statements import Statements, statements
from flexcore.settlement.terms import SettlementTerms

__all__ = [
    "TERMS",
    "PodLines",
    "SettlementLines",
    "SettlementResult",
    "SettlementRun",
    "SettlementTerms",
    "SettlementTotals",
    "Statements",
    "changed_lines",
    "correct",
    "finalise",
    "open_run",
    "settle",
    "statements",
]
