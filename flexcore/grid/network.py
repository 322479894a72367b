"""The network: nodes, branches, limits, and the forest that the power flow walks."""

from dataclasses import dataclass, field, fields
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from flexcore.errors import Finding, Findings, GridError, ValidationError
from flexcore.grid.forest import F8, I4, BranchModel, Forest, Mesh, NodeModel, build_forest
from flexcore.grid.keys import Keys, find_keys, match_keys, sorted_keys
from flexcore.grid.regulated import Links, cut_at_busbars, refuse_links
from flexcore.tables import check

__all__ = ["Forest", "Grid"]

# codes of the table checks, said again in terms of the network: (code, column) or (code, "") for any column
_RENAMED = {("FX-A009", ""): "FX-G006", ("FX-A003", ""): "FX-G007"}
_RENAMED |= {("FX-A004", column): "FX-G009" for column in ("s_max_kva", "s_max_reverse_kva")}


@dataclass(frozen=True, slots=True, eq=False)
class Grid:
    """A network with its limits, not changeable; make one by `from_tables` or `from_pandapower`.

    Attributes
    ----------
    node_ids, branch_ids : ndarray
        The user's keys, whole numbers or text.
    v_nom_kv : ndarray, shape (n_nodes,)
        Nominal voltage. [kV]
    slack : ndarray of bool, shape (n_nodes,)
        Nodes that hold their voltage, one for each tree.
    regulated : ndarray of bool, shape (n_nodes,)
        Further nodes whose voltage a tap changer in front of them holds at `v_set_pu`. `power_flow` knows them, other
        calculations refuse a grid that has any (FX-G013).
    v_set_pu, angle_set_deg, v_band_pu : ndarray, shape (n_nodes,)
        Voltage, angle and full width of the dead band at a slack node; the voltage counts at a regulated and at a PV
        node too.
    v_min_pu, v_max_pu : ndarray, shape (n_nodes,)
        Allowed voltages.
    base_p_kw, base_q_kvar : ndarray, shape (n_nodes,)
        The source network's own loads and generators, load convention. [kW, kvar]
    branch_from, branch_to : ndarray of int32, shape (n_branches,)
        Node positions of the two ends; `branch_p_kw` enters at `branch_from`.
    s_max_kva, s_max_reverse_kva : ndarray, shape (n_branches,)
        Rated power for flow from -> to and to -> from; infinite where there is no limit. [kVA]
    ratio, shift_deg : ndarray, shape (n_branches,)
        Ideal transformer at the from side, off-nominal ratio and phase shift.
    spanning : Forest
        The same network in depth-first preorder, in per unit on a base of 1 kVA; without the branches that close loops
        and cut above regulated nodes. `forest` is the same for a radial grid without such nodes, and refuses others.
    fused_ids, fused_node : ndarray
        Ids of further buses that are one node with another (closed switches) and that node's position.
    pv_node : ndarray of int32, shape (n_pv,)
        Positions of the nodes whose voltage is held at `v_set_pu` by reactive power; none unless made with `meshed`.
    mesh : Mesh or None
        The branches that close loops; None where there are none.
    links : Links or None
        The branches that feed regulated nodes, None without any.

    Notes
    -----
    Per unit on 1 kVA means that kW and kvar are per unit powers and a shunt of 1 pu takes 1 kW at nominal voltage.
    """

    node_ids: Keys
    branch_ids: Keys
    v_nom_kv: F8
    slack: npt.NDArray[np.bool_]
    regulated: npt.NDArray[np.bool_]
    v_set_pu: F8
    angle_set_deg: F8
    v_band_pu: F8
    v_min_pu: F8
    v_max_pu: F8
    base_p_kw: F8
    base_q_kvar: F8
    branch_from: I4
    branch_to: I4
    s_max_kva: F8
    s_max_reverse_kva: F8
    ratio: F8
    shift_deg: F8
    spanning: Forest
    fused_ids: Keys
    fused_node: I4
    pv_node: I4 = field(default_factory=lambda: np.zeros(0, np.int32))
    mesh: Mesh | None = None
    links: Links | None = None
    _lookup: dict[str, Any] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        """Lock the arrays: the forest is worked out from them once, so a change would contradict it."""
        of_mesh = () if self.mesh is None else (self.mesh.chords, *self.mesh.branches)
        forests = (*self.spanning, *of_mesh, *(self.links or ()))
        for value in (*(getattr(self, item.name) for item in fields(self)), *forests):
            if isinstance(value, np.ndarray):
                value.flags.writeable = False

    def __reduce__(self) -> tuple[Any, ...]:
        """Lock the arrays of the copy too, and look up no faster there."""
        return (type(self), tuple(getattr(self, item.name) for item in fields(self) if item.name != "_lookup"))

    @property
    def n_nodes(self) -> int:
        """Number of nodes."""
        return int(self.node_ids.size)

    @property
    def n_branches(self) -> int:
        """Number of branches."""
        return int(self.branch_ids.size)

    @property
    def n_loops(self) -> int:
        """Number of independent loops, those through two slack nodes included."""
        return 0 if self.mesh is None else int(self.mesh.chords.size)

    @property
    def forest(self) -> Forest:
        """The network in depth-first preorder, in per unit on a base of 1 kVA; GridError FX-G030 unless it is radial.

        FX-G013 where regulated nodes inside a tree would be missed in it.

        Whatever walks a forest takes it from here, so that nothing can work on a part of a meshed network in silence.
        """
        if self.mesh is not None or self.pv_node.size:
            self.require_radial("this step")
        refuse_links(self.links, self.node_ids, "this calculation")
        return self.spanning

    def require_radial(self, what: str) -> None:
        """Do nothing on a radial network without PV nodes.

        Raises
        ------
        GridError
            FX-G030, naming the branches that close loops and the PV nodes.
        """
        found = Findings("grid")
        hint = "open the loops, or use what takes them: power_flow with dc or ac in float64, ptdf, lodf"
        if self.mesh is not None:
            ids = self.branch_ids[self.mesh.chords]
            found.add("FX-G030", f"{what} needs a radial network, {ids.size} branches close loops", ids=ids, hint=hint)
        if self.pv_node.size:
            ids = self.node_ids[self.pv_node]
            found.add("FX-G030", f"{what} needs a network without PV nodes, it has {ids.size}", ids=ids, hint=hint)
        found.raise_errors(GridError)

    def __repr__(self) -> str:
        text = f"{self.n_nodes} nodes, {self.n_branches} branches, {int(self.slack.sum())} trees"
        text += f", {self.n_loops} loops" if self.n_loops else ""
        return f"Grid({text}{f', {self.pv_node.size} PV nodes' if self.pv_node.size else ''})"

    def node_index(self, ids: npt.ArrayLike) -> npt.NDArray[np.int64]:
        """Return the positions of nodes; the id of a fused bus gives the node that it is part of.

        Raises
        ------
        UnknownIdError
            FX-G011, naming the ids that the grid does not have.
        """
        if "node" not in self._lookup:
            positions = np.concatenate([np.arange(self.n_nodes), self.fused_node])
            self._lookup["node"] = sorted_keys(np.concatenate([self.node_ids, self.fused_ids]), positions)
        keys, at = self._lookup["node"]
        return find_keys(ids, keys, at, "node")

    def branch_index(self, ids: npt.ArrayLike) -> npt.NDArray[np.int64]:
        """Return the positions of branches.

        Raises
        ------
        UnknownIdError
            FX-G011, naming the ids that the grid does not have.
        """
        if "branch" not in self._lookup:
            self._lookup["branch"] = sorted_keys(self.branch_ids, np.arange(self.n_branches))
        keys, at = self._lookup["branch"]
        return find_keys(ids, keys, at, "branch")

    @classmethod
    def from_tables(cls, nodes: Any, branches: Any, *, meshed: bool = False) -> Self:
        """Build a network from a table of nodes and one of branches.

        Parameters
        ----------
        nodes : mapping of arrays, pyarrow.Table or Arrow stream
            Columns id, v_nom_kv, slack; optional pv, v_set_pu, regulated, v_band_pu, v_min_pu, v_max_pu, g_us, b_us.
        branches : mapping of arrays, pyarrow.Table or Arrow stream
            Columns id, from_id, to_id, r_ohm, x_ohm; optional g_us, b_us (half at each end), ratio, shift_deg (ideal
            transformer at the from side, as in MATPOWER), s_max_kva, s_max_reverse_kva. Ohm and uS at the nominal
            voltage of the to side. `s_max_reverse_kva` is `s_max_kva` unless given.
        meshed : bool
            Keep loops, branches between two slack nodes and PV nodes instead of refusing them. Only power flow with
            "dc" or "ac", `ptdf` and `lodf` take such a network; see docs/explanation/meshed.md.

        Raises
        ------
        GridError
            With all findings at once: FX-G001..FX-G010, FX-G012, FX-G021 for the network, FX-A... for the tables.
        """
        found = Findings("grid")
        node = _checked("nodes", nodes, found)
        branch = _checked("branches", branches, found)
        if node is None or branch is None:
            raise GridError(found.items)
        start, end = _find_ends(node["id"], branch, found)
        _check_parameters(node, branch, start, end, found)
        pv = node["pv"] & ~node["slack"]
        if pv.any() and not meshed:
            rows = np.flatnonzero(pv)
            hint = "pass meshed=True: dc and ac power flow, ptdf and lodf take PV nodes"
            found.add(
                "FX-G021", f"{rows.size} nodes hold their voltage by reactive power", field="pv", rows=rows,
                ids=node["id"][rows], hint=hint,
            )  # fmt: skip
        known = (start >= 0) & (end >= 0) & (start != end)
        v_to = node["v_nom_kv"][end] if node["id"].size else np.ones(end.size)
        ohm_to_pu = np.divide(1e-3, v_to * v_to)
        us_to_pu = v_to * v_to * 1e-3
        own = node["v_nom_kv"] * node["v_nom_kv"] * 1e-3
        half_g, half_b = 0.5 * branch["g_us"] * us_to_pu, 0.5 * branch["b_us"] * us_to_pu
        model = BranchModel(
            start, end, branch["r_ohm"] * ohm_to_pu, branch["x_ohm"] * ohm_to_pu,
            half_g, half_b, half_g, half_b, branch["ratio"], branch["shift_deg"],
        )  # fmt: skip
        reverse = np.where(np.isnan(branch["s_max_reverse_kva"]), branch["s_max_kva"], branch["s_max_reverse_kva"])
        if not known.all():  # the shape of the rest can still be told
            model = model.take(known)
        zero = np.zeros(node["id"].size)
        return cls._assemble(
            node_ids=node["id"],
            branch_ids=branch["id"],
            node={name: node[name] for name in ("v_nom_kv", "v_band_pu", "v_min_pu", "v_max_pu")},
            node_model=NodeModel(
                node["slack"], node["v_set_pu"], zero, node["g_us"] * own, node["g_us"] * own, node["b_us"] * own, pv
            ),
            regulated=node["regulated"] & ~node["slack"],
            branch_model=model,
            shown_ids=branch["id"][known],
            base=(zero.copy(), zero.copy()),
            s_max=(branch["s_max_kva"], reverse),
            fused=(node["id"][:0], np.zeros(0, np.int32)),
            found=found,
            meshed=meshed,
        )

    @classmethod
    def from_pandapower(
        cls, net: Any, *, trafo_model: str = "t", switch_rx_ratio: float = 2.0, meshed: bool = False
    ) -> Self:
        """Build the network that pandapower's `runpp` would solve, exactly, or refuse it.

        Node ids are bus indices (of buses joined by closed switches the lowest one; `node_index` knows all), branch ids
        are texts such as 'line 3', 'trafo 0', 'switch 7'. Branches open at one end are shunts at the other and no
        branches; buses without supply and without loads are left out. The network is not changed.

        Parameters
        ----------
        net : pandapowerNet
        trafo_model : {"t", "pi"}
        switch_rx_ratio : float
            Ratio of resistance to reactance of switches with an impedance, as in `runpp`.
        meshed : bool
            Keep loops, branches between two slack nodes, and generators off the slack as PV nodes (without limits of
            their reactive power, as `runpp` does by default) instead of refusing them; see `from_tables`.

        Raises
        ------
        GridError
            FX-G020..FX-G028 for what is not modelled, FX-G001..FX-G010 for the network.
        MissingExtraError
            pandapower is not installed.
        """
        from flexcore.grid.pandapower import convert

        found = Findings("net")
        return cls._assemble(**convert(net, trafo_model, switch_rx_ratio, meshed, found), found=found, meshed=meshed)

    @classmethod
    def _assemble(
        cls,
        *,
        node_ids: Keys,
        branch_ids: Keys,
        node: dict[str, F8],
        node_model: NodeModel,
        branch_model: BranchModel,
        regulated: npt.NDArray[np.bool_] | None = None,
        shown_ids: Keys,
        base: tuple[F8, F8],
        s_max: tuple[F8, F8],
        fused: tuple[Keys, I4],
        found: Findings,
        meshed: bool,
    ) -> Self:
        built = build_forest(node_model, branch_model, node_ids, shown_ids, found, meshed=meshed)
        links: Links | None = None
        if built is not None and regulated is not None and regulated.any() and not found:
            if built[1] is not None or node_model.pv.any():
                hint = "a voltage held inside a tree needs a tree: open the loops, or leave `regulated` out"
                ids = node_ids[np.flatnonzero(regulated)]
                found.add("FX-G014", "a grid with loops or PV nodes has no regulated nodes", ids=ids, hint=hint)
            else:
                cut = cut_at_busbars(node_model, branch_model, regulated, built[0], (node_ids, shown_ids), found)
                if cut is not None:
                    built, links = (cut[0], None), cut[1]
        if built is None or found:
            raise GridError(found.items)
        return cls(
            node_ids=node_ids,
            branch_ids=branch_ids,
            slack=node_model.slack,
            regulated=np.zeros(node_ids.size, np.bool_) if regulated is None else regulated,
            v_set_pu=node_model.v_set_pu,
            angle_set_deg=node_model.angle_set_deg,
            base_p_kw=base[0],
            base_q_kvar=base[1],
            branch_from=branch_model.start,
            branch_to=branch_model.end,
            s_max_kva=s_max[0],
            s_max_reverse_kva=s_max[1],
            ratio=branch_model.ratio,
            shift_deg=branch_model.shift_deg,
            spanning=built[0],
            mesh=built[1],
            links=links,
            pv_node=np.flatnonzero(node_model.pv).astype(np.int32),
            fused_ids=fused[0],
            fused_node=fused[1],
            v_nom_kv=node["v_nom_kv"],
            v_band_pu=node["v_band_pu"],
            v_min_pu=node["v_min_pu"],
            v_max_pu=node["v_max_pu"],
        )


def _checked(name: str, data: Any, found: Findings) -> dict[str, npt.NDArray[Any]] | None:
    """Check a table; its findings join the others, in terms of the network and with the ids of the bad rows."""
    try:
        return check(name, data)
    except ValidationError as error:
        try:
            ids = np.asarray(data["id"])
        except (KeyError, TypeError, ValueError):
            ids = np.zeros(0)
        if ids.ndim != 1:  # one value for all rows, or no column at all: no row has a name
            ids = np.zeros(0)
        for item in error.findings:
            code = _RENAMED.get((item.code, item.field), _RENAMED.get((item.code, ""), item.code))
            named = tuple(ids[row].item() if ids.dtype != object else ids[row] for row in item.rows if row < ids.size)
            found.items.append(
                Finding(
                    code, item.severity, item.message, name, item.field, item.rows, named or item.ids, item.count,
                    item.hint,
                )
            )  # fmt: skip
        return None


def _find_ends(node_ids: Keys, branch: dict[str, npt.NDArray[Any]], found: Findings) -> tuple[I4, I4]:
    table = sorted_keys(node_ids, np.arange(node_ids.size))
    ends = []
    for column in ("from_id", "to_id"):
        position = match_keys(branch[column], *table)
        bad = np.flatnonzero(position < 0)
        if bad.size:
            missing = ", ".join(repr(key.item()) for key in branch[column][bad][:3])
            found.add(
                "FX-G005",
                f"{column} of {bad.size} branches is no node: {missing}",
                field=column,
                rows=bad,
                ids=branch["id"][bad],
            )
        ends.append(position.astype(np.int32))
    return ends[0], ends[1]


def _check_parameters(
    node: dict[str, npt.NDArray[Any]], branch: dict[str, npt.NDArray[Any]], start: I4, end: I4, found: Findings
) -> None:
    """Add findings for what the column bounds cannot say."""
    for table, columns in (
        (node, ("v_nom_kv", "v_set_pu", "v_band_pu", "g_us", "b_us")),
        (branch, ("r_ohm", "x_ohm", "g_us", "b_us", "ratio", "shift_deg")),
    ):
        for column in columns:
            bad = np.flatnonzero(~np.isfinite(table[column]))
            if bad.size:
                found.add(
                    "FX-G007", f"{column} is infinite in {bad.size} rows", field=column, rows=bad, ids=table["id"][bad]
                )
    bad = np.flatnonzero((branch["r_ohm"] == 0) & (branch["x_ohm"] == 0))
    if bad.size:
        hint = "make the two nodes one"
        found.add(
            "FX-G008", f"r_ohm and x_ohm of {bad.size} branches are 0", rows=bad, ids=branch["id"][bad], hint=hint
        )
    bad = np.flatnonzero(node["slack"] & np.isfinite(node["v_band_pu"]) & (node["v_band_pu"] >= 2.0 * node["v_set_pu"]))
    if bad.size:
        found.add(
            "FX-A006",
            f"v_band_pu reaches down to a voltage of 0 at {bad.size} slack nodes",
            field="v_band_pu",
            rows=bad,
            ids=node["id"][bad],
            hint="it is the full width around v_set_pu",
        )
    bad = np.flatnonzero(node["v_min_pu"] > node["v_max_pu"])
    if bad.size:
        found.add(
            "FX-G009",
            f"v_min_pu is above v_max_pu at {bad.size} nodes",
            field="v_min_pu",
            rows=bad,
            ids=node["id"][bad],
        )
    bad = np.flatnonzero((start == end) & (start >= 0))
    if bad.size:
        found.add("FX-G010", f"{bad.size} branches start and end at one node", rows=bad, ids=branch["id"][bad])
