"""tensorpowerflow: its fixed point with a dense inverse ('tensor'), for networks that a dense matrix can hold."""

import functools
import warnings

import numpy as np

from benchmarks.cases import Case
from benchmarks.peers.bus_model import BusModel
from benchmarks.timing import Engine, timed

_LARGEST = 2_000  # buses


def engines(case: Case, threads: int) -> list[Engine]:
    """AC at its default tolerance and at 1e-8; it returns voltages only."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from tensorpowerflow import grid as tensor
    # a bar for each call would fill the log
    tensor.trange = functools.partial(tensor.trange, disable=True)
    model = BusModel.of(case.grid)
    if model is None or model.n_buses > _LARGEST:
        return []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        build, solver = timed(lambda: _solver(tensor.GridTensor, model))
    p, q = (np.ascontiguousarray(model.loads(values).T) for values in (case.p, case.q))

    def read(result: dict) -> tuple[np.ndarray, None]:
        magnitude = np.vstack([np.full(p.shape[0], model.v_root), np.abs(result["v"]).T * model.v_root])
        return model.voltages(magnitude), None

    return [
        Engine(
            f"tensorpowerflow tensor {tolerance:.0e}",
            f"AC to {tolerance:.0e}",
            lambda tolerance=tolerance: solver.run_pf_tensor(p, q, tolerance=tolerance),
            read,
            build_s=build,
        )
        for tolerance in (1e-6, 1e-8)
    ]


def _solver(kind, model: BusModel):
    import pandas as pd
    from scipy.sparse import diags

    n, m = model.n_buses, model.start.size
    one, zero = np.ones(n), np.zeros(n)
    nodes = pd.DataFrame(
        {"NODES": np.arange(1, n + 1), "Tb": (np.arange(n) == 0).astype(int), "PD": zero, "QD": zero, "Pct": one}
        | {"Ict": zero, "Zct": zero}
    )
    lines = pd.DataFrame(
        {"FROM": model.start + 1, "TO": model.end + 1, "R": model.r * 1e3, "X": model.x * 1e3, "B": np.zeros(m)}
        | {"STATUS": np.ones(m), "TAP": np.ones(m)}
    )
    solver = kind(
        "", "", from_file=False, nodes_frame=nodes, lines_frame=lines, s_base=1000, v_base=model.v_root, numba=False
    )  # the tensor method is plain numpy; its numba switch compiles the others
    z_base = model.v_root**2 * 1e3 / solver.s_base
    shunt = (model.g + 1j * model.b)[1:] / 1e3 * z_base
    solver._K_ = -np.linalg.inv((solver.Ydd_sparse + diags(shunt)).toarray())
    solver._L_ = solver._K_ @ solver.Yds
    return solver
