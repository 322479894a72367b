"""Settlement: what each operator pays for what was delivered, to the micro-EUR, and how it is shared."""

from flexcore.settlement.amounts import share_exactly
from flexcore.settlement.availability import (
    AVAILABILITY_TERMS,
    AvailabilityLines,
    AvailabilityTerms,
    KeptAvailability,
    count_kept,
    measured_availability,
    settle_availability,
)
from flexcore.settlement.contract_pods import AvailabilityPods, contract_availability, share_availability
from flexcore.settlement.fees import GME_FEE, FeeLines, market_fees
from flexcore.settlement.penalties import CappedPenalties, PenaltyAccounts, cap_penalties
from flexcore.settlement.period import PeriodSettlement, settle_period
from flexcore.settlement.pod_evidence import DayChoice, PodEvidence
from flexcore.settlement.presets import TERMS
from flexcore.settlement.programme import (
    Imbalance,
    ProgrammeCorrection,
    imbalance,
    programme_correction,
    split_correction,
)
from flexcore.settlement.ratios import NO_ORDER, delivery_ratio
from flexcore.settlement.remuneration import settle
from flexcore.settlement.result import PodLines, SettlementLines, SettlementResult, SettlementTotals
from flexcore.settlement.runs import (
    ChangedPeriodLines,
    SettlementRun,
    changed_lines,
    changed_period_lines,
    correct,
    finalise,
    open_run,
)
from flexcore.settlement.statement import BspStatement, PodStatement, bsp_statement, pod_statement
from flexcore.settlement.statement_source import SettledDay
from flexcore.settlement.statements import Statements, statements
from flexcore.settlement.stream import SettlementFiles, settle_files
from flexcore.settlement.terms import SettlementTerms
from flexcore.settlement.trace import Trace, TraceStep, trace
from flexcore.settlement.trace_period import trace_period
from flexcore.settlement.uvam import (
    UVAM_PRODUCTS,
    ReliabilityTests,
    UvamProduct,
    availability_price,
    offered_within_strike,
    reliability_tests,
    reserve_premium,
)

__all__ = [
    "AVAILABILITY_TERMS",
    "GME_FEE",
    "NO_ORDER",
    "TERMS",
    "UVAM_PRODUCTS",
    "AvailabilityLines",
    "AvailabilityPods",
    "AvailabilityTerms",
    "BspStatement",
    "CappedPenalties",
    "ChangedPeriodLines",
    "DayChoice",
    "FeeLines",
    "Imbalance",
    "KeptAvailability",
    "PenaltyAccounts",
    "PeriodSettlement",
    "PodEvidence",
    "PodLines",
    "PodStatement",
    "ProgrammeCorrection",
    "ReliabilityTests",
    "SettledDay",
    "SettlementFiles",
    "SettlementLines",
    "SettlementResult",
    "SettlementRun",
    "SettlementTerms",
    "SettlementTotals",
    "Statements",
    "Trace",
    "TraceStep",
    "UvamProduct",
    "availability_price",
    "bsp_statement",
    "cap_penalties",
    "changed_lines",
    "changed_period_lines",
    "contract_availability",
    "correct",
    "count_kept",
    "delivery_ratio",
    "finalise",
    "imbalance",
    "market_fees",
    "measured_availability",
    "offered_within_strike",
    "open_run",
    "pod_statement",
    "programme_correction",
    "reliability_tests",
    "reserve_premium",
    "settle",
    "settle_availability",
    "settle_files",
    "settle_period",
    "share_availability",
    "share_exactly",
    "split_correction",
    "statements",
    "trace",
    "trace_period",
]
