"""Continuous book: arrivals per second on 1,000 elements, in one book and in one book a quarter-hour."""

from typing import Any

import numpy as np

from benchmarks.timing import Engine, interleave, milliseconds
from flexcore.market.continuous_book import continuous_book


def market(n_orders: int, n_elements: int, n_steps: int, *, bound_share: float = 0.2) -> dict[str, Any]:
    """Arrivals in random order: 60 % offers anywhere, 40 % requests, half of them at one of the 30 first elements.

    Every fifth element has limits near a fifth of what is offered below it. For down the BSP pays, so that offers of
    the two directions cross as well.
    """
    rng = np.random.default_rng(0)
    parent = np.array([max(0, i - int(back)) for i, back in enumerate(rng.integers(1, 60, n_elements))])
    parent[0] = 0
    request = rng.random(n_orders) < 0.4
    high = rng.random(n_orders) < 0.5
    element = np.where(request & high, rng.integers(0, 30, n_orders), rng.integers(0, n_elements, n_orders))
    arrived = np.arange(n_orders)
    down = rng.integers(0, 2, n_orders).astype(np.int8)
    price = rng.integers(20_000_000, 180_000_000, n_orders)
    orders = {
        "order_id": arrived,
        "kind": request.astype(np.int8),
        "element": element,
        "direction": down,
        "step": rng.integers(0, n_steps, n_orders),
        "quantity_w": rng.integers(1_000, 20_000, n_orders),
        "price_ueur_per_mwh": np.where(down == 1, -price, price) - np.where(request, 40_000_000, 0),
        "arrived_at": arrived,
        "expires_at": np.where(rng.random(n_orders) < 0.5, arrived + 1 + rng.integers(1, n_orders, n_orders), 2**62),
    }
    below = np.zeros(n_elements)
    np.add.at(below, element[~request], orders["quantity_w"][~request] / n_steps / 2)
    for i in range(n_elements - 1, 0, -1):
        below[parent[i]] += below[i]
    bound = np.flatnonzero(rng.random(n_elements) < bound_share)
    rows, step, way = (x.ravel() for x in np.meshgrid(bound, np.arange(n_steps), [0, 1], indexing="ij"))
    limits = {
        "element": rows, "direction": way, "step": step, "capability_w": (below[rows] * 0.2).astype(np.int64),
    }  # fmt: skip
    tree = {"element": np.arange(n_elements), "parent": parent}
    return {"orders": orders, "limits": limits, "parent": tree}


def run(threads: int, quick: bool, rounds: int) -> list[dict[str, Any]]:
    """Time the whole call, checks and sorting included."""
    n_orders, n_elements = (5_000, 100) if quick else (1_000_000, 1_000)
    results = []
    for name, n_steps, options in (
        ("one book", 1, {}),
        ("96 books", 96, {}),
        ("96 books, peers too", 96, {"peer_trades": True}),
        ("96 books, scanned again", 96, {"rescan": True}),
    ):
        case = market(n_orders, n_elements, n_steps)
        engine = Engine(
            name,
            "price-time priority with grid room",
            lambda case=case, options=options: continuous_book(**case, **options, n_threads=threads),
        )
        result = engine.run()
        interleave([engine], rounds)
        row = {"name": f"continuous_book/{name}", "model": engine.model, **milliseconds(engine), "n_orders": n_orders}
        row |= {"n_elements": n_elements, "n_steps": n_steps, "n_trades": int(result.trade_w.size)}
        results.append(row | {"orders_per_s": round(n_orders / (row["ms"] / 1000.0))})
    return results
