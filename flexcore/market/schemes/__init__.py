"""Coordination schemes as data: run them on one case, and compare cost, safety, service and information."""

from flexcore.market.schemes.case import CoordinationCase, Penalties, SchemeOffers, TradeBids, Transmission
from flexcore.market.schemes.classify import coordinet_group
from flexcore.market.schemes.outcome import SchemeOutcome, outcome_of
from flexcore.market.schemes.presets import presets, safety_level, scheme
from flexcore.market.schemes.run import SchemeRun, run_scheme
from flexcore.market.schemes.stage import Scheme, Stage, read_schemes

__all__ = [
    "CoordinationCase",
    "Penalties",
    "Scheme",
    "SchemeOffers",
    "SchemeOutcome",
    "SchemeRun",
    "Stage",
    "TradeBids",
    "Transmission",
    "coordinet_group",
    "outcome_of",
    "presets",
    "read_schemes",
    "run_scheme",
    "safety_level",
    "scheme",
]
