"""Slow, obvious power flows on one step, written with dicts and loops from the text-book equations.

A network is two tables as `Grid.from_tables` takes them: nodes and branches as mappings of lists. Nothing here scales
transformers away or numbers nodes in any order: ratios stand where they are declared.
"""

import cmath
import math

import numpy as np

NODE_DEFAULTS = {"v_set_pu": 1.0, "pv": False, "g_us": 0.0, "b_us": 0.0}
BRANCH_DEFAULTS = {"g_us": 0.0, "b_us": 0.0, "ratio": 1.0, "shift_deg": 0.0}


def rows(table, defaults):
    """Rows of a table as dicts."""
    n = len(table["id"])
    full = {**{name: [value] * n for name, value in defaults.items()}, **table}
    return [{name: full[name][k] for name in full} for k in range(n)]


def per_unit(nodes, branches):
    """Complex admittances on 1 kVA: own shunt of each node; series and half charging of each branch; complex ratio."""
    node_rows = {row["id"]: row for row in rows(nodes, NODE_DEFAULTS)}
    shunt = {
        key: complex(row["g_us"], row["b_us"]) * 1e-6 * (row["v_nom_kv"] * 1e3) ** 2 / 1e3
        for key, row in node_rows.items()
    }
    elements = []
    for row in rows(branches, BRANCH_DEFAULTS):
        z_base = (node_rows[row["to_id"]]["v_nom_kv"] * 1e3) ** 2 / 1e3
        elements.append(
            {
                "id": row["id"],
                "f": row["from_id"],
                "t": row["to_id"],
                "z": complex(row["r_ohm"], row["x_ohm"]) / z_base,
                "half": complex(row["g_us"], row["b_us"]) * 1e-6 * z_base / 2,
                "n": row["ratio"] * cmath.exp(1j * math.radians(row["shift_deg"])),
            }
        )
    return node_rows, shunt, elements


def ac_newton(nodes, branches, load_kva):
    """Dense Newton-Raphson; `load_kva` maps node to complex load. Returns voltages, power into both ends.

    Loops are welcome. A PV node has the equation of its voltage in place of that of its reactive power.
    """
    node_rows, shunt, elements = per_unit(nodes, branches)
    keys = list(node_rows)
    at = {key: k for k, key in enumerate(keys)}
    y = np.zeros((len(keys), len(keys)), complex)
    for key in keys:
        y[at[key], at[key]] += shunt[key]
    ends = {}
    for e in elements:
        f, t, series, n = at[e["f"]], at[e["t"]], 1 / e["z"], e["n"]
        yff, yft = (series + e["half"]) / abs(n) ** 2, -series / n.conjugate()
        ytf, ytt = -series / n, series + e["half"]
        y[f, f] += yff
        y[f, t] += yft
        y[t, f] += ytf
        y[t, t] += ytt
        ends[e["id"]] = (f, t, yff, yft, ytf, ytt)
    free = [k for k, key in enumerate(keys) if not node_rows[key]["slack"]]
    v = np.array([complex(node_rows[key]["v_set_pu"]) if node_rows[key]["slack"] else 1.0 for key in keys])
    v = _no_load(y, v, free)
    held = np.array([bool(node_rows[keys[k]]["pv"]) for k in free], bool)
    set_point = np.array([node_rows[keys[k]]["v_set_pu"] for k in free])
    s = np.array([load_kva.get(key, 0) for key in keys], complex)
    for _ in range(30):
        i = y @ v
        mismatch = (v * i.conj() + s)[free]
        mismatch.imag[held] = (np.abs(v[free]) ** 2 - set_point**2)[held]
        if np.abs(mismatch).max(initial=0) < 1e-9 * max(1.0, np.abs(s).max()) and (
            np.abs(mismatch.imag[held]).max(initial=0) < 1e-12
        ):
            break
        # d(v conj(i)) = diag(conj(i)) dv + diag(v) conj(y) conj(dv)
        one = np.diag(i.conj())[np.ix_(free, free)]
        two = (np.diag(v) @ y.conj())[np.ix_(free, free)]
        jacobian = np.block([[(one + two).real, -(one - two).imag], [(one + two).imag, (one - two).real]])
        for k in np.flatnonzero(held):
            jacobian[len(free) + k] = 0.0
            jacobian[len(free) + k, [k, len(free) + k]] = 2 * v[free[k]].real, 2 * v[free[k]].imag
        step = np.linalg.solve(jacobian, -np.concatenate([mismatch.real, mismatch.imag]))
        v[free] += step[: len(free)] + 1j * step[len(free) :]
    else:
        raise AssertionError("the reference did not converge")
    flows = {
        key: (v[f] * (yff * v[f] + yft * v[t]).conjugate(), v[t] * (ytf * v[f] + ytt * v[t]).conjugate())
        for key, (f, t, yff, yft, ytf, ytt) in ends.items()
    }
    return dict(zip(keys, v, strict=True)), flows


def _no_load(y, v, free):
    """Voltages without load, as the start: phase shifts would be too far from a flat one."""
    fixed = [k for k in range(len(v)) if k not in free]
    v = v.copy()
    if free:
        v[free] = np.linalg.solve(y[np.ix_(free, free)], -y[np.ix_(free, fixed)] @ v[fixed])
    return v


def walk(node_rows, elements):
    """Nodes from the roots outwards with the branch that feeds each; None for a root."""
    feeding = {key: None for key, row in node_rows.items() if row["slack"]}
    grown = True
    while grown:
        grown = False
        for e in elements:
            for near, far in ((e["f"], e["t"]), (e["t"], e["f"])):
                if near in feeding and far not in feeding:
                    feeding[far] = (near, e)
                    grown = True
    return feeding


def ac_sweep(nodes, branches, load_kva, *, sweeps=200):
    """Backward and forward sweeps in complex currents, ratios where they stand; voltages only."""
    node_rows, shunt, elements = per_unit(nodes, branches)
    feeding = walk(node_rows, elements)
    v = {key: complex(node_rows[key]["v_set_pu"]) for key in feeding}
    for key, feed in feeding.items():
        if feed:
            near, e = feed
            v[key] = v[near] / e["n"] if near == e["f"] else v[near] * e["n"]
    for _ in range(sweeps):
        current = {key: (load_kva.get(key, 0) / v[key]).conjugate() + shunt[key] * v[key] for key in feeding}
        series = {}
        for key in reversed(list(feeding)):
            if feeding[key] is None:
                continue
            near, e = feeding[key]
            if near == e["f"]:  # pi between the transformer's inner side and the child
                series[key] = current[key] + e["half"] * v[key]
                inner = v[near] / e["n"]
                current[near] += (series[key] + e["half"] * inner) / e["n"].conjugate()
            else:  # the child sits behind the transformer
                inner = v[key] / e["n"]
                series[key] = current[key] * e["n"].conjugate() + e["half"] * inner
                current[near] += series[key] + e["half"] * v[near]
        for key, feed in feeding.items():
            if feed is None:
                continue
            near, e = feed
            if near == e["f"]:
                v[key] = v[near] / e["n"] - e["z"] * series[key]
            else:
                v[key] = (v[near] - e["z"] * series[key]) * e["n"]
    return v


def linear(nodes, branches, load_kva, loss_sweeps):
    """LinDistFlow: squared voltages and the power into both branch ends.

    Each loss sweep takes the current of a branch from the flow at its far end (losses below already in) and the squared
    voltage there of the sweep before, shunts take that voltage too; the first sweep takes the no-load voltage. Without
    loss sweeps there is one sweep without currents.
    """
    node_rows, shunt, elements = per_unit(nodes, branches)
    feeding = walk(node_rows, elements)
    idle = {}
    for key, feed in feeding.items():
        if feed is None:
            idle[key] = node_rows[key]["v_set_pu"] ** 2
        else:
            near, e = feed
            idle[key] = idle[near] / abs(e["n"]) ** 2 if near == e["f"] else idle[near] * abs(e["n"]) ** 2
    u, flows = dict(idle), {}
    for _ in range(max(loss_sweeps, 1)):
        taken = {key: load_kva.get(key, 0) + shunt[key].conjugate() * u[key] for key in feeding}
        at_child, loss = {}, {}
        for key in reversed(list(feeding)):
            if feeding[key] is None:
                continue
            near, e = feeding[key]
            ratio2 = abs(e["n"]) ** 2
            # voltages at the two ends of the series impedance
            inner = u[near] / ratio2 if near == e["f"] else u[key] / ratio2
            u_far = u[key] if near == e["f"] else inner
            u_near = inner if near == e["f"] else u[near]
            at_child[key] = taken[key] + e["half"].conjugate() * u_far
            loss[key] = abs(at_child[key]) ** 2 / u_far if loss_sweeps else 0
            sending = at_child[key] + e["z"] * loss[key]
            end = e["half"].conjugate() * u_near
            taken[near] += sending + end
            into_near = sending + end
            into_far = e["half"].conjugate() * u_far - at_child[key]
            flows[e["id"]] = (into_near, into_far) if near == e["f"] else (into_far, into_near)
        u = {}
        for key, feed in feeding.items():
            if feed is None:
                u[key] = idle[key]
                continue
            near, e = feed
            ratio2 = abs(e["n"]) ** 2
            drop = 2 * (e["z"].conjugate() * at_child[key]).real + abs(e["z"]) ** 2 * loss[key]
            u[key] = u[near] / ratio2 - drop if near == e["f"] else (u[near] - drop) * ratio2
    return u, flows


def dc(nodes, branches, load_kw):
    """Dense susceptance matrix: angles in radian and the power into the from end."""
    node_rows, shunt, elements = per_unit(nodes, branches)
    keys = list(node_rows)
    at = {key: k for k, key in enumerate(keys)}
    b, p = np.zeros((len(keys), len(keys))), np.zeros(len(keys))
    for key in keys:
        p[at[key]] -= load_kw.get(key, 0.0) + shunt[key].real
    for e in elements:
        f, t, y, shift = at[e["f"]], at[e["t"]], 1 / (e["z"].imag * abs(e["n"])), cmath.phase(e["n"])
        b[f, f] += y
        b[t, t] += y
        b[f, t] -= y
        b[t, f] -= y
        p[f] += y * shift
        p[t] -= y * shift
    free = [k for k, key in enumerate(keys) if not node_rows[key]["slack"]]
    angle = np.zeros(len(keys))
    if free:
        angle[free] = np.linalg.solve(b[np.ix_(free, free)], p[free])
    flow = {
        e["id"]: (angle[at[e["f"]]] - angle[at[e["t"]]] - cmath.phase(e["n"])) / (e["z"].imag * abs(e["n"]))
        for e in elements
    }
    return dict(zip(keys, angle, strict=True)), flow


def random_network(rng, n_nodes, n_roots=1, *, taps=True, shunts=True, text_ids=False):
    """Random trees in random node and branch order, declared in random direction, two voltage levels."""
    parent = [-1] * n_roots + [int(rng.integers(max(0, k - 6), k)) for k in range(n_roots, n_nodes)]
    level = [20.0] * n_roots
    v_set = rng.uniform(0.98, 1.05, n_nodes)
    branches = {name: [] for name in ("id", "from_id", "to_id", "r_ohm", "x_ohm", *BRANCH_DEFAULTS)}
    names = rng.permutation(np.arange(100, 100 + n_nodes))
    key = [f"n{name}" if text_ids else int(name) for name in names]
    for k in range(n_roots, n_nodes):
        change = bool(rng.random() < 0.3)
        level.append((0.4 if level[parent[k]] == 20.0 else 20.0) if change else level[parent[k]])
        ends = (parent[k], k) if rng.random() < 0.5 else (k, parent[k])
        v_to = level[ends[1]]
        z = rng.uniform(0.2, 1.0) * (1 + 1j * rng.uniform(0.1, 3.0)) * 4e-6 * v_to**2 * 1e3
        branches["id"].append(f"b{k}" if text_ids else 1000 + k)
        branches["from_id"].append(key[ends[0]])
        branches["to_id"].append(key[ends[1]])
        branches["r_ohm"].append(z.real)
        branches["x_ohm"].append(z.imag)
        us = 1e3 / v_to**2  # gives 1 kW or kvar at nominal voltage
        branches["g_us"].append(rng.uniform(0, 2) * us if shunts else 0.0)
        branches["b_us"].append(rng.uniform(0, 20) * us if shunts else 0.0)
        branches["ratio"].append(rng.uniform(0.95, 1.05) if taps and change else 1.0)
        branches["shift_deg"].append(float(rng.choice([0.0, 150.0, -30.0])) if taps and change else 0.0)
    us = 1e3 / np.array(level) ** 2
    nodes = {
        "id": key,
        "v_nom_kv": level,
        "slack": [k < n_roots for k in range(n_nodes)],
        "v_set_pu": list(v_set),
        "g_us": list(rng.uniform(0, 3, n_nodes) * us * shunts),
        "b_us": list(rng.uniform(-10, 10, n_nodes) * us * shunts),
    }
    mixed = {}
    for name, table in (("nodes", nodes), ("branches", branches)):
        order = rng.permutation(len(table["id"]))
        mixed[name] = {column: [table[column][k] for k in order] for column in table}
    return mixed["nodes"], mixed["branches"]


def with_loops(rng, nodes, branches, n_loops, *, off=0.0, pv_share=0.0):
    """Close random loops in the tables of a random network, and hold some voltages.

    A new branch has the ratio and shift that the paths of its ends have between them, but for up to `off` in ratio and
    20 * off degrees: more would drive a current around the loop that no load would.
    """
    node_rows, _, elements = per_unit(nodes, branches)
    turn = {}
    for key, feed in walk(node_rows, elements).items():
        if feed is None:
            turn[key] = 1.0 + 0j
        else:
            near, e = feed
            turn[key] = turn[near] * e["n"] if near == e["f"] else turn[near] / e["n"]
    nodes = {name: list(column) for name, column in nodes.items()}
    branches = {name: list(column) for name, column in branches.items()}
    for k in range(n_loops):
        one, other = (int(i) for i in rng.choice(len(nodes["id"]), 2, replace=False))
        n = turn[nodes["id"][other]] / turn[nodes["id"][one]]
        z_base = nodes["v_nom_kv"][other] ** 2 * 1e3
        branches["id"].append(f"loop{k}" if isinstance(nodes["id"][0], str) else 9000 + k)
        branches["from_id"].append(nodes["id"][one])
        branches["to_id"].append(nodes["id"][other])
        branches["r_ohm"].append(rng.uniform(0.5, 2.0) * 4e-6 * z_base)
        branches["x_ohm"].append(rng.uniform(0.5, 2.0) * 4e-6 * z_base)
        branches["g_us"].append(rng.uniform(0, 2) * 1e6 / z_base)
        branches["b_us"].append(rng.uniform(0, 20) * 1e6 / z_base)
        branches["ratio"].append(abs(n) * (1 + off * rng.uniform(-1, 1)))
        shift = math.degrees(cmath.phase(n)) + 20 * off * rng.uniform(-1, 1)
        branches["shift_deg"].append((shift + 180.0) % 360.0 - 180.0)
    nodes["pv"] = [bool(rng.random() < pv_share) for _ in nodes["id"]]
    return nodes, branches
