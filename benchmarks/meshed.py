"""DC power flow of a transmission network with thousands of loops, beside a sparse LU, a dense PTDF and PyPSA."""

import importlib.util
import logging
import warnings
from typing import Any

import numpy as np

from benchmarks.timing import Engine, interleave, milliseconds, ratio, timed
from flexcore.grid.network import Grid
from flexcore.grid.power_flow import power_flow

_PYPSA_ROUNDS = 3
_BLOCK = 32  # the fastest of 8, 16, 32, 128


class Model:
    """Incidence and susceptances; loads in the order of the nodes, the one slack node left out."""

    def __init__(self, grid: Grid) -> None:
        from scipy.sparse import csc_array

        assert grid.mesh is not None
        assert grid.slack.sum() == 1
        m, branches = grid.n_branches, grid.mesh.branches
        self.grid, self.free = grid, np.flatnonzero(~grid.slack)
        self.b = 1.0 / (branches.x_pu * branches.ratio)
        at = np.tile(np.arange(m), 2)
        ends = np.concatenate([grid.branch_from, grid.branch_to])
        incidence = csc_array((np.repeat([1.0, -1.0], m), (at, ends)), (m, grid.n_nodes))
        weighted = incidence.multiply(self.b[:, None]).tocsc()
        self.matrix = (incidence.T @ weighted).tocsc()[self.free][:, self.free].tocsc()
        self.weighted = weighted[:, self.free].tocsr()
        # what shunts draw and phase shifts drive: to be added to loads and flows
        self.shifted = -self.b * np.deg2rad(branches.shift_deg)
        shunt = grid.spanning.g_dc_pu[grid.spanning.rank]
        self.fixed = (shunt + incidence.T @ self.shifted)[self.free]

    def loads(self, p: np.ndarray) -> np.ndarray:
        """Loads and what stands for shunts and phase shifts."""
        return np.ascontiguousarray(p[self.free] + self.fixed[:, None])

    def flows(self, of_angles: np.ndarray) -> np.ndarray:
        """Flows by angles, and what phase shifts add."""
        return of_angles + self.shifted[:, None]


def network(quick: bool) -> tuple[str, Grid, np.ndarray]:
    """A public network and random loads around its own, (n_nodes, n_steps) in kW."""
    import pandapower.networks

    name, n_steps = ("case118", 96) if quick else ("case2869pegase", 2000)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        grid = Grid.from_pandapower(getattr(pandapower.networks, name)(), meshed=True)
    rng = np.random.default_rng(0)
    return name, grid, grid.base_p_kw[:, None] * rng.uniform(0.5, 1.2, (grid.n_nodes, n_steps))


def peers(model: Model, p: np.ndarray) -> list[Engine]:
    """Engines with ready factors, given loads in their own order; they return flows by angles."""
    from scipy.sparse.linalg import splu

    grid, loads = model.grid, model.loads(p)
    rows = []
    build, factors = timed(
        lambda: splu(
            model.matrix, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options={"SymmetricMode": True}
        )
    )  # fmt: skip
    # SuperLU wants columns: with rows it would copy, and all at once leave the cache
    columns = np.asfortranarray(-loads)

    def in_blocks():
        flow = np.empty((grid.n_branches, loads.shape[1]))
        for lo in range(0, loads.shape[1], _BLOCK):
            angles = factors.solve(columns[:, lo : lo + _BLOCK])
            flow[:, lo : lo + _BLOCK] = model.weighted @ np.ascontiguousarray(angles)
        return flow

    for name, call in (
        ("scipy splu", lambda: model.weighted @ factors.solve(columns)),
        (f"scipy splu in blocks of {_BLOCK}", in_blocks),
    ):
        rows.append(
            Engine(name, "DC, 1 thread", call, lambda flow: (None, model.flows(flow)), build_s=build)
        )  # fmt: skip
    build, dense = timed(lambda: -(model.weighted @ factors.solve(np.eye(model.free.size))))
    rows.append(
        Engine(
            "numpy PTDF", "DC, BLAS", lambda: dense @ loads, lambda flow: (None, model.flows(flow)), build_s=build
        )
    )  # fmt: skip
    if importlib.util.find_spec("pypsa") is not None:
        rows.append(_pypsa(model, loads))
    return rows


def _pypsa(model: Model, loads: np.ndarray) -> Engine:
    import pandas as pd
    import pypsa

    logging.getLogger("pypsa").setLevel(logging.ERROR)
    grid = model.grid

    def build():
        net = pypsa.Network()
        net.set_snapshots(range(loads.shape[1]))
        bus = np.arange(grid.n_nodes).astype(str)
        net.add("Bus", bus, v_nom=1.0)
        net.add("Generator", "slack", bus=bus[grid.slack][0], control="Slack")
        # at 1 kV and 1 MVA an ohm is one per unit
        net.add(
            "Line", lines, bus0=bus[grid.branch_from], bus1=bus[grid.branch_to], r=np.zeros(lines.size),
            x=1e3 / model.b,
        )  # fmt: skip
        names = bus[model.free]
        frame = pd.DataFrame(loads.T / 1e3, columns=names, index=net.snapshots)
        net.add("Load", names, bus=names, p_set=frame)
        return net

    def run():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            net.lpf(net.snapshots)
        return net.lines_t.p0

    lines = np.arange(grid.n_branches).astype(str)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        seconds, net = timed(build)
    return Engine(
        "PyPSA lpf",
        "DC",
        run,
        lambda flow: (None, model.flows(flow[lines].to_numpy().T * 1e3)),
        rounds=_PYPSA_ROUNDS,
        build_s=seconds,
    )


def run(threads: int, quick: bool, rounds: int) -> list[dict[str, Any]]:
    """Own rows are the whole public call with fresh outputs; a peer's ratio is to the one with all threads."""
    name, grid, p = network(quick)

    def call(n: int = threads):
        return power_flow(grid, p, method="dc", outputs=("branch_p_kw",), n_threads=n)

    build, flow = timed(call)
    own = [
        Engine("flexcore dc", "DC", call, lambda flow: (None, flow.branch_p_kw), fresh=True, build_s=build),
        Engine("flexcore dc 1-thread", "DC", lambda: call(1), lambda flow: (None, flow.branch_p_kw), fresh=True),
    ]
    others = peers(Model(grid), p)
    assert flow.converged
    largest = np.abs(flow.branch_p_kw).max()
    for engine in (*own, *others):
        found = engine.read(engine.run())[1]
        assert found is not None
        engine.p_error = float(np.abs(found - flow.branch_p_kw).max() / largest)
    interleave([*own, *others], rounds)
    table = []
    for engine in (*own, *others):
        row = {
            "name": f"meshed/{engine.name.replace(' ', '/', 1).replace(' ', '-')}",
            "model": engine.model,
            **milliseconds(engine),
            "network": name,
            "n_nodes": grid.n_nodes,
            "n_branches": grid.n_branches,
            "n_steps": p.shape[1],
            "p_error": engine.p_error,
            "build_ms": None if engine.build_s is None else 1e3 * engine.build_s,
        }
        if engine in others:
            row |= dict(zip(("times_flexcore", "times_min", "times_max"), ratio(engine, own[0]), strict=True))
        table.append(row)
    return table
