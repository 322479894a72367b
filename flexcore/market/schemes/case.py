"""The data on which every coordination scheme runs: both networks, what each needs, and all offers, as arrays."""

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from flexcore.arrays import as_float, as_int
from flexcore.errors import Findings, OfferError, ValidationError
from flexcore.grid.headroom import ActivationRows
from flexcore.grid.network import Grid
from flexcore.market.schemes.layout import Layout
from flexcore.market.schemes.stage import PRODUCTS
from flexcore.units import DOWN, UP

Floats = npt.NDArray[np.float64]
Int32s = npt.NDArray[np.int32]
Int64s = npt.NDArray[np.int64]

ALL_PRODUCTS = (1 << len(PRODUCTS)) - 1
_MOST_UNITS = (1 << 31) - 2
#: Beyond it prices are an error of units, and drown the solver's tolerances.
MOST_EUR_PER_MWH = 1e6
_REAL = ("quantity_kw", "static_kw", "price")


@dataclass(frozen=True, slots=True, eq=False)
class Transmission:
    """The transmission side: a DC network, or one zone without limits (no lines).

    Attributes
    ----------
    ptdf : ndarray, shape (n_lines, n_nodes)
        Flow of each line for 1 kW injected at each node and taken out at the slack node. [kW/kW]
    flow_kw : ndarray, shape (n_lines, n_steps)
        Expected flow without any activation. [kW]
    limit_kw : ndarray, shape (n_lines,)
        Largest flow, either way. [kW]
    """

    ptdf: Floats
    flow_kw: Floats
    limit_kw: Floats

    @property
    def n_nodes(self) -> int:
        """Number of nodes."""
        return int(self.ptdf.shape[1])

    @classmethod
    def from_grid(cls, grid: Grid, p_kw: npt.ArrayLike) -> "Transmission":
        """Take a network, radial or meshed, by its DC power flow; branches without a rating have no row.

        Parameters
        ----------
        grid : Grid
            Nodes keep their order; one slack node.
        p_kw : array_like, shape (n_nodes, n_steps)
            Expected withdrawal. [kW]
        """
        from flexcore.grid.power_flow import power_flow
        from flexcore.grid.transfer import ptdf

        p = as_float(p_kw, "p_kw", shape=(grid.n_nodes, None))
        flow: Any = power_flow(grid, p, np.zeros_like(p), method="dc", outputs=("branch_p_kw",))
        rated = np.flatnonzero(np.isfinite(grid.s_max_kva))
        # what is injected is not withdrawn
        effect = -ptdf(grid).toarray()[rated]
        return cls(effect, np.ascontiguousarray(flow.branch_p_kw[rated]), grid.s_max_kva[rated])

    @classmethod
    def one_zone(cls, n_steps: int) -> "Transmission":
        """One node, no lines."""
        return cls(np.zeros((0, 1)), np.zeros((0, n_steps)), np.zeros(0))


@dataclass(frozen=True, slots=True, eq=False)
class SchemeOffers:
    """All offers, one row each; every scheme sees the same.

    Attributes
    ----------
    node : ndarray of int32, shape (n_offers,)
        Node position in the distribution grid, -1 for units connected to transmission.
    t_node : ndarray of int32, shape (n_offers,)
        Node of the transmission network; read only where `node` is -1.
    direction : ndarray of int8, shape (n_offers,)
        `UP` or `DOWN`.
    quantity_kw : ndarray, shape (n_offers, n_steps)
        As declared by the provider. [kW]
    static_kw : ndarray, shape (n_offers, n_steps)
        What the static traffic light leaves of it. [kW]
    price : ndarray, shape (n_offers,)
        What the buyer pays, negative where the provider pays. [EUR/MWh]
    unit : ndarray of int32, shape (n_offers,)
        Offers of one unit, such as up and down of one battery, carry one number.
    bsp : ndarray of int32, shape (n_offers,)
    products : ndarray of uint8, shape (n_offers,)
        Bits of `PRODUCTS` in which the offer is listed.
    submitted : ndarray of int64, shape (n_offers,)
        Order of submission: ties of price, and the order of arrival in a continuous market.
    """

    node: Int32s
    t_node: Int32s
    direction: npt.NDArray[np.int8]
    quantity_kw: Floats
    static_kw: Floats
    price: Floats
    unit: Int32s
    bsp: Int32s
    products: npt.NDArray[np.uint8]
    submitted: Int64s

    @property
    def n_offers(self) -> int:
        """Number of offers."""
        return int(self.node.size)

    @property
    def sign(self) -> Floats:
        """1 for up, -1 for down."""
        return np.where(self.direction == UP, 1.0, -1.0)


@dataclass(frozen=True, slots=True, eq=False)
class TradeBids:
    """Bids of market parties who buy flexibility for themselves (SmartNet E).

    Attributes
    ----------
    direction : ndarray of int8, shape (n_bids,)
    quantity_kw : ndarray, shape (n_bids, n_steps)
    price_cap : ndarray, shape (n_bids,)
        Willingness to pay. [EUR/MWh]
    """

    direction: npt.NDArray[np.int8]
    quantity_kw: Floats
    price_cap: Floats

    @property
    def sign(self) -> Floats:
        """1 for up, -1 for down."""
        return np.where(self.direction == UP, 1.0, -1.0)

    @classmethod
    def none(cls, n_steps: int) -> "TradeBids":
        """No bids."""
        return cls(np.zeros(0, np.int8), np.zeros((0, n_steps)), np.zeros(0))


@dataclass(frozen=True, slots=True)
class Penalties:
    """What unserved need counts in every cost, in EUR/MWh.

    Attributes
    ----------
    distribution : float
        Per MWh that an overloaded or undervolted element still asks for, as activation at the element itself.
    transmission : float
        Per MWh of flow above a line's limit.
    balance : float
        Per MWh of imbalance left, either way; also the price of leaving an agreed interface schedule.
    """

    distribution: float = 3000.0
    transmission: float = 3000.0
    balance: float = 1000.0


@dataclass(frozen=True, eq=False)
class CoordinationCase:
    """One problem of TSO-DSO coordination.

    Attributes
    ----------
    name : str
    grid : Grid
        All distribution systems as one forest: each slack node is the busbar of a primary substation.
    rows : ActivationRows
        What every branch and node can take, and needs, (n_nodes, n_steps), with whatever margin the DSO wants.
    perimeter : ndarray of int32, shape (n_nodes,)
        Perimeter of the dynamic traffic light, -1: nothing may move.
    t_node_of_root : ndarray of int32, shape (n_roots,)
        Node of the transmission network at which each root, in the order of `grid.node_ids`, is fed.
    transmission : Transmission
    balance_kw : ndarray, shape (n_steps,)
        Up minus down that the TSO wants for system balance. [kW]
    offers : SchemeOffers
    bids : TradeBids
    penalties : Penalties
    step_hours : float
        Length of a step. [h]
    """

    name: str
    grid: Grid
    rows: ActivationRows
    perimeter: Int32s
    t_node_of_root: Int32s
    transmission: Transmission
    balance_kw: Floats
    offers: SchemeOffers
    bids: TradeBids
    penalties: Penalties = field(default_factory=Penalties)
    step_hours: float = 0.25

    def __post_init__(self) -> None:
        """Check shapes, signs and positions; every problem is named at once."""
        check_case(self)

    @property
    def n_steps(self) -> int:
        """Number of steps."""
        return self.rows.n_steps

    @property
    def n_systems(self) -> int:
        """Number of distribution systems."""
        return int(self.t_node_of_root.size)

    @cached_property
    def layout(self) -> Layout:
        """Rows and offers in the order in which the clearing walks through them."""
        return Layout.of(self)


def check_case(case: CoordinationCase) -> None:
    """Raise OfferError or ValidationError with what does not fit together in a case."""
    n_steps, n_nodes = case.rows.n_steps, case.grid.n_nodes
    offers, bids, transmission = case.offers, case.bids, case.transmission
    _check_arrays(case)
    n = offers.n_offers
    rows = case.rows
    for name, values in (("lower_kw", rows.lower_kw), ("upper_kw", rows.upper_kw), ("w_lower", rows.w_lower),
                         ("w_upper", rows.w_upper)):  # fmt: skip
        as_float(values, f"rows.{name}", shape=(n_nodes, n_steps), finite=False)
    as_int(case.perimeter, "perimeter", shape=(n_nodes,), lo=-1, hi=n_nodes - 1)
    n_roots = int((np.asarray(case.grid.forest.parent) < 0).sum())
    n_lines = as_float(transmission.limit_kw, "transmission.limit_kw", shape=(None,), non_negative=True).size
    as_float(transmission.ptdf, "transmission.ptdf", shape=(n_lines, None))
    as_float(transmission.flow_kw, "transmission.flow_kw", shape=(n_lines, n_steps))
    as_int(case.t_node_of_root, "t_node_of_root", shape=(n_roots,), lo=0, hi=transmission.n_nodes - 1)
    as_float(case.balance_kw, "balance_kw", shape=(n_steps,))
    as_float(offers.quantity_kw, "offers.quantity_kw", shape=(n, n_steps), non_negative=True)
    as_float(offers.static_kw, "offers.static_kw", shape=(n, n_steps), non_negative=True)
    as_float(offers.price, "offers.price", shape=(n,))
    as_int(offers.node, "offers.node", shape=(n,), lo=-1, hi=n_nodes - 1)
    as_int(offers.t_node, "offers.t_node", shape=(n,))
    as_int(offers.direction, "offers.direction", shape=(n,), lo=UP, hi=DOWN)
    as_int(offers.unit, "offers.unit", shape=(n,), lo=0, hi=_MOST_UNITS)
    as_int(offers.bsp, "offers.bsp", shape=(n,))
    as_int(offers.products, "offers.products", shape=(n,), lo=0, hi=ALL_PRODUCTS)
    as_int(offers.submitted, "offers.submitted", shape=(n,))
    n_bids = bids.direction.size
    as_int(bids.direction, "bids.direction", shape=(n_bids,), lo=UP, hi=DOWN)
    as_float(bids.quantity_kw, "bids.quantity_kw", shape=(n_bids, n_steps), non_negative=True)
    as_float(bids.price_cap, "bids.price_cap", shape=(n_bids,))
    _check_numbers(case)
    found = Findings("offers", n)
    wrong = (offers.node < 0) & ((offers.t_node < 0) | (offers.t_node >= transmission.n_nodes))
    if wrong.any():
        found.add(
            "FX-M303", "offers of transmission name no node of it", field="t_node", rows=np.flatnonzero(wrong),
            ids=offers.t_node[wrong], hint=f"nodes are 0..{transmission.n_nodes - 1}",
        )  # fmt: skip
    more = (offers.static_kw > offers.quantity_kw * (1 + 1e-12)).any(axis=1)
    if more.any():
        found.add("FX-M304", "the static traffic light leaves more than was declared", rows=np.flatnonzero(more))
    found.raise_errors(OfferError)


def _check_arrays(case: CoordinationCase) -> None:
    """Refuse lists, and positions that are no whole numbers: kernels and indices take arrays as they are."""
    found = Findings("offers")
    for name in SchemeOffers.__slots__:
        values, kinds = getattr(case.offers, name), "fiu" if name in _REAL else "iu"
        if not isinstance(values, np.ndarray) or values.dtype.kind not in kinds:
            found.add("FX-A002", f"offers.{name} is no array of {'numbers' if name in _REAL else 'integers'}")
    if not case.rows.n_steps:
        found.add("FX-A001", "the case has no steps")
    found.raise_errors(ValidationError)


def _check_numbers(case: CoordinationCase) -> None:
    """Refuse what no price, length or bound can be."""
    rows, found = case.rows, Findings("case")
    for name in ("distribution", "transmission", "balance"):
        value = getattr(case.penalties, name)
        if not 0.0 <= value <= MOST_EUR_PER_MWH:
            hint = f"a price of 0 to {MOST_EUR_PER_MWH:,.0f} EUR/MWh"
            found.add("FX-M307", f"penalties.{name} is {value}", hint=hint)
    dear = np.abs(case.offers.price) > MOST_EUR_PER_MWH
    if dear.any():
        found.add(
            "FX-M307", f"prices lie beyond {MOST_EUR_PER_MWH:,.0f} EUR/MWh", field="price", rows=np.flatnonzero(dear)
        )
    if not 0.0 < case.step_hours < np.inf:
        found.add("FX-M307", f"step_hours is {case.step_hours}", hint="hours, above 0")
    for name in ("lower_kw", "upper_kw", "w_lower", "w_upper"):
        nan = np.isnan(getattr(rows, name)).any(axis=1)
        if nan.any():
            found.add("FX-M307", f"rows.{name} is NaN", rows=np.flatnonzero(nan), hint="infinite where there is no row")
    dear = case.bids.price_cap > case.penalties.balance
    if dear.any():
        found.add(
            "FX-M307", "bids pay more than imbalance costs, and would be served without any power behind them",
            rows=np.flatnonzero(dear), hint="raise penalties.balance",
        )  # fmt: skip
    found.raise_errors(ValidationError)
