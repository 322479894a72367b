"""Sensitivities and headrooms on one step, by a dense Jacobian, by differences of flows, and by bisection.

A network is two tables as in `grid_power_flow`; `load` maps node to complex load in kVA. Results are dicts.
"""

import numpy as np

from tests.reference.grid_power_flow import ac_newton, per_unit, rows, walk


def admittance(nodes, branches):
    """Node keys and the dense admittance matrix, and what leaves each node is conj(v * ...)."""
    node_rows, shunt, elements = per_unit(nodes, branches)
    keys = list(node_rows)
    y = np.diag([shunt[key] for key in keys]).astype(complex)
    for e in elements:
        f, t, series, n = keys.index(e["f"]), keys.index(e["t"]), 1 / e["z"], e["n"]
        y[f, f] += (series + e["half"]) / abs(n) ** 2
        y[f, t] -= series / n.conjugate()
        y[t, f] -= series / n
        y[t, t] += series + e["half"]
    return keys, [bool(node_rows[key]["slack"]) for key in keys], y


def dense(nodes, branches, load):
    """Derivatives of voltages and of the total loss by the powers withdrawn, from the inverse of the whole Jacobian.

    Returns dv/dp, dv/dq as matrices over the keys, dloss/dp, dloss/dq as vectors, and the keys.
    """
    keys, slack, y = admittance(nodes, branches)
    solved, _ = ac_newton(nodes, branches, load)
    v = np.array([solved[key] for key in keys])
    n, free = len(keys), [k for k in range(len(keys)) if not slack[k]]
    # power into the network at each node is v conj(y v); real unknowns: real parts, then imaginary parts
    one, two = np.diag((y @ v).conj()), np.diag(v) @ y.conj()
    full = np.block([[(one + two).real, -(one - two).imag], [(one + two).imag, (one - two).real]])
    at = free + [n + k for k in free]
    dx = np.zeros((2 * n, 2 * n))
    dx[np.ix_(at, at)] = -np.linalg.inv(full[np.ix_(at, at)])  # columns: p, then q withdrawn
    dv = (v.real[:, None] * dx[:n] + v.imag[:, None] * dx[n:]) / abs(v)[:, None]
    fed = full[[k for k in range(n) if slack[k]]] @ dx
    loss = fed.sum(axis=0)
    loss[free] -= 1.0
    return dv[:, :n], dv[:, n:], loss[:n], loss[n:], keys


def total_loss(nodes, branches, load):
    """Active power that all slack nodes feed, less what is withdrawn elsewhere."""
    keys, slack, y = admittance(nodes, branches)
    solved, _ = ac_newton(nodes, branches, load)
    v = np.array([solved[key] for key in keys])
    into = (v * (y @ v).conj()).real
    return sum(into[k] for k in range(len(keys)) if slack[k]) - sum(
        load.get(key, 0).real for k, key in enumerate(keys) if not slack[k]
    )


def by_differences(nodes, branches, load, key, h=0.5):
    """Central differences by 1 kW and 1 kvar at one node: (dv/dp, dv/dq) as dicts, (dloss/dp, dloss/dq)."""
    volts, losses = [], []
    for unit in (1.0, 1.0j):
        more, less = ({**load, key: load.get(key, 0) + sign * h * unit} for sign in (1, -1))
        a, b = ac_newton(nodes, branches, more)[0], ac_newton(nodes, branches, less)[0]
        volts.append({name: (abs(a[name]) - abs(b[name])) / (2 * h) for name in a})
        losses.append((total_loss(nodes, branches, more) - total_loss(nodes, branches, less)) / (2 * h))
    return volts, losses


def transfer(nodes, branches):
    """Flow that enters each branch at its from end for 1 kW withdrawn at each node, {(branch, node): +-1}."""
    node_rows, _, elements = per_unit(nodes, branches)
    feeding = walk(node_rows, elements)
    entries = {}
    for key in feeding:
        at = key
        while feeding[at] is not None:
            near, e = feeding[at]
            entries[e["id"], key] = 1 if near == e["f"] else -1
            at = near
    return entries


def holds(nodes, branches, load):
    """Tell that an AC solution exists in which no branch and no node is beyond its limits; roots are not looked at."""
    table = {row["id"]: row for row in rows(nodes, {"v_min_pu": 0.9, "v_max_pu": 1.1})}
    try:
        v, ends = ac_newton(nodes, branches, load)
    except (AssertionError, np.linalg.LinAlgError):
        return False
    for key, row in table.items():
        if not row["slack"] and not row["v_min_pu"] <= abs(v[key]) <= row["v_max_pu"]:
            return False
    for row in rows(branches, {"s_max_kva": np.inf, "s_max_reverse_kva": np.nan}):
        into_from, into_to = ends[row["id"]]
        back = row["s_max_kva"] if np.isnan(row["s_max_reverse_kva"]) else row["s_max_reverse_kva"]
        for power, limit_in, limit_out, node in (
            (into_from, row["s_max_kva"], back, row["from_id"]),
            (into_to, back, row["s_max_kva"], row["to_id"]),
        ):
            limit = limit_in if power.real >= 0 else limit_out
            if abs(power) > limit * abs(v[node]):
                return False
    return True


def headroom(nodes, branches, load, key, *, up, tan_phi=0.0, most=1e5):
    """Largest power of one node in one direction before a limit breaks; 0 where one is broken already."""
    sign = -(1 + 1j * tan_phi) if up else 1 + 1j * tan_phi

    def fits(x):
        return holds(nodes, branches, {**load, key: load.get(key, 0) + sign * x})

    if not fits(0.0):
        return 0.0
    low, high = 0.0, 1.0
    while high < most and fits(high):
        low, high = high, 2 * high
    for _ in range(30):
        middle = (low + high) / 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low
