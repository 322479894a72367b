"""Merit order on a forest beside a sort of its prices and beside HiGHS: one large step, growth, and a batched day."""

import importlib.util
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.timing import Engine, interleave, milliseconds, ratio, timed
from flexcore.market.laminar import STATES, WAYS, TreeClearing, clear_tree

N_OFFERS, N_ELEMENTS = 1_000_000, 20_000
_PER_ELEMENT = N_OFFERS // N_ELEMENTS
_SUBSTATIONS = 25
_FEEDERS = 20  # of a substation
_HIGHS_SECONDS = 60.0
_FACTORS = (1, 2, 4, 8, 16)


@dataclass(frozen=True)
class Case:
    """Offers on a forest; prices also as floats without ties, for the sort."""

    title: str
    price: np.ndarray
    arguments: dict[str, Any]

    def clear(self, n_threads: int = 1) -> TreeClearing:
        """The whole public call."""
        return clear_tree(**self.arguments, n_threads=n_threads)

    def binding(self, result: TreeClearing) -> float:
        """Share of the elements below the root that are at a bound."""
        y = result.y_w[:, 0]
        lower, upper = self.arguments["lower_w"], self.arguments["upper_w"]
        return float(np.mean(((y == upper) | (y == lower))[1:]))


def city(n: int, rng: np.random.Generator) -> np.ndarray:
    """One root, substations, and feeders with side branches; parents come first."""
    parent = [-1, *([0] * min(_SUBSTATIONS, n - 1))]
    per_feeder = max(1, (n - len(parent)) // (_SUBSTATIONS * _FEEDERS))
    while len(parent) < n:
        start = len(parent)
        for k in range(min(per_feeder, n - start)):
            substation = 1 + start // per_feeder % min(_SUBSTATIONS, n - 1)
            parent.append(substation if k == 0 else start + max(0, k - int(rng.integers(1, 6))))
    return np.array(parent, np.int32)


def chain(n: int, rng: np.random.Generator) -> np.ndarray:
    """The deepest tree."""
    return np.arange(n, dtype=np.int32) - 1


def sums(parent: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Sums at and below each element; parents come first."""
    total = values.astype(np.int64)
    for i in range(parent.size - 1, 0, -1):
        total[parent[i]] += total[i]
    return total


def build(bounds: str, n_offers: int, n_elements: int, tree: Any = city) -> Case:
    """Random offers, times and ids.

    few: every element has an upper bound; most are three quarters of the volume below, one in a hundred binds.
    all: every element has its sum prescribed. mixed: every element has an upper or a lower bound at such sums.
    """
    rng = np.random.default_rng([n_offers, n_elements])
    parent = tree(n_elements, rng)
    node = rng.integers(0, n_elements, n_offers).astype(np.int32)
    quantity = rng.integers(1, 10_000, n_offers)
    price = rng.random(n_offers) * 1e9
    offered = np.bincount(node, quantity, n_elements)
    below = sums(parent, offered)
    lower, upper = np.full(n_elements, -(2**61)), np.full(n_elements, 2**61)
    if bounds == "few":
        upper = (0.75 * below).astype(np.int64) + 4 * 10_000
        tight = rng.choice(np.arange(1, n_elements), max(1, n_elements // 100), replace=False)
        upper[tight] = 0.3 * below[tight]
        upper[0] = 2**61
        total = int(0.4 * below[0])
        if tree is chain:  # bounds all along one path: only what they leave can be asked for
            upper = np.maximum(upper, 0.45 * below).astype(np.int64)
            upper[tight] = np.maximum(0.38 * below[tight], 1)
            total = int(0.3 * below[0])
    else:
        wanted = sums(parent, (offered * rng.uniform(0.2, 0.8, n_elements)).astype(np.int64))
        is_upper = np.ones(n_elements, np.bool_) if bounds == "all" else rng.random(n_elements) < 0.5
        is_lower = is_upper if bounds == "all" else ~is_upper
        upper[is_upper], lower[is_lower] = wanted[is_upper], wanted[is_lower]
        lower[0], upper[0] = -(2**61), 2**61
        total = int(wanted[0])
    arguments = {
        "price_ueur_per_mwh": price.astype(np.int64), "quantity_w": quantity[:, None], "node": node, "parent": parent,
        "lower_w": lower, "upper_w": upper, "total_w": total, "submitted_at": rng.integers(0, 10**9, n_offers),
        "offer_id": rng.permutation(n_offers),
    }  # fmt: skip
    return Case(f"{bounds}, {tree.__name__}", price, arguments)


def run(threads: int, quick: bool, rounds: int) -> list[dict[str, Any]]:
    """Rows beside the sort, growth, rows beside HiGHS, and the batched day."""
    n_offers, n_elements = (5_000, 100) if quick else (N_OFFERS, N_ELEMENTS)
    rows = []
    for bounds, tree in (("few", city), ("all", city), ("mixed", city), ("few", chain), ("mixed", chain)):
        rows += _beside_sort(build(bounds, n_offers, n_elements, tree), rounds)
    for bounds, tree in (("few", city), ("mixed", city), ("mixed", chain)):
        rows.append(_growth(bounds, tree, n_offers, rounds))
    rows += _beside_highs([2_000] if quick else [10_000 * 2**k for k in range(8)], threads, rounds)
    return rows + _batched(threads, quick, rounds)


def _beside_sort(case: Case, rounds: int) -> list[dict[str, Any]]:
    sort = Engine("argsort", "float64", lambda: np.argsort(case.price))
    own = Engine("clear_tree", "exact", case.clear, fresh=True)
    result = case.clear()
    assert STATES[result.state[0]] == "met"
    interleave([sort, own], rounds)
    row = {
        "name": f"market/{case.title}/{own.name}",
        "model": own.model,
        **milliseconds(own),
        "argsort_ms": milliseconds(sort)["ms"],
        "n_offers": case.price.size,
        "n_elements": case.arguments["parent"].size,
        "binding": case.binding(result),
        "way": WAYS[result.way[0]],
    }
    return [row | dict(zip(("times_argsort", "times_min", "times_max"), ratio(own, sort), strict=True))]


def _growth(bounds: str, tree: Any, largest: int, rounds: int) -> dict[str, Any]:
    """Slope of log time over log (n log n), offers and elements growing together."""
    sizes = [largest * factor // _FACTORS[-1] for factor in _FACTORS]
    engines = []
    for size in sizes:
        case = build(bounds, size, max(10, size // _PER_ELEMENT), tree)
        case.clear()
        engines.append(Engine(str(size), "exact", case.clear))
    interleave(engines, rounds)
    ms = [milliseconds(engine)["ms"] for engine in engines]
    work = [size * np.log2(size) for size in sizes]
    exponent = float(np.polyfit(np.log(work), np.log(ms), 1)[0])
    return {"name": f"market/growth: {bounds}, {tree.__name__}", "sizes": sizes, "sizes_ms": ms, "exponent": exponent}


def highs_model(case: Case) -> Any:
    """The same step for HiGHS, sparse: y of an element is y of those below plus what is accepted at it; kW and EUR."""
    import highspy

    arguments = case.arguments
    node, parent, quantity = arguments["node"], arguments["parent"], arguments["quantity_w"][:, 0]
    k, n = node.size, parent.size
    lower, upper = arguments["lower_w"].astype(float), arguments["upper_w"].astype(float)
    lower[0] = upper[0] = arguments["total_w"]
    lower[lower <= -(2.0**61)], upper[upper >= 2.0**61] = -np.inf, np.inf
    model = highspy.HighsLp()
    model.num_col_, model.num_row_ = k + n, n
    model.col_cost_ = np.concatenate([arguments["price_ueur_per_mwh"] / 1e6, np.zeros(n)])
    model.col_lower_ = np.concatenate([np.zeros(k), lower / 1e3])
    model.col_upper_ = np.concatenate([quantity / 1e3, upper / 1e3])
    model.row_lower_ = model.row_upper_ = np.zeros(n)
    entries = np.r_[np.ones(k, np.int64), 1 + (parent >= 0)]
    model.a_matrix_.format_ = highspy.MatrixFormat.kColwise
    model.a_matrix_.start_ = np.r_[0, np.cumsum(entries)].astype(np.int32)
    rows = np.stack([np.arange(n), parent], axis=1).ravel()
    values = np.tile([1.0, -1.0], n)
    model.a_matrix_.index_ = np.r_[node, rows[rows >= 0]].astype(np.int32)
    model.a_matrix_.value_ = np.r_[-np.ones(k), values[rows >= 0]]
    return model


def _by_highs(model: Any, solver: str, threads: int) -> tuple[float, float | None]:
    """Seconds of the solution alone, and the cost if it was found in time."""
    import highspy

    highs = highspy.Highs()
    highs.silent()
    # without presolve the interior point is nearly twice as fast here, and the simplex as fast as with it
    settings = {"solver": solver, "threads": threads, "time_limit": _HIGHS_SECONDS, "presolve": "off"}
    for name, value in settings.items():
        highs.setOptionValue(name, value)
    highs.passModel(model)
    seconds, _ = timed(highs.run)
    found = highs.getModelStatus() == highspy.HighsModelStatus.kOptimal
    cost = highs.getInfo().objective_function_value if found else None
    highs.resetGlobalScheduler(True)  # the number of threads is one for the whole process
    return seconds, cost


def _beside_highs(sizes: list[int], threads: int, rounds: int) -> list[dict[str, Any]]:
    """Larger and larger steps; a way of HiGHS that does not finish in time is not tried on a larger one.

    The simplex may look at its limit long after it has passed, so it is asked no more than once too often.
    """
    rows: list[dict[str, Any]] = []
    if importlib.util.find_spec("highspy") is None:
        return rows
    solvers = ["simplex", "ipm"]
    for size in sizes:
        case = build("few", size, max(20, size // _PER_ELEMENT))
        result = case.clear()
        own = Engine("clear_tree", "exact", case.clear)
        interleave([own], rounds)
        ms = milliseconds(own)["ms"]
        mine = float(np.dot(result.accepted_w[:, 0] / 1e3, case.arguments["price_ueur_per_mwh"] / 1e6))
        model = highs_model(case)
        for solver in tuple(solvers):
            seconds, cost = _by_highs(model, solver, threads)
            row = {"name": f"market/{size:,} offers/HiGHS {solver}", "model": f"LP, {threads} threads"}
            row |= {"ms": 1e3 * seconds, "n_offers": size, "n_elements": case.arguments["parent"].size}
            row |= {"own_ms": ms, "finished": cost is not None}
            if cost is None:
                solvers.remove(solver)
            else:
                row |= {"times_flexcore": 1e3 * seconds / ms, "cost_error": abs(cost - mine) / abs(mine)}
            rows.append(row)
        if not solvers:
            break
    return rows


def _batched(threads: int, quick: bool, rounds: int) -> list[dict[str, Any]]:
    """A day of 25 substations in one call, prices and needs of each step of its own."""
    n_offers, n_elements, n_steps = (1_000, 200, 8) if quick else (50_000, 10_000, 96)
    rng = np.random.default_rng(1)
    above = city(n_elements + 1, rng)[1:] - 1  # without the root, so that substations are roots
    parent = above.astype(np.int32)
    node = rng.integers(0, n_elements, n_offers).astype(np.int32)
    quantity = rng.integers(1, 10_000, (n_offers, n_steps))
    price = rng.integers(0, 10**9, (n_offers, n_steps))
    roots = np.flatnonzero(parent < 0)
    below = np.bincount(node, quantity.mean(axis=1), n_elements)
    for i in range(n_elements - 1, -1, -1):
        if parent[i] >= 0:
            below[parent[i]] += below[i]
    upper = (0.8 * below + 40_000).astype(np.int64)
    total = (below[roots, None] * rng.uniform(0.2, 0.5, (roots.size, n_steps))).astype(np.int64)

    def call(n_threads: int) -> TreeClearing:
        return clear_tree(
            price, quantity, node=node, parent=parent, upper_w=upper, total_w=total, n_threads=n_threads
        )  # fmt: skip

    result = call(1)
    assert (result.state == 0).all()
    assert (result.accepted_w == call(threads).accepted_w).all()
    by_step = np.ascontiguousarray(price.T.astype(float))
    sort = Engine("argsort", "float64", lambda: np.argsort(by_step, axis=1))
    engines = [Engine(f"clear_tree, {k} threads", "exact", lambda k=k: call(k)) for k in sorted({1, threads})]
    interleave([sort, *engines], rounds)
    rows = []
    for engine in engines:
        row = {"name": f"market/{n_steps} steps x {roots.size} substations/{engine.name}", "model": engine.model}
        row |= {**milliseconds(engine), "argsort_ms": milliseconds(sort)["ms"], "n_offers": n_offers}
        row |= {"n_elements": n_elements, "n_steps": n_steps, "way": WAYS[result.way[0]]}
        row |= dict(zip(("times_argsort", "times_min", "times_max"), ratio(engine, sort), strict=True))
        rows.append(row)
    return rows
