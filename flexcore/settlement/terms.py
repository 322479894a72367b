"""Settlement terms: every number of a contract or market rule that decides what is paid, with the presets in use."""

from dataclasses import dataclass
from typing import Literal

from flexcore.errors import Findings, SettlementError, check_option

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
    factor_scope : {"line", "event", "period"}
        Energies that the ratio is taken over: those of the line; of the event, which is neighbouring market time units
        in which the (operator, aggregate, direction) has an order; or of everything in the call.
    measured_per : {"quarter_hour", "half_hour", "unit"}
        Cap and shortfall look at each quarter-hour or half-hour of a market time unit, so that more than was ordered in
        one makes up for nothing in the next; or at the energy of the unit as a whole.
    penalty_cap_ppm : int or None
        Penalties of a period are charged up to this part of its availability pay; None: no cap. A day is settled with
        its penalties in full, for the cap is known with the period: `settle_period` applies it, and statements of
        days without it are refused. [parts per million]
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
    factor_scope: Literal["line", "event", "period"] = "line"
    measured_per: Literal["quarter_hour", "half_hour", "unit"] = "quarter_hour"
    penalty_cap_ppm: int | None = None
    netting: Literal["aggregate", "pod"] = "aggregate"
    source: str = ""
    unverified: tuple[str, ...] = ()

    def check(self) -> None:
        """Raise SettlementError FX-S003 with every contradiction, or OptionError FX-E002 for an unknown option."""
        check_option("netting", self.netting, ("aggregate", "pod"))
        check_option("factor_scope", self.factor_scope, ("line", "event", "period"))
        check_option("measured_per", self.measured_per, ("quarter_hour", "half_hour", "unit"))
        found = Findings("settlement terms")
        numbers = [self.price_ueur_per_mwh or 0, self.penalty_ueur_per_mwh, self.availability_ueur_per_mw_h]
        numbers += [self.cap_ppm, self.tolerance_ppm, self.penalty_cap_ppm or 0]
        if not isinstance(self.factor_ppm, tuple) or not all(
            isinstance(point, tuple) and len(point) == 2 for point in self.factor_ppm
        ):
            found.add("FX-S003", "factor_ppm must be a tuple of pairs (ratio, factor)", field="factor_ppm")
            found.raise_errors(SettlementError)
        numbers += [part for point in self.factor_ppm for part in point]
        if not all(isinstance(number, int) for number in numbers):
            found.add("FX-S003", "every number of the terms must be an int", hint="units.eur_per_mwh converts prices")
            found.raise_errors(SettlementError)
        ratios = [ratio for ratio, _ in self.factor_ppm]
        checks = (
            (abs(self.price_ueur_per_mwh or 0) <= MAX_PRICE, f"the price is larger than {MAX_PRICE}"),
            (0 <= self.penalty_ueur_per_mwh <= MAX_PRICE, f"the penalty must lie in 0..{MAX_PRICE}"),
            (0 <= self.availability_ueur_per_mw_h <= MAX_PRICE, f"the availability price must lie in 0..{MAX_PRICE}"),
            (0 <= self.cap_ppm <= 2 * ONE_PPM, f"cap_ppm must lie in 0..{2 * ONE_PPM}"),
            (0 <= (self.penalty_cap_ppm or 0) <= 1000 * ONE_PPM, f"penalty_cap_ppm must lie in 0..{1000 * ONE_PPM}"),
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
