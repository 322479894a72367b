"""scipy's SuperLU: one sparse factorisation, all steps as right-hand sides; one thread."""

import numpy as np

from benchmarks.cases import Case
from benchmarks.peers.bus_model import BusModel
from benchmarks.timing import Engine, timed


def engines(case: Case, threads: int) -> list[Engine]:
    """DC; flows only."""
    from scipy.sparse import csc_array
    from scipy.sparse.linalg import splu

    model = BusModel.of(case.grid)
    if model is None:
        return []
    m = model.start.size
    of_branch, ends = np.tile(np.arange(m), 2), np.concatenate([model.start, model.end])
    incidence = csc_array((np.repeat([1.0, -1.0], m), (of_branch, ends)), (m, model.n_buses))
    weighted = incidence.multiply(1.0 / model.x[:, None]).tocsc()
    reduced = (incidence.T @ weighted).tocsc()[1:, 1:]
    build, factors = timed(lambda: splu(reduced))
    p = -model.loads(case.p)
    weighted = weighted[:, 1:].tocsr()

    def run():
        return weighted @ factors.solve(p)

    return [Engine("scipy splu", "DC, 1 thread", run, lambda flow: (None, flow), build_s=build)]
