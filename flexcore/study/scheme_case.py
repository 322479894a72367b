"""A city's delivery day as one case for every coordination scheme: the same grid, forecasts, needs and offers."""

import numpy as np
import numpy.typing as npt

from flexcore.market.schemes import CoordinationCase, Penalties, SchemeOffers, TradeBids, Transmission
from flexcore.market_day import N_SESSIONS, MarketDay
from flexcore.study.city import City
from flexcore.study.day_kpis import firm_rows
from flexcore.study.registration import Registration
from flexcore.units import DOWN, GLOBAL, LOCAL, UP

Floats = npt.NDArray[np.float64]
Int64s = npt.NDArray[np.int64]

#: Conventional units of the zone: blocks in each direction, the size of one as a part of the largest need of the day,
#: and the prices of the cheapest and the dearest as parts of the TSO's price cap. An assumption: cities have no data on
#: units connected to transmission.
CONVENTIONAL_BLOCKS = 8
CONVENTIONAL_SIZE = 0.25
CONVENTIONAL_PRICES = {UP: (0.4, 1.0), DOWN: (0.1, 0.7)}
#: What a MWh of need in the distribution grid costs that nobody serves. [EUR/MWh]
UNSERVED_EUR_PER_MWH = 3000.0

_CM_D, _CM_T, _BALANCING = 1, 2, 4


def scheme_case(city: City, day: MarketDay, registration: Registration, *, n_threads: int = 1) -> CoordinationCase:
    """Collect a day of a city for the coordination schemes.

    Each quarter-hour is cleared on the forecast of the session that makes it firm. Every POD that takes part offers
    each direction once, at the lower of its two prices, whoever buys; its products say in which markets it has an
    aggregate.

    Parameters
    ----------
    city : City
    day : MarketDay
    registration : Registration
    n_threads : int

    Returns
    -------
    CoordinationCase
    """
    rows = firm_rows(city, day, n_threads=n_threads)
    needs = [city.global_needs(day, session) for session in range(1, N_SESSIONS + 1)]
    per_step = [day.from_mtu(need.need_w, "hour").sum(axis=0) for need in needs]
    balance = np.concatenate([per_step[k - 1][day.firm(k)] for k in range(1, N_SESSIONS + 1)]) / 1000.0
    cap = needs[0].price_cap_ueur_per_mwh / 1e6
    offers = _join(_distributed(city, day, registration), _conventional(balance, cap))
    return CoordinationCase(
        name=city.name,
        grid=city.grid,
        rows=rows,
        perimeter=city.places.perimeter_of_node,
        t_node_of_root=np.zeros(int((city.grid.forest.parent < 0).sum()), np.int32),
        transmission=Transmission.one_zone(day.n_steps),
        balance_kw=balance,
        offers=offers,
        bids=TradeBids.none(day.n_steps),
        penalties=Penalties(distribution=UNSERVED_EUR_PER_MWH, transmission=UNSERVED_EUR_PER_MWH, balance=cap),
    )


def _distributed(city: City, day: MarketDay, registration: Registration) -> SchemeOffers:
    """Offers of PODs: per POD and direction what its qualified aggregates may offer, declared and validated."""
    pods, available = city.pods, city.offerable(day)
    units = registration.register.units
    validated = np.zeros((2, city.n_pods), np.int64)
    np.add.at(validated[UP], units.pod, units.validated_up_w)
    np.add.at(validated[DOWN], units.pod, units.validated_down_w)
    columns: list[tuple[npt.NDArray[np.generic], ...]] = []
    for way, declared, movable in (
        (UP, pods.declared_up_w, available.up_w),
        (DOWN, pods.declared_down_w, available.down_w),
    ):
        power = np.zeros((2, city.n_pods, day.n_steps), np.int64)
        products = np.zeros(city.n_pods, np.uint8)
        price = np.full(city.n_pods, np.iinfo(np.int64).max)
        for operator, aggregate, share, lines, bits in (
            (LOCAL, pods.local_aggregate, pods.local_share_pm, city.local_lines, _CM_D),
            (GLOBAL, pods.global_aggregate, pods.global_share_pm, city.global_lines, _CM_T | _BALANCING),
        ):
            sold = registration.ready_w[operator].any(axis=0)
            qualified = np.zeros((city.aggregates.id.size + 1, day.n_steps), np.bool_)
            np.logical_or.at(qualified, aggregate, sold)
            qualified[-1] = False
            line = lines.line_of_pod[way]
            inside = line >= 0
            may = qualified[aggregate] & inside[:, None]
            for place, most in enumerate((declared, validated[way])):
                enrolled = np.minimum((most * share // 1000)[:, None], movable)
                power[place] = np.maximum(power[place], np.where(may, enrolled, 0))
            products[may.any(axis=1)] |= np.uint8(bits)
            price = np.where(inside, np.minimum(price, lines.price_ueur_per_mwh[line]), price)
        rows = np.flatnonzero(power[0].any(axis=1))
        columns.append(
            (
                pods.node[rows], np.full(rows.size, way, np.int8), power[0][rows] / 1000.0,
                np.minimum(power[1], power[0])[rows] / 1000.0, price[rows] / 1e6, rows.astype(np.int32), pods.bsp[rows],
                products[rows], city.pod_rank[rows].astype(np.int64),
            )
        )  # fmt: skip
    node, direction, quantity, static, price, unit, bsp, products, submitted = (
        np.concatenate(part) for part in zip(*columns, strict=True)
    )
    return SchemeOffers(
        node=node.astype(np.int32), t_node=np.zeros(node.size, np.int32), direction=direction, quantity_kw=quantity,
        static_kw=static, price=price, unit=unit, bsp=bsp.astype(np.int32), products=products, submitted=submitted,
    )  # fmt: skip


def _conventional(balance_kw: Floats, cap: float) -> SchemeOffers:
    """Blocks of conventional units at evenly spaced prices, the same in every step."""
    n = CONVENTIONAL_BLOCKS
    size = CONVENTIONAL_SIZE * float(np.abs(balance_kw).max(initial=0.0))
    price = np.concatenate([np.linspace(*CONVENTIONAL_PRICES[way], n) * cap for way in (UP, DOWN)])
    quantity = np.full((2 * n, balance_kw.size), size)
    return SchemeOffers(
        node=np.full(2 * n, -1, np.int32), t_node=np.zeros(2 * n, np.int32),
        direction=np.repeat(np.array([UP, DOWN], np.int8), n), quantity_kw=quantity, static_kw=quantity, price=price,
        unit=np.arange(2 * n, dtype=np.int32), bsp=np.arange(2 * n, dtype=np.int32),
        products=np.full(2 * n, _CM_T | _BALANCING, np.uint8), submitted=np.arange(2 * n, dtype=np.int64),
    )  # fmt: skip


def _join(distributed: SchemeOffers, conventional: SchemeOffers) -> SchemeOffers:
    """Put both into one list; units, providers and order of submission stay apart."""
    joined = {
        name: np.concatenate([getattr(distributed, name), getattr(conventional, name)])
        for name in SchemeOffers.__slots__
    }
    n = distributed.n_offers
    for name in ("unit", "bsp", "submitted"):
        joined[name][n:] += joined[name][:n].max(initial=-1) + 1
    return SchemeOffers(**joined)
