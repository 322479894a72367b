"""Certified bounds and capabilities on public feeders: a sample in every run, thousands of draws in the nightly one."""

import warnings

import numpy as np
import pytest

from benchmarks.feeders import FEEDERS as PUBLIC
from benchmarks.feeders import node_power
from flexcore import capability
from flexcore.grid.network import Grid
from flexcore.grid.power_flow import power_flow

FEEDERS = (
    "matpower 69", "matpower 118zh", "matpower 136ma", "matpower 141", "case33bw", "simbench MV urban",
    "simbench LV rural", "cigre MV",
)  # fmt: skip
TIGHT = {"method": "ac", "tolerance": 1e-12, "max_iterations": 2000}


def load(name):
    """Grid and its own loads and generators, kW and kvar."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        net = PUBLIC[name]()
    grid = Grid.from_pandapower(net)
    ones = {table: np.ones(len(net[table])) for table in ("load", "sgen", "storage")}
    return grid, *node_power(net, grid, ones)


def draws(rng, p, q, n):
    """Import, export and mixed states of any stress, each node with a factor of its own, any power factor."""
    sign = rng.choice([1.0, 1.0, 1.0, -1.0], n) * rng.uniform(0.1, 2.0, n)
    mixed = np.where(rng.random((p.size, n)) < rng.choice([0.0, 0.3], n), -1.0, 1.0)
    return (
        p[:, None] * rng.uniform(0.2, 1.8, (p.size, n)) * sign * mixed,
        q[:, None] * rng.uniform(-0.5, 1.8, (p.size, n)) * rng.uniform(0.1, 1.5, n),
    )


def certify(name, n):
    """Return draws with healthy voltages, those of them that are certified, and the largest voltage gap per draw."""
    grid, p, q = load(name)
    p_kw, q_kvar = draws(np.random.default_rng(len(name)), p, q, n)
    exact = power_flow(grid, p_kw, q_kvar, outputs=("branch_p_kw", "branch_q_kvar", "v_pu"), **TIGHT)
    bounds = power_flow(
        grid, p_kw, q_kvar, method="certified", outputs=("branch_p_kw", "branch_q_kvar", "v_pu", "loading")
    )
    sure = bounds.certified
    assert (exact.status[sure] == 0).all()
    for value, lo, hi in (
        (exact.v_pu, bounds.v_lo_pu, bounds.v_hi_pu),
        (exact.branch_p_kw, bounds.branch_p_lo_kw, bounds.branch_p_hi_kw),
        (exact.branch_q_kvar, bounds.branch_q_lo_kvar, bounds.branch_q_hi_kvar),
    ):
        room = 1e-10 * max(np.abs(value[:, sure]).max(initial=0.0), 1.0)
        assert (lo[:, sure] <= value[:, sure] + room).all()
        assert (value[:, sure] <= hi[:, sure] + room).all()
    healthy = (exact.status == 0) & (np.nan_to_num(exact.v_pu).min(axis=0) >= 0.9)
    gap = np.zeros(n)
    gap[sure] = (bounds.v_hi_pu - bounds.v_lo_pu)[:, sure].max(axis=0)
    return healthy, sure, gap[healthy & sure]


@pytest.mark.parametrize("n", [60, pytest.param(1250, marks=pytest.mark.nightly)])
def test_bounds_hold_the_ac_solution_on_public_feeders(n):
    healthy, sure, gaps = (np.concatenate(parts) for parts in zip(*(certify(name, n) for name in FEEDERS), strict=True))
    share = (healthy & sure).sum() / healthy.sum()
    print(f"{healthy.size} draws, {healthy.sum()} of them at 0.9 pu or above, {share:.2%} of these certified, ", end="")
    print(f"median of the largest voltage gap {np.median(gaps):.1e} pu")
    assert share >= 0.99
    assert np.median(gaps) <= 2e-4


def worst_fills(grid, movable, total):
    """One dispatch per node: that total, deepest first along the node's path, so that its voltage moves most."""
    forest = grid.forest
    columns = []
    for j in np.flatnonzero(forest.parent >= 0):
        seen, sequence, at = np.zeros(grid.n_nodes, bool), [], int(j)
        while at >= 0:
            below = np.arange(at, forest.last[at])
            sequence.append(below[~seen[below]])
            seen[below] = True
            at = int(forest.parent[at])
        node = forest.order[np.concatenate(sequence)]
        before = np.concatenate([[0.0], np.cumsum(movable[node])[:-1]])
        x = np.zeros(grid.n_nodes)
        x[node] = np.minimum(movable[node], np.maximum(total - before, 0.0))
        columns.append(x)
    return np.array(columns).T


def new_violation(grid, before, after):
    """Tell whether an element that kept its limits does so no more, or a solution is missing."""
    v_min, v_max = grid.v_min_pu[:, None], grid.v_max_pu[:, None]
    return bool(
        after.status.any()
        or ((after.loading > 1 + 1e-9) & (before.loading <= 1)).any()
        or ((after.v_pu < v_min - 1e-9) & (before.v_pu >= v_min)).any()
        or ((after.v_pu > v_max + 1e-9) & (before.v_pu <= v_max)).any()
    )


def largest_by_bisection(grid, p_kw, q_kvar, before, movable, sign):
    """Largest total whose worst fills all pass the AC power flow, as a share of all that could move."""
    everything = movable.sum()

    def safe(total):
        x = worst_fills(grid, movable, total)
        after = power_flow(grid, p_kw + sign * x, np.broadcast_to(q_kvar, x.shape), **TIGHT)
        return not new_violation(grid, before, after)

    if safe(everything):
        return 1.0
    low, high = 0.0, everything
    for _ in range(18):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if safe(middle) else (low, middle)
    return low / everything


SAMPLE = ("case33bw", "simbench LV rural")


@pytest.mark.parametrize(
    "name", [name if name in SAMPLE else pytest.param(name, marks=pytest.mark.nightly) for name in FEEDERS]
)
def test_capabilities_pass_ac_and_come_close_to_what_ac_allows(name):
    grid, p, q = load(name)
    rng = np.random.default_rng(5)
    movable = np.abs(p)
    shares = {"down": [], "up": []}
    for scale in (0.3, 0.6, -0.5):
        p_kw, q_kvar = (p * scale)[:, None], (q * abs(scale))[:, None]
        before = power_flow(grid, p_kw, q_kvar, **TIGHT)
        offers = movable[:, None]
        label = np.zeros(grid.n_nodes, int)
        caps = capability(grid, p_kw, q_kvar, up_kw=offers, down_kw=offers, perimeter=label)
        assert caps.certified.all()
        for way, sign in (("down", 1.0), ("up", -1.0)):
            cap = getattr(caps, f"{way}_kw")[0, 0]
            x = worst_fills(grid, movable, cap)
            after = power_flow(grid, p_kw + sign * x, np.broadcast_to(q_kvar, x.shape), **TIGHT)
            assert not new_violation(grid, before, after)
            exact = largest_by_bisection(grid, p_kw, q_kvar, before, movable, sign)
            if exact > 0.01:
                shares[way].append(cap / movable.sum() / exact)
        # both directions at once: every node takes part in one of them
        for _ in range(40):
            up_first = rng.random(grid.n_nodes) < 0.5
            both = np.zeros((grid.n_nodes, 1))
            for mine, cap, sign in ((up_first, caps.up_kw, -1.0), (~up_first, caps.down_kw, 1.0)):
                node = rng.permutation(np.flatnonzero(mine))
                left = cap[0, 0] - np.concatenate([[0.0], np.cumsum(movable[node])[:-1]])
                both[node, 0] = sign * np.minimum(movable[node], np.maximum(left, 0.0))
            assert not new_violation(grid, before, power_flow(grid, p_kw + both, q_kvar, **TIGHT))
    print(f"{name}: of what AC allows, down {min(shares['down']):.1%}, up {min(shares['up']):.1%} or more")
    assert min(shares["down"]) >= 0.95
    assert min(shares["up"]) >= 0.88
