"""flexcore: the computational core of TSO-DSO flexibility coordination.

It takes thousands to millions of Points of Delivery from registration to settlement: register and static traffic light,
power flow, needs, local and global sessions with mutual unavailability, dynamic traffic light, baselines, delivered
volumes and payment. Names are loaded when first used, so importing flexcore compiles nothing.
"""

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# public name -> module that defines it; numba and the kernels load no earlier than the first call that needs them
_EXPORTS: dict[str, str] = {
    "MarketDay": "flexcore.market_day",
    "Grid": "flexcore.grid.network",
    "power_flow": "flexcore.grid.power_flow",
    "ptdf": "flexcore.grid.transfer",
    "lodf": "flexcore.grid.transfer",
    "voltage_sensitivity": "flexcore.grid.sensitivities",
    "voltage_change": "flexcore.grid.sensitivities",
    "loss_sensitivity": "flexcore.grid.sensitivities",
    "headroom": "flexcore.grid.node_headroom",
    "find_needs": "flexcore.grid.needs",
    "switched_grids": "flexcore.grid.topologies",
    "worst_needs": "flexcore.grid.topology_needs",
    "capability": "flexcore.grid.capability",
    "capability_over": "flexcore.grid.topology_capability",
    "capability_from_headroom": "flexcore.grid.from_headroom",
    "operating_envelopes": "flexcore.grid.envelopes",
    "optimistic_capability": "flexcore.grid.optimistic",
    "shadow_prices": "flexcore.grid.shadow_prices",
    "split_perimeters": "flexcore.grid.perimeters",
    "Register": "flexcore.register.register",
    "clear": "flexcore.market.clearing",
    "clear_tree": "flexcore.market.laminar",
    "cleared_tables": "flexcore.market.cleared",
    "local_prices": "flexcore.market.pricing",
    "pay": "flexcore.market.pricing",
    "explain": "flexcore.market.explain",
    "continuous_book": "flexcore.market.continuous_book",
    "long_term_auction": "flexcore.market.long_term_auction",
    "ContractBook": "flexcore.market.long_term",
    "availability_due": "flexcore.market.long_term",
    "contract_offers": "flexcore.market.contract_use",
    "join_offers": "flexcore.market.contract_use",
    "join_lines": "flexcore.market.contract_use",
    "baseline": "flexcore.metering.baseline",
    "monitor_start": "flexcore.metering.monitoring",
    "monitor_step": "flexcore.metering.monitoring",
    "bsp_statement": "flexcore.settlement.statement",
    "pod_statement": "flexcore.settlement.statement",
    "baseline_files": "flexcore.metering.stream",
    "write_readings": "flexcore.metering.reading_files",
    "import_readings": "flexcore.metering.importing",
    "settle": "flexcore.settlement.remuneration",
    "settle_files": "flexcore.settlement.stream",
    "run_day": "flexcore.study.day",
    "compare_schemes": "flexcore.study.compare",
    "FlexcoreError": "flexcore.errors",
    "ValidationError": "flexcore.errors",
}
_MODULES: dict[str, str] = {
    "cities": "flexcore.study.cities",
    "metering": "flexcore.metering",
    "schemes": "flexcore.market.schemes",
}

__all__ = sorted([*_EXPORTS, *_MODULES, "__version__"])

if TYPE_CHECKING:
    from flexcore.errors import FlexcoreError as FlexcoreError
    from flexcore.errors import ValidationError as ValidationError
    from flexcore.grid.network import Grid as Grid
    from flexcore.market_day import MarketDay as MarketDay


def __getattr__(name: str) -> Any:
    if name in _EXPORTS:
        value = getattr(importlib.import_module(_EXPORTS[name]), name)
    elif name in _MODULES:
        value = importlib.import_module(_MODULES[name])
    else:
        raise AttributeError(f"module 'flexcore' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
