"""What the register holds: its tables, the keys that lead to them, and exact sums over them."""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from flexcore.arrays import as_int, as_keys, output
from flexcore.chunks import run_chunks
from flexcore.errors import Findings, RegisterError, UnknownIdError
from flexcore.register.aggregates import (
    Aggregates,
    Configurations,
    Members,
    classify,
    configurations,
    members,
    no_aggregates,
)
from flexcore.register.ids import Keys, group_rows, look_up, positions
from flexcore.register.pods import (
    NEVER,
    POD_PATTERN,
    Int32s,
    Int64s,
    Parties,
    Pods,
    Units,
    no_parties,
    no_pods,
    no_units,
    normalise_pod_codes,
)
from flexcore.register.products import Products, Qualifications, no_products, no_qualifications
from flexcore.register.states import (
    AGGREGATE_GRID,
    AGGREGATE_PRODUCT,
    apply_events,
    approval_times,
)

if TYPE_CHECKING:
    from flexcore.grid.network import Grid


Rows = npt.ArrayLike | None
_SUM_CHUNK = 1024


class Holdings:
    """Tables of the register, with look-ups by key and sums over members.

    Attributes
    ----------
    parties, pods, units, aggregates, products, qualifications
        The tables, in the order of registration.
    pod_node : ndarray of int32, shape (n_pods,)
        Node position of each POD in the grid; -1 while there is no grid.
    """

    def __init__(self, grid: "Grid | None" = None, *, pod_pattern: str = POD_PATTERN, tz: str = "Europe/Rome") -> None:
        self.grid = grid
        self.pod_pattern = pod_pattern
        self.tz = tz
        self.parties: Parties = no_parties()
        self.pods: Pods = no_pods()
        self.units: Units = no_units()
        self.aggregates: Aggregates = no_aggregates()
        self.products: Products = no_products()
        self.qualifications: Qualifications = no_qualifications()
        self.pod_node: Int32s = np.zeros(0, np.int32)
        self._unit_rank: Int32s = np.zeros(0, np.int32)
        self._pods_by_node: tuple[Int64s, Int32s] | None = None

    def pod_rows(self, pod_codes: npt.ArrayLike) -> Int32s:
        """Return the positions of PODs; UnknownIdError FX-R005."""
        codes = normalise_pod_codes(as_keys(pod_codes, "pod_code"))
        return self._known(self.pods.pod_code, codes, "pods", "pod_code", "POD")

    def unit_rows(self, unit_ids: npt.ArrayLike) -> Int32s:
        """Return the positions of units; UnknownIdError FX-R005."""
        return self._known(self.units.unit_id, unit_ids, "units", "unit_id", "unit")

    def aggregate_rows(self, agg_ids: npt.ArrayLike) -> Int32s:
        """Return the positions of aggregates; UnknownIdError FX-R005."""
        return self._known(self.aggregates.agg_id, agg_ids, "aggregates", "agg_id", "aggregate")

    def qualification_rows(self, agg_ids: npt.ArrayLike, product_ids: npt.ArrayLike) -> Int32s:
        """Return the positions of the qualifications of (aggregate, product) pairs; UnknownIdError FX-R005."""
        aggregate = self.aggregate_rows(agg_ids)
        product = self._known(self.products.product_id, product_ids, "products", "product_id", "product")
        n_products = max(self.products.operator.size, 1)
        quals = self.qualifications
        held = quals.aggregate.astype(np.int64) * n_products + quals.product
        where = positions(held, aggregate.astype(np.int64) * n_products + product)
        bad = np.flatnonzero(where < 0)
        if bad.size:
            found = Findings("qualifications", quals.state.size)
            message = f"{bad.size} pairs of aggregate and product were never requested"
            found.add("FX-R005", message, rows=bad, ids=as_keys(agg_ids, "agg_id")[bad], hint="request_products first")
            found.raise_errors(UnknownIdError)
        return where

    def node_sums_w(self, values_w: npt.ArrayLike, *, out: Int64s | None = None, n_threads: int = 1) -> Int64s:
        """Sum a series over the PODs of each node, exactly.

        Parameters
        ----------
        values_w : array_like of int32 or int64, shape (n_pods, n_steps)
            [W]

        Returns
        -------
        ndarray of int64, shape (n_nodes, n_steps)
            The order of the PODs cannot change a bit. [W]
        """
        grid = self._grid()
        if self._pods_by_node is None:
            self._pods_by_node = group_rows(self.pod_node, grid.n_nodes)
        return self._sums(*self._pods_by_node, values_w, out, n_threads)

    def aggregate_sums_w(self, values_w: npt.ArrayLike, *, out: Int64s | None = None, n_threads: int = 1) -> Int64s:
        """Sum a POD series over the PODs of each aggregate, exactly; (n_pods, n_steps) to (n_aggregates, n_steps).

        A POD counts once, also where several of its units are members: the meter sees the POD.
        """
        n_pods = max(self.pods.pod_code.size, 1)
        m = self.members
        owner = np.repeat(np.arange(m.indptr.size - 1), np.diff(m.indptr))
        pair = np.unique(owner.astype(np.int64) * n_pods + self.units.pod[m.unit])
        indptr = np.searchsorted(pair, np.arange(m.indptr.size, dtype=np.int64) * n_pods).astype(np.int64)
        return self._sums(indptr, (pair % n_pods).astype(np.int32), values_w, out, n_threads)

    def enrolled_w(self) -> tuple[Int64s, Int64s]:
        """Sum of enrolled power per aggregate in W, up and down."""
        m = self.members
        totals = []
        for power in (m.up_w, m.down_w):
            total = np.concatenate([np.zeros(1, np.int64), np.cumsum(power)])
            totals.append(total[m.indptr[1:]] - total[m.indptr[:-1]])
        return totals[0], totals[1]

    @property
    def members(self) -> Members:
        """Members of every aggregate as CSR, ascending by unit id."""
        return members(self.units, self.aggregates.agg_id.size, self._unit_rank)

    def configurations(self) -> Configurations:
        """Classify all pairs of a local and a global aggregate (AGG-04, D4.1 Table 8)."""
        return configurations(self.units, self.aggregates.agg_id.size)

    def classify(self, agg_a: str | int, agg_b: str | int) -> int:
        """Return the configuration of two aggregates, given by id."""
        a, b = (int(row) for row in self.aggregate_rows(np.array([agg_a, agg_b])))
        m = self.members
        return classify(m.unit[m.indptr[a] : m.indptr[a + 1]], m.unit[m.indptr[b] : m.indptr[b + 1]])

    def _sums(
        self, indptr: Int64s, rows: Int32s, values_w: npt.ArrayLike, out: Int64s | None, n_threads: int
    ) -> Int64s:
        from flexcore.kernels.register.sums import sum_rows_32, sum_rows_64

        raw = np.asarray(values_w)
        narrow = raw.dtype == np.int32
        values = as_int(raw, "values_w", dtype=np.int32 if narrow else np.int64, shape=(self.pods.pod_code.size, None))
        sums = output(out, "out", shape=(indptr.size - 1, values.shape[1]), dtype=np.int64, inputs=(values,))
        add = sum_rows_32 if narrow else sum_rows_64

        def task(lo: int, hi: int) -> None:
            add(indptr, rows, values, sums, lo, hi)

        run_chunks(task, indptr.size - 1, n_threads=n_threads, chunk=_SUM_CHUNK)
        return sums

    @staticmethod
    def _known(keys: Keys, wanted: npt.ArrayLike, table: str, field: str, what: str) -> Int32s:
        found = Findings(table, keys.size)
        rows = look_up(keys, as_keys(wanted, field), found, field, what)
        found.raise_errors(UnknownIdError)
        return rows

    @staticmethod
    def _last(size: int, n: int) -> Int32s:
        return np.arange(size - n, size, dtype=np.int32)

    @staticmethod
    def _rows(rows: Rows, n: int) -> npt.NDArray[Any]:
        return np.arange(n) if rows is None else as_int(np.atleast_1d(rows), "rows", shape=(None,), lo=0, hi=n - 1)

    @staticmethod
    def _time(at: int) -> int:
        return int(as_int(at, "at", shape=(), lo=0))

    def _grid(self) -> "Grid":
        if self.grid is None:
            found = Findings("register")
            found.add("FX-R024", "the register has no grid", hint="Register(grid) or register.connect(grid)")
            found.raise_errors(RegisterError)
        assert self.grid is not None
        return self.grid

    def _qualification_names(self) -> npt.NDArray[np.object_]:
        quals = self.qualifications
        names = np.empty(quals.state.size, object)
        pairs = zip(self.aggregates.agg_id[quals.aggregate], self.products.product_id[quals.product], strict=True)
        names[:] = [f"{aggregate} for {product}" for aggregate, product in pairs]
        return names

    def _expiry(self, approved: Int64s, expires: Int64s, changed: npt.NDArray[np.bool_]) -> Int64s:
        """End of validity of the qualifications that changed: validity_days after the approval, -1 without one."""
        days = self.products.validity_days[self.qualifications.product].astype(np.int64)
        return np.where(changed, np.where(approved >= 0, approved + days * 86400, NEVER), expires)

    def _move_qualifications(self, which: npt.NDArray[np.bool_], event: str) -> None:
        """Reopen qualifications together with what was derived from them."""
        quals = self.qualifications
        source = np.where(quals.derived_from >= 0, quals.derived_from, 0)
        cascade = (quals.derived_from >= 0) & which[source] if source.size else which
        both = which | (cascade & AGGREGATE_PRODUCT.takes(quals.state, event))
        moved = apply_events(
            AGGREGATE_PRODUCT, quals.state, np.where(both, AGGREGATE_PRODUCT.event(event), 255).astype(np.uint8)
        )
        approved = approval_times(AGGREGATE_PRODUCT, quals.approved_at, moved, 0)
        self.qualifications = replace(
            quals,
            state=moved.state,
            approved_at=approved,
            expires_at=self._expiry(approved, quals.expires_at, moved.applied),
            derived_from=np.where(both, -1, quals.derived_from).astype(np.int32),
        )

    def _most_w(self, aggregate: Int32s, product: Int32s) -> tuple[Int64s, Int64s]:
        """Power that an aggregate can at most have qualified for a product, up and down.

        All that is enrolled in the directions of the product, rounded down to its granularity; less than its minimum is
        not offered at all, while the other direction may still be.
        """
        goods = self.products
        step, least = goods.granularity_w[product], goods.min_w[product]
        most = []
        for enrolled, covered in zip(self.enrolled_w(), (goods.up, goods.down), strict=True):
            power = np.where(covered[product], enrolled[aggregate] // step * step, 0)
            most.append(np.where(power < least, 0, power))
        return most[0], most[1]

    def _reopen(self, aggregates: npt.NDArray[np.integer[Any]]) -> None:
        """Take a relevant change of aggregates to their grid check and their qualifications.

        What is to be qualified is no more than what is enrolled now; to ask for more takes a new request.
        """
        if not aggregates.size:
            return
        concerned = np.zeros(self.aggregates.agg_id.size, bool)
        concerned[aggregates] = True
        takes = concerned & AGGREGATE_GRID.takes(self.aggregates.grid_state, "change")
        event = np.where(takes, AGGREGATE_GRID.event("change"), 255).astype(np.uint8)
        moved = apply_events(AGGREGATE_GRID, self.aggregates.grid_state, event, ids=self.aggregates.agg_id)
        self.aggregates = replace(self.aggregates, grid_state=moved.state)
        quals = self.qualifications
        here = concerned[quals.aggregate]
        up, down = self._most_w(quals.aggregate, quals.product)
        self.qualifications = replace(
            quals,
            up_w=np.where(here, np.minimum(quals.up_w, up), quals.up_w),
            down_w=np.where(here, np.minimum(quals.down_w, down), quals.down_w),
        )
        self._move_qualifications(here & AGGREGATE_PRODUCT.takes(quals.state, "change"), "change")

    def _check_bsp(self, party: Int32s, ids: Keys, found: Findings) -> None:
        if not self.parties.kind.size:
            return
        bad = np.flatnonzero((party >= 0) & (self.parties.kind[party] != "BSP"))
        if bad.size:
            found.add("FX-R006", f"{bad.size} rows name a party that is not a BSP", field="bsp", rows=bad, ids=ids[bad])
