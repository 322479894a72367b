"""Mixing selections so that voltage rows hold: a simplex over whole selections, in stages of falling importance.

Each column is a selection that respects all thermal rows, each row a voltage row in parts of what all offers together
could do to it. The answer is a mix of as many columns as rows bind, and one more; its multipliers are the prices at
which `nested_pass` looks for a column that would improve it.
"""

from typing import NamedTuple

import numpy as np

from flexcore.kernels._jit import inner

#: Unserved need, then cost, then place in the order of ties.
STAGES = 3
MAX_ROWS = 24
MAX_COLUMNS = 256
_PIVOT = 1e-9
_ROUNDING = 4e-15  # of one product, some units in its last place
_MAX_STEPS = 1000
_CIRCLES = 40


class Master(NamedTuple):
    """Columns, rows and basis. Variables: columns, then per row a gap (for needs) and what is above the row."""

    value: np.ndarray  # float64 (MAX_ROWS, MAX_COLUMNS): what a column does to a row
    worth: np.ndarray  # float64 (STAGES, MAX_COLUMNS)
    amount: np.ndarray  # float64 (MAX_ROWS,): value >= amount, up to the gap
    gap_w: np.ndarray  # float64 (MAX_ROWS,): unserved W of a whole gap, 0 for a limit
    shut: np.ndarray  # uint8 (MAX_COLUMNS + 2 * MAX_ROWS,): would be worse at an earlier stage
    basis: np.ndarray  # int64 (MAX_ROWS + 1,)
    inverse: np.ndarray  # float64 (MAX_ROWS + 1, MAX_ROWS + 1)
    share: np.ndarray  # float64 (MAX_ROWS + 1,): value of each basic variable
    dual: np.ndarray  # float64 (STAGES, MAX_ROWS + 1): of the sum of shares, then of the rows
    doubt: np.ndarray  # float64 (STAGES, MAX_ROWS + 1): by how much rounding may have moved a multiplier
    count: np.ndarray  # int64 (3,): rows, columns, steps of the simplex


@inner
def new_master():
    """Allocate a master without rows and columns."""
    rows = MAX_ROWS + 1
    return Master(
        np.zeros((MAX_ROWS, MAX_COLUMNS)),
        np.zeros((STAGES, MAX_COLUMNS)),
        np.zeros(MAX_ROWS),
        np.zeros(MAX_ROWS),
        np.zeros(MAX_COLUMNS + 2 * MAX_ROWS, np.uint8),
        np.zeros(rows, np.int64),
        np.zeros((rows, rows)),
        np.zeros(rows),
        np.zeros((STAGES, rows)),
        np.zeros((STAGES, rows)),
        np.zeros(3, np.int64),
    )


@inner
def _entry(master, variable, row):
    """Coefficient of a variable in row 0, the sum of shares, or in a voltage row, counted from 1."""
    if variable < MAX_COLUMNS:
        return 1.0 if row == 0 else master.value[row - 1, variable]
    r = (variable - MAX_COLUMNS) // 2
    if row != r + 1:
        return 0.0
    return 1.0 if (variable - MAX_COLUMNS) % 2 == 0 else -1.0


@inner
def _worth(master, variable, stage):
    if variable < MAX_COLUMNS:
        return master.worth[stage, variable]
    if stage == 0 and (variable - MAX_COLUMNS) % 2 == 0:
        return master.gap_w[(variable - MAX_COLUMNS) // 2]
    return 0.0


@inner
def reduced_cost(master, variable, stage):
    """What one more of a variable costs at the multipliers of a stage; 0 where that drowns in the sum's rounding."""
    worth = _worth(master, variable, stage)
    doubt = _ROUNDING * abs(worth)
    for i in range(master.count[0] + 1):
        entry = _entry(master, variable, i)
        worth -= master.dual[stage, i] * entry
        doubt += master.doubt[stage, i] * abs(entry)
    return worth if abs(worth) > doubt else 0.0


@inner
def _invert(master):
    """Invert the basis and find its shares; False if it is singular."""
    n = master.count[0] + 1
    table = np.zeros((n, 2 * n))
    for i in range(n):
        for b in range(n):
            table[i, b] = _entry(master, master.basis[b], i)
        table[i, n + i] = 1.0
    for b in range(n):
        best = b
        for i in range(b + 1, n):
            if abs(table[i, b]) > abs(table[best, b]):
                best = i
        if abs(table[best, b]) < 1e-13:
            return False
        for k in range(2 * n):
            table[b, k], table[best, k] = table[best, k], table[b, k]
        by = 1.0 / table[b, b]
        for k in range(2 * n):
            table[b, k] *= by
        for i in range(n):
            if i != b and table[i, b] != 0.0:
                by = table[i, b]
                for k in range(2 * n):
                    table[i, k] -= by * table[b, k]
    for b in range(n):
        share = table[b, n]
        for i in range(n):
            master.inverse[b, i] = table[b, n + i]
            if i > 0:
                share += table[b, n + i] * master.amount[i - 1]
        master.share[b] = share
    return True


@inner
def find_duals(master, stage):
    """Set the multipliers of a stage and return what the mix is worth."""
    n = master.count[0] + 1
    total = 0.0
    for i in range(n):
        master.dual[stage, i] = 0.0
        master.doubt[stage, i] = 0.0
    for b in range(n):
        worth = _worth(master, master.basis[b], stage)
        total += worth * master.share[b]
        for i in range(n):
            part = worth * master.inverse[b, i]
            master.dual[stage, i] += part
            master.doubt[stage, i] += _ROUNDING * abs(part)
    return total


@inner
def start(master):
    """Begin with column 0, which selects nothing and so breaks no row; needs are gaps."""
    master.shut[:] = 0
    master.basis[0] = 0
    for r in range(master.count[0]):
        need = master.gap_w[r] > 0.0
        master.shut[MAX_COLUMNS + 2 * r] = 0 if need else 1
        master.basis[r + 1] = MAX_COLUMNS + 2 * r + (0 if need else 1)
    return _invert(master)


@inner
def _enter(master, variable, by_number):
    """Bring a variable into the basis; False if that is not possible."""
    n = master.count[0] + 1
    leaving = -1
    least = 0.0
    size = 0.0
    for b in range(n):
        change = 0.0
        for i in range(n):
            change += master.inverse[b, i] * _entry(master, variable, i)
        # what an earlier stage shut out stays at zero, whichever way it would go
        held = master.shut[master.basis[b]] == 1
        if change > _PIVOT or (held and change < -_PIVOT):
            ratio = max(master.share[b], 0.0) / abs(change)
            tie = master.basis[b] < master.basis[leaving] if by_number else abs(change) > size
            if leaving < 0 or ratio < least - 1e-12 or (ratio <= least + 1e-12 and tie):
                leaving = b
                least = ratio
                size = abs(change)
    if leaving < 0:
        return False
    master.basis[leaving] = variable
    return _invert(master)


@inner
def improve(master, stage, tolerance):
    """Mix the known columns as well as this stage allows; False if the simplex gives up."""
    begun = master.count[2]
    while True:
        total = find_duals(master, stage)
        # many steps without an end: the rule of the lowest number cannot go round in circles
        by_number = master.count[2] > begun + _CIRCLES
        best = -1
        least = -max(tolerance, 1e-10 * abs(total) if stage > 0 else 0.0)
        for variable in range(MAX_COLUMNS + 2 * master.count[0]):
            if master.count[1] <= variable < MAX_COLUMNS or master.shut[variable] == 1:
                continue
            cost = reduced_cost(master, variable, stage)
            if cost < least:
                best = variable
                least = cost
                if by_number:
                    break
        if best < 0:
            return True
        master.count[2] += 1
        if master.count[2] > _MAX_STEPS or not _enter(master, best, by_number):
            return False


@inner
def shut_worse(master, stage, tolerance):
    """Shut out what would make a finished stage worse."""
    for variable in range(MAX_COLUMNS + 2 * master.count[0]):
        if master.count[1] <= variable < MAX_COLUMNS:
            continue
        if reduced_cost(master, variable, stage) > tolerance:
            master.shut[variable] = 1
