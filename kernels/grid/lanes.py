"""Work rows of the sweeps: one row a node, in it one run of lanes for each quantity, at fixed distances.

The distances are constants, so the compiler sees that the quantities of a node do not overlap. It then vectorises loops
that read and write many of them after a single check, of the node's row against its parent's; with rows at distances
known only at run time it gives up beyond eight checks.
"""

import numpy as np

from flexcore.kernels._jit import fetch_ahead, inner, per_line

#: Steps in a block at most. Not a power of two: rows at a distance of whole pages would delay each other's loads.
LANES = 136


@inner
def lanes(row, quantity, width):
    """Return the lanes of one quantity in a node's row."""
    return row[quantity * LANES : quantity * LANES + width]


@inner
def fetch_row(array, row, start, width):
    """Ask for `width` entries of a row ahead of time.

    Trees lie scattered over the user's arrays, and a row of one block is too short for the processor to see a pattern:
    it would wait for memory at the start of each row.
    """
    first = np.int64(start)
    for t in range(first, first + np.int64(width), per_line(array)):
        fetch_ahead(array, np.int64(row), t)
