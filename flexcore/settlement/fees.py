"""Fees of the market operator on contracted capacity and on traded energy."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from flexcore.arrays import as_int, int_per_row
from flexcore.errors import check_option
from flexcore.settlement.amounts import LARGEST_UEUR, refuse, refuse_above, scaled
from flexcore.settlement.result import Columns, Int8s, Int64s
from flexcore.units import GLOBAL, LOCAL, MAX_WQH

#: GME's fee on its local flexibility market: 0.04 EUR/MW for each hour, that is 0.01 EUR/MW for each quarter-hour, on
#: forward capacity and, separately, on spot energy. [micro-EUR per MW and quarter-hour]
GME_FEE = 10_000
_W_PER_MW = 1_000_000
#: Markets of a fee.
FORWARD, SPOT = 0, 1


@dataclass(frozen=True, slots=True)
class FeeLines(Columns):
    """Fees, one row for each quantity, in the order given.

    Attributes
    ----------
    market : ndarray of int8
        `fees.FORWARD` (capacity) or `fees.SPOT` (energy).
    operator : ndarray of int8
    bsp : ndarray of int64
    quantity_wqh : ndarray of int64
        Power times quarter-hours. [W quarter-hours]
    fee_ueur : ndarray of int64
        half_even(quantity x fee), for one side. [micro-EUR]
    bsp_ueur, operator_ueur : ndarray of int64
        What the seller and the buyer pay to the market operator. [micro-EUR]
    """

    market: Int8s
    operator: Int8s
    bsp: Int64s
    quantity_wqh: Int64s
    fee_ueur: Int64s
    bsp_ueur: Int64s
    operator_ueur: Int64s


def market_fees(
    quantity_wqh: npt.ArrayLike,
    *,
    market: npt.ArrayLike,
    bsp: npt.ArrayLike,
    operator: npt.ArrayLike = LOCAL,
    payer: Literal["bsp", "operator", "both", "half"] = "bsp",
    fee_ueur_per_mw_quarter: int = GME_FEE,
) -> FeeLines:
    """Price quantities at the fee of the market operator, each rounded once.

    Parameters
    ----------
    quantity_wqh : array_like of int, shape (n_rows,)
        Power times quarter-hours: contracted W times the quarter-hours of `availability_due`, or the sum of the awards
        of an offer. [W quarter-hours]
    market : array_like of int, shape (n_rows,) or one number
        `fees.FORWARD` or `fees.SPOT`.
    bsp, operator : array_like of int, shape (n_rows,) or one number
    payer : {"bsp", "operator", "both", "half"}
        Who pays: one side, each side the whole fee, or each side half of it, the odd micro-EUR by the BSP. GME's table
        does not say who pays, so this is a parameter.
    fee_ueur_per_mw_quarter : int
        `GME_FEE` if not given. [micro-EUR per MW and quarter-hour]

    Returns
    -------
    FeeLines

    Raises
    ------
    ValidationError
        FX-A001..FX-A006 arrays of wrong shape, type, sign or range; FX-E002 unknown payer.
    SettlementError
        FX-S001 fees too large for 64-bit money, FX-S003 a fee that is no whole number from 0.
    """
    check_option("payer", payer, ("bsp", "operator", "both", "half"))
    quantity = as_int(quantity_wqh, "quantity_wqh", shape=(None,), lo=0, hi=MAX_WQH)

    if not isinstance(fee_ueur_per_mw_quarter, int) or not 0 <= fee_ueur_per_mw_quarter <= LARGEST_UEUR:
        refuse("FX-S003", "a fee must be a whole number from 0")
    fee = scaled(quantity, fee_ueur_per_mw_quarter, _W_PER_MW)
    refuse_above(LARGEST_UEUR, "the fees are too large for 64-bit money", fee)
    none = np.zeros(len(fee), np.int64)
    seller, buyer = {
        "bsp": (fee, none),
        "operator": (none, fee),
        "both": (fee, fee.copy()),
        "half": (fee - fee // 2, fee // 2),
    }[payer]
    n_rows = len(fee)
    return FeeLines(
        int_per_row(market, "market", n_rows, dtype=np.int8, lo=FORWARD, hi=SPOT).copy(),
        int_per_row(operator, "operator", n_rows, dtype=np.int8, lo=LOCAL, hi=GLOBAL).copy(),
        int_per_row(bsp, "bsp", n_rows, lo=0).copy(),
        quantity.copy(),
        fee,
        seller,
        buyer,
    )
