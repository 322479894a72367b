"""Settlement terms: every number of a contract or market rule that decides what is paid, with the presets in use."""

from dataclasses import dataclass
from typing import Literal

from flexcore.errors import Findings, OptionError, SettlementError

#: One, in parts per million.
ONE_PPM = 1_000_000
#: Largest size of a price: prices and energies of this size are still summed exactly. [micro-EUR/MWh]
MAX_PRICE = 2**40

Breakpoints = tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class SettlementTerms:
    """What is paid for delivery, what is charged for non-delivery; whole numbers only.

    Attributes
    ----------
    price_ueur_per_mwh : int or None
        Price of delivered energy where `settle` is given no prices of orders; negative: the provider pays.
    penalty_ueur_per_mwh : int
        Charge per MWh of shortfall.
    availability_ueur_per_mw_h : int
        Payment per MW available in an hour.
    cap_ppm : int
        Delivered energy is paid up to this part of the order. [parts per million]
    tolerance_ppm : int
        A shortfall counts below (1 - tolerance) of the order. [parts per million]
    factor_ppm : tuple of (int, int)
        Pay factor over the ratio of paid to ordered energy: breakpoints (ratio, factor), linear between, constant
        outside. Two breakpoints with one ratio are a jump; the later one holds at the ratio itself. [parts per million]
    netting : {"aggregate", "pod"}
        PODs that moved the wrong way count against their aggregate, or each counts as zero.
    source : str
        Where the terms come from.
    unverified : tuple of str
        Fields whose numbers were not found in a public document.
    """

    price_ueur_per_mwh: int | None = None
    penalty_ueur_per_mwh: int = 0
    availability_ueur_per_mw_h: int = 0
    cap_ppm: int = ONE_PPM
    tolerance_ppm: int = 0
    factor_ppm: Breakpoints = ((0, ONE_PPM),)
    netting: Literal["aggregate", "pod"] = "aggregate"
    source: str = ""
    unverified: tuple[str, ...] = ()

    def check(self) -> None:
        """Raise SettlementError FX-S003 with every contradiction, or OptionError FX-E002 for an unknown netting."""
        found = Findings("settlement terms")
        if self.netting not in ("aggregate", "pod"):
            found.add("FX-E002", f"netting={self.netting!r} does not exist", hint="use 'aggregate' or 'pod'")
        found.raise_errors(OptionError)
        numbers = [self.price_ueur_per_mwh or 0, self.penalty_ueur_per_mwh, self.availability_ueur_per_mw_h]
        numbers += [self.cap_ppm, self.tolerance_ppm, *(part for point in self.factor_ppm for part in point)]
        if not all(isinstance(number, int) for number in numbers):
            found.add("FX-S003", "every number of the terms must be an int", hint="units.eur_per_mwh converts prices")
            found.raise_errors(SettlementError)
        ratios = [ratio for ratio, _ in self.factor_ppm]
        checks = (
            (abs(self.price_ueur_per_mwh or 0) <= MAX_PRICE, f"the price is larger than {MAX_PRICE}"),
            (0 <= self.penalty_ueur_per_mwh <= MAX_PRICE, f"the penalty must lie in 0..{MAX_PRICE}"),
            (0 <= self.availability_ueur_per_mw_h <= MAX_PRICE, f"the availability price must lie in 0..{MAX_PRICE}"),
            (0 <= self.cap_ppm <= 2 * ONE_PPM, f"cap_ppm must lie in 0..{2 * ONE_PPM}"),
            (0 <= self.tolerance_ppm <= ONE_PPM, f"tolerance_ppm must lie in 0..{ONE_PPM}"),
            (len(ratios) > 0 and ratios == sorted(ratios), "factor_ppm needs breakpoints in ascending order of ratio"),
            (
                all(0 <= factor <= ONE_PPM and 0 <= ratio <= 2 * ONE_PPM for ratio, factor in self.factor_ppm),
                f"pay factors lie in 0..{ONE_PPM}, their ratios in 0..{2 * ONE_PPM}",
            ),
        )
        for holds, message in checks:
            if not holds:
                found.add("FX-S003", message)
        found.raise_errors(SettlementError)


#: Name to terms. Prices belong to a tender or a session, so presets leave them open.
TERMS: dict[str, SettlementTerms] = {
    "linear": SettlementTerms(source="flexcore: what is delivered is paid, up to the order"),
    "dead_band_5": SettlementTerms(
        factor_ppm=((0, 0), (950_000, 950_000), (950_000, ONE_PPM)),
        tolerance_ppm=50_000,
        source="flexcore: full pay from 95 % of the order, in proportion to the ratio below",
    ),
    "uk_dso_taper": SettlementTerms(
        factor_ppm=((0, 0), (630_000, 0), (630_000, 40_000), (950_000, ONE_PPM)),
        source="UK DSO services: 3 % less pay for each per cent below 95 %, none below 63 %",
        unverified=("factor_ppm",),
    ),
    "ssen_transition": SettlementTerms(
        factor_ppm=((0, 0), (500_000, 0), (ONE_PPM, ONE_PPM)),
        source="SSEN Transition, payment page: sliding between 50 and 100 % of the instructed energy, capped there",
        unverified=("factor_ppm",),
    ),
    "neso_dfs": SettlementTerms(
        cap_ppm=1_200_000,
        factor_ppm=((0, 0), (250_000, 0), (500_000, ONE_PPM)),
        source="NESO Demand Flexibility Service proposal (Utility Week): none below 25 %, reduced to 50 %, cap 120 %",
        unverified=("factor_ppm",),
    ),
    "romeflex": SettlementTerms(
        source="BeFlexible D4.1 5.1: the service actually rendered, and availability where foreseen",
        unverified=("cap_ppm", "tolerance_ppm", "penalty_ueur_per_mwh"),
    ),
    "edge": SettlementTerms(
        source="e-distribuzione EDGE: fixed price per MW and hour available, variable price per verified MWh",
        unverified=("cap_ppm", "tolerance_ppm", "penalty_ueur_per_mwh"),
    ),
}
