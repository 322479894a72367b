"""Random cases of the continuous book: a forest, bounds, further rows, orders of every kind; and ways to run them."""

from types import SimpleNamespace

import numpy as np

from flexcore.market.continuous_book import continuous_book
from tests.market.clearing_cases import forest, random_tree
from tests.reference import market_continuous_book as reference

INF = float("inf")


def random_forest(rng, n):
    """A tree, or two of them."""
    parent = random_tree(rng, n)
    if n > 3 and rng.random() < 0.3:
        top = int(rng.integers(0, n))
        parent[top] = -1
    return parent


def random_case(rng, *, voltage=False, simple=False):
    """One quarter-hour. `simple`: offers and requests that all rest, without minima."""
    n = int(rng.integers(1, 12))
    parent = random_forest(rng, n)
    tight = rng.choice([5, 15, 40])
    lower = np.where(rng.random(n) < 0.6, -rng.integers(0, tight, n), -INF)
    upper = np.where(rng.random(n) < 0.6, rng.integers(0, tight, n), INF)
    if rng.random() < 0.2:  # a row that is broken at the start
        upper[rng.integers(0, n)] = -int(rng.integers(1, 5))
    k = int(rng.integers(1, 45))
    kind = rng.choice([0, 1] if simple else [0, 0, 0, 1, 1, 2], k)
    offers = kind == 0
    spread = rng.choice([4, 12])
    orders = {
        "order_id": np.arange(k) * 7 + 3,
        "kind": kind,
        "element": rng.integers(0, n, k),
        "direction": rng.integers(0, 2, k),
        "step": np.zeros(k, np.int64),
        "quantity_w": rng.integers(1, 14, k),
        "price_ueur_per_mwh": np.where(offers, rng.integers(-spread, spread, k), rng.integers(-3, spread + 3, k)),
        "arrived_at": rng.permutation(np.sort(rng.integers(0, 2 * k, k))),
    }
    # requests more often near the root
    high = rng.random(k) < 0.5
    root = int(np.flatnonzero(np.asarray(parent) < 0)[0])
    orders["element"] = np.where((kind == 1) & high, root, orders["element"])
    if not simple:
        completion = rng.choice([0, 0, 0, 0, 1, 2], k)
        orders["completion"] = np.where((kind == 2) & (completion == 0), 1, completion)
        whole = rng.random(k) < 0.1
        some = rng.integers(0, orders["quantity_w"] + 1)
        orders["minimum_w"] = np.where(whole, orders["quantity_w"], np.where(rng.random(k) < 0.25, some, 0))
        life = rng.integers(1, 3 * k, k)
        orders["expires_at"] = np.where(rng.random(k) < 0.4, orders["arrived_at"] + life, 2**62)
        orders["cancelled_at"] = np.where(rng.random(k) < 0.2, orders["arrived_at"] + rng.integers(0, k + 1, k), 2**62)
    m = rng.integers(0, 8, n) * 1e-6 * (0.1 + rng.random(n))
    w_lower, w_upper = np.full(n, -INF), np.full(n, INF)
    if voltage:
        reach = np.array([sum(m[i] for i in inside_path(parent, j)) for j in range(n)])
        size = reach * rng.integers(0, 20, n) / 1000.0
        w_lower = np.where(rng.random(n) < 0.4, -size, -INF)
        w_upper = np.where(rng.random(n) < 0.4, size, INF)
    return SimpleNamespace(
        parent=parent, lower=lower, upper=upper, m=m, w_lower=w_lower, w_upper=w_upper, orders=orders,
        peers=bool(not simple and rng.random() < 0.5), rescan=bool(rng.random() < 0.5),
    )  # fmt: skip


def inside_path(parent, j):
    """Elements from j up to the child of its root."""
    return [i for i in reference.path(parent, j) if parent[i] >= 0]


def rows_of(case):
    """Activation rows in user order: a root has none."""
    return SimpleNamespace(
        lower_kw=case.lower[:, None] / 1000.0, upper_kw=case.upper[:, None] / 1000.0, w_lower=case.w_lower[:, None],
        w_upper=case.w_upper[:, None], m=case.m,
    )  # fmt: skip


def run(case, **options):
    """Run the library on a case."""
    return continuous_book(
        case.orders, grid=forest(case.parent), rows=rows_of(case), peer_trades=case.peers, rescan=case.rescan,
        **options,
    )  # fmt: skip


def voltage_rows(case):
    """Effects per W of the rows that have a bound, summed from the root down as the library does it."""
    n = len(case.parent)
    watched = [
        j for j in range(n)
        if case.parent[j] >= 0 and (np.isfinite(case.w_lower[j]) or np.isfinite(case.w_upper[j]))
    ]  # fmt: skip
    effect = []
    for j in watched:
        row = [0.0] * n
        for i in inside_path(case.parent, j):
            for node in range(n):
                if i in reference.path(case.parent, node):
                    row[node] += case.m[i] / 1000.0
        effect.append(row)
    return watched, effect


def run_reference(case):
    """Run the reference on a case; returns the book and its trades in rows of the table."""
    orders = case.orders
    k = len(orders["kind"])
    rows = sorted(range(k), key=lambda row: (orders["arrived_at"][row], row))
    leaves = [
        min(int(orders.get("expires_at", [2**62] * k)[row]), int(orders.get("cancelled_at", [2**62] * k)[row]))
        for row in range(k)
    ]
    book = [
        {
            "kind": int(orders["kind"][row]),
            "direction": int(orders["direction"][row]),
            "node": int(orders["element"][row]),
            "quantity": int(orders["quantity_w"][row]),
            "price": int(orders["price_ueur_per_mwh"][row]),
            "minimum": int(orders.get("minimum_w", [0] * k)[row]),
            "completion": int(orders.get("completion", [0] * k)[row]),
            "arrives": int(orders["arrived_at"][row]),
            "leaves": leaves[row],
        }
        for row in rows
    ]
    watched, effect = voltage_rows(case)
    at_root = np.asarray(case.parent) < 0
    lower = np.where(at_root, -INF, case.lower)
    upper = np.where(at_root, INF, case.upper)
    done = reference.Book(
        case.parent, [int(x) if abs(x) < INF else -(2**60) for x in lower],
        [int(x) if abs(x) < INF else 2**60 for x in upper], book, effect=effect,
        row_lower=[float(case.w_lower[j]) for j in watched], row_upper=[float(case.w_upper[j]) for j in watched],
        peers=case.peers,
    ).run(rescan=case.rescan)  # fmt: skip
    named = [*rows, -1]
    trades = []
    for numbers, w, now in done.trades:
        buy, sell, partner, price, partner_price = reference.prices(done, numbers)
        trades.append((named[buy], named[sell], named[partner], w, price, partner_price, now))
    left = {rows[i]: amount for i, amount in enumerate(done.left)}
    return done, trades, [left[row] for row in range(k)]


def trades_of(result):
    """Return trades of the library as the reference gives them."""
    columns = (
        result.buyer, result.seller, result.partner, result.trade_w, result.price_ueur_per_mwh,
        result.partner_price_ueur_per_mwh, result.trade_time,
    )  # fmt: skip
    return list(zip(*(column.tolist() for column in columns), strict=True))
