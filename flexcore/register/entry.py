"""Registration through one entry: parties, PODs, units and products (REG-01)."""

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from flexcore.errors import Findings, RegisterError, UnknownIdError
from flexcore.register.ids import check_new, look_up, shown
from flexcore.register.pods import (
    Int32s,
    check_pod_codes,
    new_units,
    normalise_pod_codes,
)
from flexcore.register.states import (
    UNIT,
    apply_events,
)
from flexcore.tables import check

if TYPE_CHECKING:
    from flexcore.grid.network import Grid

from flexcore.register.holdings import Holdings


class Entry(Holdings):
    """Registers what is new; every method checks its whole input first."""

    def register_parties(self, data: Any) -> Int32s:
        """Register parties (table `parties`); return their positions.

        Raises
        ------
        RegisterError
            FX-A007..A011, FX-R004 already registered, FX-R008 numbers meet text.
        """
        table = check("parties", data, error=RegisterError)
        found = Findings("parties", table["party_id"].size)
        check_new(self.parties.party_id, table["party_id"], found, "party_id")
        found.raise_errors(RegisterError)
        self.parties = self.parties.adding(**table)
        return self._last(self.parties.party_id.size, table["party_id"].size)

    def register_pods(self, data: Any) -> Int32s:
        """Register PODs (table `pods`); return their positions.

        Raises
        ------
        RegisterError
            FX-R001 a code does not match the pattern, FX-R002 given twice (all rows concerned are named), FX-R004
            already registered, FX-R003 the grid has no such node.
        """
        table = check("pods", data, error=RegisterError)
        table["pod_code"] = normalise_pod_codes(table["pod_code"])
        n = table["pod_code"].size
        found = Findings("pods", n)
        check_pod_codes(table["pod_code"], self.pod_pattern, found)
        check_new(self.pods.pod_code, table["pod_code"], found, "pod_code")
        if self.pods.node_id.size and self.pods.node_id.dtype.kind != table["node_id"].dtype.kind and n:
            found.add("FX-R008", "node_id mixes numbers and text with earlier rows", field="node_id")
        node = np.full(n, -1, np.int32) if self.grid is None else self._nodes(self.grid, table, found)
        found.raise_errors(RegisterError)
        self.pods = self.pods.adding(**table)
        self.pod_node = np.concatenate([self.pod_node, node])
        self._pods_by_node = None
        return self._last(self.pods.pod_code.size, n)

    def connect(self, grid: "Grid") -> None:
        """Set the grid; every registered POD must lie at one of its nodes (FX-R003)."""
        found = Findings("pods", self.pods.pod_code.size)
        table = {"node_id": self.pods.node_id, "pod_code": self.pods.pod_code}
        node = self._nodes(grid, table, found)
        found.raise_errors(RegisterError)
        self.grid, self.pod_node, self._pods_by_node = grid, node, None

    def register_units(self, data: Any, *, activate: bool = True) -> Int32s:
        """Register flexible units (table `units`) and, by default, activate them; return their positions.

        Without a column `unit_id` each unit takes the code of its POD: one unit per POD.

        Raises
        ------
        RegisterError
            FX-R004 already registered, FX-R005 unknown POD or party, FX-R006 the party is not a BSP, FX-R007 two units
            without id at one POD, FX-R009 no power in either direction.
        """
        table = check("units", data, error=RegisterError)
        n = table["up_w"].size
        found = Findings("units", n)
        codes = normalise_pod_codes(table["pod_code"])
        unit_id = table["unit_id"]
        if n and unit_id.dtype.kind != "U" and (unit_id == -1).all():
            unit_id = codes
        order = np.argsort(unit_id, kind="stable")
        twins = np.flatnonzero(unit_id[order[1:]] == unit_id[order[:-1]])
        if twins.size:
            rows = np.unique(np.concatenate([order[twins], order[twins + 1]]))
            found.add("FX-R007", "unit_id is given more than once", field="unit_id", rows=rows, ids=unit_id[rows])
        check_new(self.units.unit_id, unit_id, found, "unit_id")
        pod = look_up(self.pods.pod_code, codes, found, "pod_code", "POD")
        bsp = look_up(self.parties.party_id, table["bsp"], found, "bsp", "party")
        self._check_bsp(bsp, table["bsp"], found)
        idle = np.flatnonzero((table["up_w"] == 0) & (table["down_w"] == 0))
        if idle.size:
            message = f"{idle.size} units declare no power in either direction"
            found.add("FX-R009", message, field="up_w", rows=idle, ids=unit_id[idle])
        found.raise_errors(RegisterError)
        columns = new_units(unit_id, pod, bsp, table)
        if activate:
            columns["state"] = apply_events(UNIT, columns["state"], "activate").state
        self.units = self.units.adding(**columns)
        self._unit_rank = np.empty(self.units.unit_id.size, np.int32)
        self._unit_rank[np.argsort(self.units.unit_id, kind="stable")] = np.arange(self.units.unit_id.size)
        return self._last(self.units.unit_id.size, n)

    def register_products(self, data: Any) -> Int32s:
        """Register products (table `products`, D4.1 Table 7); return their positions."""
        table = check("products", data, error=RegisterError)
        found = Findings("products", table["product_id"].size)
        check_new(self.products.product_id, table["product_id"], found, "product_id")
        found.raise_errors(RegisterError)
        self.products = self.products.adding(**table)
        return self._last(self.products.product_id.size, table["product_id"].size)

    @staticmethod
    def _nodes(grid: "Grid", table: dict[str, npt.NDArray[Any]], found: Findings) -> Int32s:
        """Node position of each row; FX-R003 names the PODs at nodes that do not exist."""
        ids, inverse = np.unique(table["node_id"], return_inverse=True)
        try:
            return np.ascontiguousarray(grid.node_index(ids)[inverse], np.int32)
        except UnknownIdError as error:
            unknown = np.array([name for finding in error.findings for name in finding.ids])
            rows = np.flatnonzero(np.isin(table["node_id"], unknown))
            message = f"{rows.size} PODs lie at nodes that the grid does not have: {shown(np.unique(unknown))}"
            found.add("FX-R003", message, field="node_id", rows=rows, ids=table["pod_code"][rows])
            return np.full(inverse.size, -1, np.int32)
