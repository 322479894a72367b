"""Dense matrices in BLAS: flows as PTDF times loads, voltages from the impedances of common paths."""

import numpy as np

from benchmarks.cases import Case
from benchmarks.timing import Engine, timed

_LARGEST, _LARGEST_WITH_VOLTAGES = 20_000, 2_000  # nodes


def engines(case: Case, threads: int) -> list[Engine]:
    """Flows only, and flows with voltages; BLAS takes the threads that it was built to take."""
    grid, p, q = case.grid, case.p, case.q
    if grid.n_nodes > _LARGEST:
        return []
    build, ptdf = timed(lambda: _ptdf(grid))
    rows = [Engine("numpy PTDF", "DC", lambda: ptdf @ p, lambda flow: (None, flow), build_s=build)]
    if grid.n_nodes <= _LARGEST_WITH_VOLTAGES:
        more, (r2, x2, u_open, scale) = timed(lambda: _voltage_matrices(grid))

        def run():
            v = r2 @ p
            v += x2 @ q
            np.subtract(u_open, v, out=v)
            np.sqrt(v, out=v)
            v *= scale
            return v, ptdf @ p

        rows.append(Engine("numpy PTDF-R-X", "lossless linear", run, lambda result: result, build_s=build + more))
    return rows


def _ptdf(grid) -> np.ndarray:
    forest = grid.forest
    result = np.zeros((grid.n_branches, grid.n_nodes))
    for i in np.flatnonzero(forest.parent >= 0):
        result[forest.branch[i], forest.order[i : forest.last[i]]] = 1.0 if forest.forward[i] else -1.0
    return result


def _voltage_matrices(grid) -> tuple[np.ndarray, ...]:
    """2 R, 2 X, the squared voltage without load (shunts at the root's voltage), and the scaling of transformers."""
    forest = grid.forest
    below = np.zeros((grid.n_nodes, grid.n_nodes))
    for i in np.flatnonzero(forest.parent >= 0):
        below[i, i : forest.last[i]] = 1.0
    r2, x2 = (2.0 * below.T @ (z[:, None] * below) for z in (forest.r_scaled, forest.x_scaled))
    u_open = forest.u_root - (r2 @ forest.g_scaled - x2 @ forest.b_scaled) * forest.u_root
    back = forest.rank
    return (
        np.ascontiguousarray(r2[back][:, back]),
        np.ascontiguousarray(x2[back][:, back]),
        u_open[back][:, None],
        1.0 / np.sqrt(forest.tau[back])[:, None],
    )
