"""The continuous book of one quarter-hour, from its rules, with lists and dicts; nothing here is quick."""

from scipy.optimize import linprog

OFFER, REQUEST, PAIR = 0, 1, 2
UP = 0
NORMAL, FILL_AND_KILL, FILL_OR_KILL = 0, 1, 2


def path(parent, i):
    """Elements from i up to its root, both included."""
    while i is not None and i >= 0:
        yield i
        i = parent[i]


def load(parent, up, down):
    """What 1 W more at `up` and 1 W less at `down` does to each element; None: outside all trees."""
    effect = {}
    for node, way in ((up, 1), (down, -1)):
        for i in path(parent, node):
            effect[i] = effect.get(i, 0) + way
    return {i: way for i, way in effect.items() if way}


class Book:
    """Orders as dicts with kind, direction, node, quantity, price, minimum, completion, arrives and leaves."""

    def __init__(self, parent, lower, upper, orders, *, effect=(), row_lower=(), row_upper=(), peers=False):
        self.parent, self.lower, self.upper = parent, lower, upper
        self.effect, self.row_lower, self.row_upper = effect, row_lower, row_upper
        self.orders, self.peers = orders, peers
        self.left = [order["quantity"] for order in orders]
        self.y = dict.fromkeys(range(len(parent)), 0)
        self.z = [0.0] * len(effect)
        self.resting, self.waiting, self.trades = [], [], []

    def ask(self, k):
        """What the order wants per MWh: offers ask, requests bid."""
        order = self.orders[k]
        return order["price"] if order["kind"] == OFFER else -order["price"]

    def legs(self, *offers):
        up = [self.orders[k]["node"] for k in offers if self.orders[k]["direction"] == UP]
        down = [self.orders[k]["node"] for k in offers if self.orders[k]["direction"] != UP]
        return (up[0] if up else None), (down[0] if down else None)

    def row_loads(self, up, down):
        for k, effect in enumerate(self.effect):
            yield k, (0.0 if up is None else effect[up]) - (0.0 if down is None else effect[down])

    def room(self, up, down):
        """Watts that fit, given all trades so far."""
        room = 2**60
        for i, way in load(self.parent, up, down).items():
            free = self.upper[i] - self.y[i] if way > 0 else self.y[i] - self.lower[i]
            room = min(room, max(free, 0))
        for k, per_w in self.row_loads(up, down):
            if per_w == 0.0:
                continue
            bound = self.row_upper[k] if per_w > 0 else self.row_lower[k]
            ratio = (bound - self.z[k]) / per_w
            if ratio < room:
                room = int(max(ratio, 0.0))
            while room > 0 and (self.z[k] + room * per_w - bound) * (1 if per_w > 0 else -1) > 0:
                room -= 1
        return room

    def trade(self, now, w, *orders):
        up, down = self.legs(*(k for k in orders if self.orders[k]["kind"] == OFFER))
        for i, way in load(self.parent, up, down).items():
            self.y[i] += way * w
        for k, per_w in self.row_loads(up, down):
            if per_w != 0.0:
                self.z[k] += w * per_w
        for k in orders:
            self.left[k] -= w
        self.trades.append((orders, w, now))

    def least(self, k):
        """Smallest first trade of an order; nothing is asked of later ones."""
        order = self.orders[k]
        if self.left[k] < order["quantity"]:
            return 0
        return order["quantity"] if order["completion"] == FILL_OR_KILL else order["minimum"]

    def inside(self, element, node):
        return element in path(self.parent, node)

    def suits(self, a, c):
        """Whether a and c may trade, prices aside."""
        first, second = self.orders[a], self.orders[c]
        if first["kind"] == OFFER and second["kind"] == OFFER:
            return self.peers and first["direction"] != second["direction"]
        if {first["kind"], second["kind"]} != {OFFER, REQUEST} or first["direction"] != second["direction"]:
            return False
        request, offer = (first, second) if first["kind"] == REQUEST else (second, first)
        return self.inside(request["node"], offer["node"])

    def best_first(self, numbers):
        return sorted(numbers, key=lambda k: (self.ask(k), k))

    def alive(self, now):
        return [k for k in self.resting if self.left[k] > 0 and self.orders[k]["leaves"] > now]

    def scan(self, a, now):
        """Let an order trade with what rests; returns whether it left an order that its price would take."""
        before = list(self.left), dict(self.y), list(self.z), len(self.trades)
        wanted = self.least(a)
        met = [c for c in self.alive(now) if c != a and self.suits(a, c) and self.ask(a) + self.ask(c) <= 0]
        for c in self.best_first(met):
            offers = [k for k in (a, c) if self.orders[k]["kind"] == OFFER]
            w = min(self.left[a], self.left[c], self.room(*self.legs(*offers)))
            if w > 0 and w >= self.least(c):
                self.trade(now, w, a, c)
        if before[0][a] - self.left[a] < wanted:
            self.left, self.y, self.z = before[:3]
            del self.trades[before[3] :]
        return self.left[a] > 0 and any(self.left[c] > 0 for c in met)

    def scan_pairs(self, a, now):
        """Let a paired request trade: an offer inside its element with one of the other direction outside."""
        before = list(self.left), dict(self.y), list(self.z), len(self.trades)
        wanted, order = self.least(a), self.orders[a]
        offers = [k for k in self.alive(now) if self.orders[k]["kind"] == OFFER]
        insiders, outsiders = [], []
        for k in offers:
            here = self.inside(order["node"], self.orders[k]["node"])
            same = self.orders[k]["direction"] == order["direction"]
            if here and same:
                insiders.append(k)
            if not here and not same:
                outsiders.append(k)
        for b in self.best_first(insiders):
            for c in self.best_first(outsiders):
                w = min(self.left[a], self.left[b], self.left[c], self.room(*self.legs(b, c)))
                fits = self.ask(a) + self.ask(b) + self.ask(c) <= 0
                if fits and w > 0 and w >= self.least(b) and w >= self.least(c):
                    self.trade(now, w, a, b, c)
        if before[0][a] - self.left[a] < wanted:
            self.left, self.y, self.z = before[:3]
            del self.trades[before[3] :]

    def run(self, *, rescan=False):
        for a, order in enumerate(self.orders):
            now, n_trades = order["arrives"], len(self.trades)
            if order["kind"] == PAIR:
                self.scan_pairs(a, now)
            elif self.scan(a, now) and order["completion"] == NORMAL:
                self.waiting.append(a)
            if order["completion"] == NORMAL:
                self.resting.append(a)
            while rescan and len(self.trades) > n_trades:  # passes over the waiting orders until one trades nothing
                n_trades = len(self.trades)
                for k in list(self.waiting):
                    if k not in self.alive(now) or not self.scan(k, now):
                        self.waiting.remove(k)
        return self


def prices(book, orders):
    """Buyer, seller, partner, price to the seller and price to the partner of one trade, per MWh."""
    offers = [k for k in orders if book.orders[k]["kind"] == OFFER]
    requests = [k for k in orders if book.orders[k]["kind"] != OFFER]
    if not requests:  # peers: the down offer buys the energy of the up offer
        sell, buy = sorted(offers, key=lambda k: book.orders[k]["direction"])
        first = min(sell, buy)
        return buy, sell, -1, (book.ask(sell) if first == sell else -book.ask(buy)), 0
    (request,) = requests
    if len(offers) == 2:
        here, there = orders[1:]
        return request, here, there, book.ask(here), book.ask(there)
    (offer,) = offers
    first = min(request, offer)
    return request, offer, -1, book.orders[first]["price"], 0


def auction(book):
    """Best welfare of one auction over all orders of a book: an LP over the trades that suit each other.

    Completion, minima, times and whole watts are left out, which can only raise it. A row that is broken at the start
    may come back to no activation, as in the book.
    """
    numbers = range(len(book.orders))
    offers = [k for k in numbers if book.orders[k]["kind"] == OFFER]
    trades = [(a, c) for a in numbers for c in offers if book.orders[a]["kind"] == REQUEST and book.suits(a, c)]
    trades += [(a, c) for a in offers for c in offers if a < c and book.suits(a, c)]
    for a in numbers:
        order = book.orders[a]
        if order["kind"] != PAIR:
            continue
        here = [k for k in offers if book.inside(order["node"], book.orders[k]["node"])]
        trades += [
            (a, b, c) for b in here for c in offers
            if c not in here and book.orders[b]["direction"] == order["direction"] != book.orders[c]["direction"]
        ]  # fmt: skip
    trades = [trade for trade in trades if sum(book.ask(k) for k in trade) < 0]
    if not trades:
        return 0.0
    effects = []
    for trade in trades:
        up, down = book.legs(*(k for k in trade if book.orders[k]["kind"] == OFFER))
        effects.append((load(book.parent, up, down), dict(book.row_loads(up, down))))
    a, b = [], []
    for k in numbers:
        a.append([float(k in trade) for trade in trades])
        b.append(book.orders[k]["quantity"])
    n_elements, n_rows = len(book.parent), len(book.effect)
    for kind, count, low, high in (
        (0, n_elements, book.lower, book.upper),
        (1, n_rows, book.row_lower, book.row_upper),
    ):
        for i in range(count):
            row = [float(effect[kind].get(i, 0)) for effect in effects]
            scale = max([abs(x) for x in row], default=0.0)
            if scale == 0.0:
                continue
            for way, bound in ((1.0, max(high[i], 0)), (-1.0, max(-low[i], 0))):
                if bound < 2**60:
                    a.append([way * x / scale for x in row])
                    b.append(bound / scale)
    gain = [float(sum(book.ask(k) for k in trade)) for trade in trades]
    options = {"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10}
    best = linprog(gain, a, b, bounds=(0, None), method="highs", options=options)
    assert best.status == 0
    return -best.fun


def welfare(book):
    """What the orders of all trades gain against their limits, in W times price."""
    return -sum(w * sum(book.ask(k) for k in orders) for orders, w, _ in book.trades)
