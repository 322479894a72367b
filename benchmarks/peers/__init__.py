"""What a user could pick instead: one engine per file, on the same net loads, in its best documented settings.

Every file has `engines(case, threads)`, which returns the rows that the engine can give for a case: none where it is
not installed or where the case does not fit it. Only transposing and reordering of inputs and outputs is left out of
the times, for all.
"""

import importlib
import importlib.util

from benchmarks.cases import Case
from benchmarks.timing import Engine

#: File of each peer and the package that it needs.
PEERS = {
    "power_grid_model": "power_grid_model",
    "lightsim2grid": "lightsim2grid",
    "tensorpowerflow": "tensorpowerflow",
    "pandapower": "pandapower",
    "pypsa": "pypsa",
    "dense_ptdf": "numpy",
    "sparse_lu": "scipy",
}


def peer_engines(case: Case, threads: int) -> list[Engine]:
    """Rows of all peers that are installed and that the case fits."""
    rows = []
    for name, package in PEERS.items():
        if importlib.util.find_spec(package) is not None:
            rows += importlib.import_module(f"benchmarks.peers.{name}").engines(case, threads)
    return rows
