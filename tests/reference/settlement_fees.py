"""Market fees with fractions, written from the rule text and never tuned."""

from fractions import Fraction


def fee(watts, quarters, eur_per_mw_quarter=Fraction(1, 100)):
    """0.01 EUR for each MW and quarter-hour, in whole micro-EUR."""
    return round(Fraction(watts, 1_000_000) * quarters * eur_per_mw_quarter * 1_000_000)


def sides(amount, payer):
    """What the BSP and the operator pay."""
    half = amount // 2
    return {"bsp": (amount, 0), "operator": (0, amount), "both": (amount, amount), "half": (amount - half, half)}[payer]
