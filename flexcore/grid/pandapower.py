"""Reads a pandapower network: exactly as `runpp` would solve it, or refused by code.

pandapower itself makes the pi models (lines with charging, transformers in T or pi form, taps, phase shift, fused
buses) through its public `to_ppc`; this module maps them back to the user's ids, folds branches that are open at one
end into shunts, and adds limits and loads.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from flexcore.errors import Findings, GridError, MissingExtraError
from flexcore.grid.forest import F8, BranchModel, NodeModel

# columns of pandapower's bus and branch matrices (the first ten are MATPOWER's)
_BUS_TYPE, _GS, _BS, _VM, _VA = 1, 4, 5, 7, 8
_F, _T, _R, _X, _B, _TAP, _SHIFT = 0, 1, 2, 3, 4, 8, 9
_REF = 3
_V_MIN, _V_MAX = 0.90, 1.10  # EN 50160, where the network says nothing

_REFUSED = {
    "ward": ("FX-G022", "wards"),
    "xward": ("FX-G022", "extended wards"),
    "dcline": ("FX-G023", "dc lines"),
    "impedance": ("FX-G024", "impedances"),
    "trafo3w": ("FX-G025", "three-winding transformers"),
}
# further tables that runpp would model
_OTHER = (
    "motor", "asymmetric_load", "asymmetric_sgen", "svc", "ssc", "vsc", "tcsc", "b2b_vsc", "vsc_stacked", "vsc_bipolar",
    "line_dc", "load_dc", "source_dc",
)  # fmt: skip

# columns without which an element has no model: an empty cell would become 0 or spread NaN
_NUMBERS = {
    "load": ("p_mw", "q_mvar", "scaling"),
    "sgen": ("p_mw", "q_mvar", "scaling"),
    "storage": ("p_mw", "q_mvar", "scaling"),
    "gen": ("p_mw", "vm_pu", "scaling"),
    "ext_grid": ("vm_pu", "va_degree"),
    "shunt": ("p_mw", "q_mvar", "step"),
    "line": ("length_km", "r_ohm_per_km", "x_ohm_per_km", "c_nf_per_km", "g_us_per_km", "parallel"),
    "trafo": (
        "sn_mva", "vn_hv_kv", "vn_lv_kv", "vk_percent", "vkr_percent", "pfe_kw", "i0_percent", "shift_degree",
        "parallel",
    ),
}  # fmt: skip


def _table(net: Any, name: str) -> Any:
    """Rows of an element table that are in service; None where there are none."""
    table = net.get(name)
    if table is None or not len(table):
        return None
    if "in_service" in table.columns:
        table = table[table["in_service"].to_numpy(dtype=bool)]
    return table if len(table) else None


def _column(table: Any, name: str, default: float) -> F8:
    """Give a column as float64, `default` where it is missing or NaN."""
    if name not in table.columns:
        return np.full(len(table), default)
    values = table[name].to_numpy(dtype=np.float64, na_value=np.nan)
    return np.where(np.isnan(values), default, values)


def _refuse(net: Any, found: Findings) -> None:
    """Add one finding for each kind of element that the model does not have."""
    for name, (code, what) in _REFUSED.items():
        table = _table(net, name)
        if table is not None:
            found.add(code, f"{len(table)} {what} are not modelled", field=name, ids=table.index.to_numpy())
    for name in _OTHER:
        table = _table(net, name)
        if table is not None:
            found.add(
                "FX-G026", f"{len(table)} rows of {name} are not modelled", field=name, ids=table.index.to_numpy()
            )
    loads = _table(net, "load")
    if loads is not None:
        zip_columns = [c for c in loads.columns if c.startswith(("const_z", "const_i"))]
        depends = np.zeros(len(loads), bool)
        for column in zip_columns:
            depends |= _column(loads, column, 0.0) != 0
        if depends.any():
            hint = "set the const_z and const_i percentages to 0"
            ids = loads.index.to_numpy()[depends]
            found.add("FX-G020", f"{ids.size} loads depend on the voltage", field="load", ids=ids, hint=hint)


def _check_numbers(net: Any, found: Findings) -> None:
    """Refuse NaN and infinite parameters of elements in service; a column that is missing takes its default."""
    for name, columns in _NUMBERS.items():
        table = _table(net, name)
        if table is None:
            continue
        for column in columns:
            if column not in table.columns:
                continue
            bad = ~np.isfinite(table[column].to_numpy(dtype=np.float64, na_value=np.nan))
            if bad.any():
                message = f"{column} is NaN or infinite in {bad.sum()} rows of {name}"
                found.add("FX-G007", message, field=column, ids=table.index.to_numpy()[bad])


def _check_branches(model: BranchModel, branch_ids: npt.NDArray[Any], found: Findings) -> None:
    """Refuse branches that pandapower's own model leaves without a finite, nonzero impedance."""
    broken = ~np.isfinite(np.array(model[2:])).all(axis=0)
    if broken.any():
        found.add("FX-G007", f"{broken.sum()} branches have NaN or infinite parameters", ids=branch_ids[broken])
    bare = (model.r_pu == 0) & (model.x_pu == 0)
    if bare.any():
        hint = "replace them by closed bus-bus switches"
        found.add("FX-G008", f"r and x of {bare.sum()} branches are 0", ids=branch_ids[bare], hint=hint)


def _copy(net: Any) -> Any:
    """Copy the tables that describe the network, without results and profiles: `to_ppc` writes into what it gets."""
    import pandapower
    import pandas as pd

    copy = pandapower.create_empty_network(sn_mva=net["sn_mva"], f_hz=net["f_hz"])
    for name, value in net.items():
        if isinstance(value, pd.DataFrame) and not name.startswith(("_", "res_")):
            copy[name] = value.copy()
    return copy


def _bus_table(net: Any, to_node: npt.NDArray[np.int64], n_nodes: int) -> dict[str, F8]:
    """Limits and nominal voltages; a fused node takes the tightest limits of its buses."""
    buses = net["bus"]
    node = to_node[buses.index.to_numpy()]
    used = node >= 0
    low, high, nominal = np.full(n_nodes, -np.inf), np.full(n_nodes, np.inf), np.zeros(n_nodes)
    v_min, v_max = _column(buses, "min_vm_pu", _V_MIN), _column(buses, "max_vm_pu", _V_MAX)
    # pandapower fills a column with 0 and 2 for buses to which nobody gave a limit
    v_min, v_max = np.where(v_min <= 0, _V_MIN, v_min), np.where(v_max >= 2, _V_MAX, v_max)
    np.maximum.at(low, node[used], v_min[used])
    np.minimum.at(high, node[used], v_max[used])
    nominal[node[used]] = buses["vn_kv"].to_numpy(np.float64)[used]
    return {"v_nom_kv": nominal, "v_band_pu": np.zeros(n_nodes), "v_min_pu": low, "v_max_pu": high}


def _base_power(net: Any, to_node: npt.NDArray[np.int64], n_nodes: int, found: Findings) -> tuple[F8, F8]:
    """Sum loads, static generators, storages and generators at slack nodes, load convention; refuse dark loads."""
    p, q = np.zeros(n_nodes), np.zeros(n_nodes)
    for name, sign in (("load", 1.0), ("storage", 1.0), ("sgen", -1.0), ("gen", -1.0)):
        table = _table(net, name)
        if table is None:
            continue
        scaling = sign * 1e3 * _column(table, "scaling", 1.0)
        buses = table["bus"].to_numpy(np.int64)
        node = to_node[buses]
        p_kw, q_kvar = scaling * _column(table, "p_mw", 0.0), scaling * _column(table, "q_mvar", 0.0)
        dark = (node < 0) & ((p_kw != 0) | (q_kvar != 0)) & _in_service(net, buses)
        if dark.any():
            ids = np.unique(buses[dark])
            found.add("FX-G027", f"{ids.size} buses with {name}s have no supply", field=name, ids=ids)
        lit = node >= 0
        np.add.at(p, node[lit], p_kw[lit])
        np.add.at(q, node[lit], q_kvar[lit])
    return p, q


def _in_service(net: Any, buses: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    status: npt.NDArray[np.bool_] = net["bus"]["in_service"].loc[buses].to_numpy(dtype=bool)
    return status


def _limits(net: Any, solved: Any, ratio: F8) -> tuple[F8, npt.NDArray[Any]]:
    """Rated power of every row of the branch matrix and its id; `solved` is the copy that `to_ppc` wrote into.

    A transformer is rated for a current at each of its own two voltages, a branch here for one current at the voltages
    of its nodes. But for the magnetising current, what leaves the to side is `ratio` times what enters: the side that
    reaches its own rating first tells how large the larger of the two is then.
    """
    s_max = np.full(ratio.size, np.inf)
    ids = np.empty(ratio.size, dtype=object)
    v_bus = net["bus"]["vn_kv"]
    for name, (first, end) in solved["_pd2ppc_lookups"]["branch"].items():
        table = net[name]
        rows = table.index.to_numpy()
        if name == "switch":  # closed, with an impedance, between buses in service: in the order of the table
            rows = rows[solved["_impedance_bb_switches"]]
        ids[first:end] = [f"{name} {row}" for row in rows]
        parallel, derating = _column(table, "parallel", 1.0), _column(table, "df", 1.0)
        if name == "line":
            v_nom = v_bus.loc[table["from_bus"]].to_numpy(np.float64)
            limit = np.sqrt(3.0) * v_nom * _column(table, "max_i_ka", np.inf) * derating * parallel
            s_max[first:end] = 1e3 * limit
        elif name == "trafo":
            hv, lv = (
                v_bus.loc[table[f"{side}_bus"]].to_numpy(np.float64) / _column(table, f"vn_{side}_kv", np.nan)
                for side in ("hv", "lv")
            )
            turns = ratio[first:end]
            reached = np.minimum(hv, lv / turns) * np.maximum(1.0, turns)
            s_max[first:end] = 1e3 * _column(table, "sn_mva", np.inf) * parallel * derating * reached
    return s_max, ids


def _check_set_points(net: Any, found: Findings) -> None:
    """Refuse external grids and generators that hold different voltages at buses joined by closed switches."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    buses = net["bus"].index.to_numpy(np.int64)
    switch = net["switch"]
    joined = switch["closed"].to_numpy(bool) & (switch["et"].to_numpy() == "b") & (_column(switch, "z_ohm", 0.0) <= 0)
    ends = switch.loc[joined, ["bus", "element"]].to_numpy(np.int64)
    size = int(buses.max()) + 1
    links = (np.ones(len(ends), np.int8), (ends[:, 0], ends[:, 1]))
    _, group = connected_components(coo_array(links, shape=(size, size)), directed=False)
    held: dict[int, dict[str, set[float]]] = {}
    at: dict[int, set[int]] = {}
    for name in ("ext_grid", "gen"):
        table = _table(net, name)
        if table is None:
            continue
        rows = zip(
            table["bus"].to_numpy(np.int64), _column(table, "vm_pu", 1.0), _column(table, "va_degree", 0.0), strict=True
        )
        for bus, v, angle in rows:
            points = held.setdefault(int(group[bus]), {"v": set(), "angle": set()})
            points["v"].add(float(v))
            if name == "ext_grid":  # a generator beside an external grid holds no angle
                points["angle"].add(float(angle))
            at.setdefault(int(group[bus]), set()).add(int(bus))
    torn = [bus for key, points in held.items() if max(map(len, points.values())) > 1 for bus in sorted(at[key])]
    if torn:
        found.add("FX-G028", "elements at one node hold different voltages", field="vm_pu", ids=torn)


def _find_generators(
    net: Any, to_node: npt.NDArray[np.int64], slack: npt.NDArray[np.bool_], meshed: bool, found: Findings
) -> tuple[npt.NDArray[np.bool_], F8]:
    """PV nodes and the voltages that generators hold there; they are refused unless `meshed`."""
    pv, v_set = np.zeros(slack.size, np.bool_), np.ones(slack.size)
    table = _table(net, "gen")
    if table is None:
        return pv, v_set
    node = to_node[table["bus"].to_numpy(np.int64)]
    away = (node >= 0) & ~slack[node]
    pv[node[away]] = True
    v_set[node[away]] = _column(table, "vm_pu", 1.0)[away]
    off_slack = table.index.to_numpy()[away]
    if off_slack.size and not meshed:
        found.add(
            "FX-G021", f"{off_slack.size} generators hold the voltage away from the slack node", field="gen",
            ids=off_slack, hint="model them as sgen with given p and q, or pass meshed=True",
        )  # fmt: skip
    return pv, v_set


def convert(net: Any, trafo_model: str, switch_rx_ratio: float, meshed: bool, found: Findings) -> dict[str, Any]:
    """Return the arguments of `Grid._assemble` for a pandapower network; see `Grid.from_pandapower`."""
    try:
        from pandapower.converter.pypower.to_ppc import to_ppc
    except ImportError as error:
        raise MissingExtraError("pandapower", "city") from error

    _refuse(net, found)
    gen = _table(net, "gen")
    has_slack = _table(net, "ext_grid") is not None or (gen is not None and gen["slack"].to_numpy(bool).any())
    if not has_slack:
        found.add("FX-G003", "the network has no external grid in service", field="ext_grid")
    _check_numbers(net, found)
    _check_set_points(net, found)
    found.raise_errors(GridError)

    copy = _copy(net)
    with np.errstate(divide="ignore", invalid="ignore"):  # what comes of a zero impedance is refused below
        ppc = to_ppc(
            copy, calculate_voltage_angles=True, trafo_model=trafo_model, switch_rx_ratio=switch_rx_ratio, init="flat",
            mode="pf",
        )  # fmt: skip
    bus, branch = ppc["bus"], ppc["branch"]
    to_ppc_bus = copy["_pd2ppc_lookups"]["bus"].astype(np.int64)
    base_mva = float(net["sn_mva"])

    # nodes: rows of the bus matrix that a bus of the network maps to, in ascending order of their lowest bus index
    buses = np.sort(net["bus"].index.to_numpy(np.int64))
    rows = to_ppc_bus[buses]
    lit = (rows >= 0) & (rows < len(bus)) & _in_service(net, buses)
    used_rows, first = np.unique(rows[lit], return_index=True)
    node_ids = buses[lit][np.sort(first)]
    row_of_node = used_rows[np.argsort(first, kind="stable")]
    n_nodes = node_ids.size
    node_of_row = np.full(len(bus), -1, np.int64)
    node_of_row[row_of_node] = np.arange(n_nodes)
    to_node = np.full(to_ppc_bus.size, -1, np.int64)
    to_node[buses[lit]] = node_of_row[rows[lit]]
    fused = buses[lit][~np.isin(buses[lit], node_ids)]

    bus = bus[row_of_node]
    slack = bus[:, _BUS_TYPE].real == _REF
    base = _base_power(net, to_node, n_nodes, found)
    pv, v_pv = _find_generators(net, to_node, slack, meshed, found)

    used = ppc["internal"]["branch_is"]
    ratio = np.ones(used.size)
    ratio[used] = np.where(branch[:, _TAP].real == 0, 1.0, branch[:, _TAP].real)
    s_max, branch_ids = _limits(net, copy, ratio)
    s_max, branch_ids = s_max[used], branch_ids[used].astype(str)

    def shunt(name: str) -> F8:
        return np.asarray(ppc[name].real, np.float64) if name in ppc else np.zeros(len(branch))

    # 1 kVA instead of the network's own base
    z_unit, y_unit = 1e-3 / base_mva, 1e3 * base_mva
    real = branch.real
    half_g, half_b = 0.5 * shunt("branch_g"), 0.5 * real[:, _B]
    model = BranchModel(
        start=node_of_row[real[:, _F].astype(np.int64)].astype(np.int32),
        end=node_of_row[real[:, _T].astype(np.int64)].astype(np.int32),
        r_pu=real[:, _R] * z_unit,
        x_pu=real[:, _X] * z_unit,
        g_from_pu=half_g * y_unit,
        b_from_pu=half_b * y_unit,
        g_to_pu=(half_g + 0.5 * shunt("branch_g_asym")) * y_unit,
        b_to_pu=(half_b + 0.5 * shunt("branch_b_asym")) * y_unit,
        ratio=ratio[used],
        shift_deg=real[:, _SHIFT].copy(),
    )
    _check_branches(model, branch_ids, found)
    found.raise_errors(GridError)
    own_g, own_b = bus[:, _GS].real * 1e3, bus[:, _BS].real * 1e3
    open_g, open_b = _fold_open_ends(model, n_nodes)
    both = (model.start >= 0) & (model.end >= 0)
    return {
        "node_ids": node_ids,
        "branch_ids": branch_ids[both],
        "node": _bus_table(net, to_node, n_nodes),
        "node_model": NodeModel(
            slack,
            np.where(slack, bus[:, _VM].real, v_pv),
            np.where(slack, bus[:, _VA].real, 0.0),
            own_g,
            own_g + open_g,
            own_b + open_b,
            pv,
        ),
        "branch_model": model.take(both),
        "shown_ids": branch_ids[both],
        "base": base,
        "s_max": (s_max[both], s_max[both].copy()),
        "fused": (fused, to_node[fused].astype(np.int32)),
    }


def _fold_open_ends(model: BranchModel, n_nodes: int) -> tuple[F8, F8]:
    """Shunts of the nodes at which branches hang whose other end is open.

    The far end of such a branch carries its own shunt alone: seen from the near end it is the near shunt in parallel
    with the series impedance and the far shunt in series, through the ideal transformer if that stands at the near end.
    """
    total = np.zeros(n_nodes, np.complex128)
    series = 1.0 / (model.r_pu + 1j * model.x_pu)
    y_from, y_to = model.g_from_pu + 1j * model.b_from_pu, model.g_to_pu + 1j * model.b_to_pu
    for near, y_near, y_far, square in (
        (model.start, y_from, y_to, model.ratio**2),
        (model.end, y_to, y_from, np.ones(model.ratio.size)),
    ):
        far = model.end if near is model.start else model.start
        open_end = (near >= 0) & (far < 0)
        seen = y_near + series * y_far / (series + y_far)
        np.add.at(total, near[open_end], (seen / square)[open_end])
    return total.real.copy(), total.imag.copy()
