"""Regulated busbars from what they are: tap changers, turned until the voltage behind them is the wanted one."""

from tests.reference.grid_power_flow import ac_sweep, linear, per_unit, random_network, walk


def turn_taps(nodes, branches, load_kva):
    """Solve the whole network with the ratio of each regulated busbar's branch that gives it its set voltage.

    Returns voltages, power into both ends of each branch, and the ratios by branch.
    """
    node_rows, _, elements = per_unit(nodes, branches)
    feeding = walk(node_rows, elements)
    fed_by = {key: branches["id"].index(feed[1]["id"]) for key, feed in feeding.items() if feed is not None}
    wanted = {
        key: v for key, v, held in zip(nodes["id"], nodes["v_set_pu"], nodes["regulated"], strict=True) if held
    }  # fmt: skip
    turned = {**branches, "ratio": list(branches["ratio"])}
    for _ in range(200):
        voltages = ac_sweep(nodes, turned, load_kva, sweeps=40)
        off = {key: abs(voltages[key]) / v for key, v in wanted.items()}
        if all(abs(factor - 1) < 1e-12 for factor in off.values()):
            ratios = {branches["id"][fed_by[key]]: turned["ratio"][fed_by[key]] for key in wanted}
            return voltages, end_flows(nodes, turned, voltages), ratios
        for key, factor in off.items():
            turned["ratio"][fed_by[key]] *= factor
    raise AssertionError("the taps did not settle")


def end_flows(nodes, branches, v):
    """Power into both ends of each branch from the voltages: what flows through the series impedance, and the pi."""
    flows = {}
    for e in per_unit(nodes, branches)[2]:
        inner = v[e["f"]] / e["n"]
        series = (inner - v[e["t"]]) / e["z"]
        into_from = inner * (series + e["half"] * inner).conjugate()
        flows[e["id"]] = (into_from, v[e["t"]] * (e["half"] * v[e["t"]] - series).conjugate())
    return flows


def drawn_through(nodes, branches, branch, below_kva, v_set, *, lossy, near_at_set):
    """Power that a busbar at `v_set` draws through its transformer: complex power behind the tap changer."""
    _, _, elements = per_unit(nodes, branches)
    e = next(element for element in elements if element["id"] == branch)
    current = (below_kva / v_set).conjugate() + e["half"] * v_set
    behind = v_set + e["z"] * current if lossy else v_set
    series = behind * current.conjugate() if lossy else v_set * current.conjugate()
    at_shunt = v_set if near_at_set else abs(behind)
    return series + at_shunt**2 * e["half"].conjugate()


def random_regulated(rng, n_nodes, n_busbars, n_roots=1):
    """Random network with busbars behind tap changers at any depth; their branches are declared from the parent."""
    nodes, branches = random_network(rng, n_nodes, n_roots, text_ids=True)
    node_rows, _, elements = per_unit(nodes, branches)
    feeding = walk(node_rows, elements)
    free = [key for key, feed in feeding.items() if feed is not None]
    chosen = set(rng.choice(free, min(n_busbars, len(free)), replace=False).tolist())
    for key in chosen:
        near, e = feeding[key]
        at = branches["id"].index(e["id"])
        if branches["to_id"][at] != key:  # impedances count at the to side's voltage
            factor = (node_rows[key]["v_nom_kv"] / node_rows[near]["v_nom_kv"]) ** 2
            for name, change in (("r_ohm", factor), ("x_ohm", factor), ("g_us", 1 / factor), ("b_us", 1 / factor)):
                branches[name][at] *= change
            branches["from_id"][at], branches["to_id"][at] = near, key
    nodes["regulated"] = [key in chosen for key in nodes["id"]]
    return nodes, branches


def _part(nodes, branches, keys, slack):
    inside = [at for at, key in enumerate(nodes["id"]) if key in keys]
    part = {name: [column[at] for at in inside] for name, column in nodes.items() if name != "regulated"}
    part["slack"] = [key in slack for key in part["id"]]
    lines = [at for at, key in enumerate(branches["id"]) if {branches["from_id"][at], branches["to_id"][at]} <= keys]
    return part, {name: [column[at] for at in lines] for name, column in branches.items()}


def linear_by_levels(nodes, branches, load_kva, loss_sweeps):
    """LinDistFlow of each busbar's tree as a network of its own, the lowest first; what it draws is a load above."""
    node_rows, shunt, elements = per_unit(nodes, branches)
    feeding = walk(node_rows, elements)
    held = dict(zip(nodes["id"], nodes["regulated"], strict=True))
    roots = [key for key, feed in feeding.items() if feed is None or held[key]]
    home = {}
    for key, feed in feeding.items():
        home[key] = key if key in roots else home[feed[0]]
    load, u, flows = dict(load_kva), {}, {}
    for root in reversed(roots):
        keys = {key for key, at in home.items() if at == root}
        part = _part(nodes, branches, keys, {root})
        own_u, own_flows = linear(*part, load, loss_sweeps)
        u |= own_u
        flows |= own_flows
        if feeding[root] is None:
            continue
        v = node_rows[root]["v_set_pu"]
        below = load.get(root, 0) + shunt[root].conjugate() * v * v
        for e in elements:
            if e["id"] in own_flows and root in (e["f"], e["t"]):
                below += own_flows[e["id"]][0 if e["f"] == root else 1]
        near, e = feeding[root]
        drawn = drawn_through(nodes, branches, e["id"], below, v, lossy=loss_sweeps > 0, near_at_set=True)
        flows[e["id"]] = (drawn, -below)
        load[near] = load.get(near, 0) + drawn
    return u, flows
