"""Builds a city on a SimBench network: source, growth, market, offers, one after the other."""

import datetime as dt
from dataclasses import replace
from typing import Any

import numpy as np

from flexcore.errors import Findings, OptionError
from flexcore.grid.network import Grid
from flexcore.grid.power_flow import power_flow
from flexcore.market_day import MarketDay
from flexcore.study.cities.days import SyntheticDays
from flexcore.study.cities.growth import Customers, Growth, lay_customers
from flexcore.study.cities.offering import offer_lines
from flexcore.study.cities.places import first_perimeters, places
from flexcore.study.cities.portfolio import Participation, market
from flexcore.study.cities.source import ATTRIBUTION, load_source
from flexcore.study.city import City, GrowthReport
from flexcore.study.participants import TECHNOLOGIES, Floats, Places, Pods
from flexcore.units import GLOBAL, LOCAL

#: A real-data urban district: 10,458 buses, 11,542 loads, 135 transformers.
DEFAULT_CODE = "1-MVLV-urban-all-0-sw"
#: A Tuesday with sun at noon and heating in the evening.
DEFAULT_DAY = "2026-03-24"
_SUNNY_DAY = dt.date(2026, 6, 21)
_PRICE_CAP_UEUR = 400_000_000
_NEED_SHARE = 0.04  # size of the zonal need over the city's peak load


def simbench(
    code: str = DEFAULT_CODE,
    *,
    seed: int = 0,
    growth: Growth | None = None,
    participation: Participation | None = None,
    default_day: str = DEFAULT_DAY,
    min_pods: int = 5,
    n_threads: int = 1,
) -> City:
    """Return a city on a SimBench network: every SimBench load is one POD.

    The first call for a code reads and converts the network with pandapower and simbench (some ten seconds) and keeps
    it in the user's cache; later calls need neither.

    Parameters
    ----------
    code : str
        SimBench code of a radial network with one level of supply, for instance "1-MVLV-urban-all-0-sw",
        "1-MVLV-urban-5.303-0-sw" or "1-LV-rural2--0-sw".
    seed : int
        Of everything that is drawn. The same code, seed and parameters give the same bits.
    growth : Growth, optional
        The stress of 2030.
    participation : Participation, optional
        What providers choose to do.
    default_day : str
        Local date for which the growth is calibrated.
    min_pods : int
        No dtl_perimeter has fewer PODs that could move (privacy).
    n_threads : int
        For the power flows of the calibration; the result does not depend on it.

    Raises
    ------
    MissingExtraError
        FX-E001 if simbench or pandapower is not installed.
    ValidationError
        FX-C001 if SimBench has no such code.
    OptionError
        FX-C011 if the seed is not a whole number from 0.
    GridError
        If `Grid.from_pandapower` refuses the network, for instance because it is meshed.
    """
    if not isinstance(seed, int | np.integer) or isinstance(seed, bool) or seed < 0:
        found = Findings("city")
        found.add("FX-C011", f"seed is {seed!r}", field="seed", hint="pass a whole number from 0")
        found.raise_errors(OptionError)
    growth = growth or Growth()
    participation = participation or Participation()
    date: Any = default_day  # text or date
    day = MarketDay(date)
    source = load_source(code)
    grid = source.grid
    place, lv_feeder = places(grid, source.x, source.y)
    customers = lay_customers(source, place, lv_feeder, growth, day, seed, n_threads)
    pods, bsps, aggregates, products, tests = market(customers, place, participation, seed)
    movable = np.bincount(pods.node[pods.global_aggregate >= 0], minlength=grid.n_nodes)
    perimeter, names = first_perimeters(place, movable, min_pods)
    place = replace(place, perimeter_of_node=perimeter, perimeter_ids=names)
    days = SyntheticDays(
        source=source,
        devices=customers.devices,
        node=customers.node,
        n_nodes=grid.n_nodes,
        area_of_node=place.area_of_node,
        mandated=pods.bsp >= 0,
        need_scale_w=_NEED_SHARE * float(_largest_load_w(customers)),
        price_cap_ueur_per_mwh=_PRICE_CAP_UEUR,
        seed=seed,
    )
    snapshots = _snapshots(days, day)
    return City(
        name=f"SimBench {code}",
        code=code,
        seed=seed,
        default_day=default_day,
        grid=grid,
        places=place,
        pods=pods,
        bsps=bsps,
        aggregates=aggregates,
        products=products,
        tests=tests,
        local_lines=offer_lines(pods, aggregates, perimeter, operator=LOCAL, seed=seed),
        global_lines=offer_lines(pods, aggregates, perimeter, operator=GLOBAL, seed=seed),
        snapshots_p_kw=snapshots[0],
        snapshots_q_kvar=snapshots[1],
        growth_report=_report(grid, place, pods, customers, growth, days, day, n_threads),
        attribution=ATTRIBUTION,
        days=days,
    )


def tiny(*, seed: int = 0) -> City:
    """Return a city of one low-voltage network with about a hundred PODs, for trials and tests."""
    return simbench("1-LV-rural2--0-sw", seed=seed, min_pods=3)


def _largest_load_w(customers: Customers) -> float:
    """Size of the city: a quarter of the sum of the customers' peaks is what they draw together."""
    return 0.25 * float(customers.devices.base_w.sum())


def _snapshots(days: SyntheticDays, day: MarketDay) -> tuple[Floats, Floats]:
    """Node loads at the most and least loaded step of the day and at the least loaded one of a sunny Sunday."""
    active, reactive = [], []
    for date in (MarketDay(_SUNNY_DAY), day):
        realised = days.realised(date)
        total = realised.p_kw.sum(axis=0)
        steps = [int(total.argmin())] + ([int(total.argmax())] if date == day else [])
        active.append(realised.p_kw[:, steps])
        reactive.append(realised.q_kvar[:, steps])
    return np.concatenate(active, axis=1), np.concatenate(reactive, axis=1)


def _report(
    grid: Grid,
    place: Places,
    pods: Pods,
    customers: Customers,
    growth: Growth,
    days: SyntheticDays,
    day: MarketDay,
    n_threads: int,
) -> GrowthReport:
    """Count what the growth does on the day, by AC power flow on what really happens without awards."""
    realised = days.realised(day)
    flow = power_flow(
        grid, realised.p_kw, realised.q_kvar, method="ac", outputs=("loading", "v_pu"), n_threads=n_threads
    )
    assert flow.loading is not None
    assert flow.v_pu is not None
    hot = np.asarray((flow.loading > 1.0).any(axis=1))
    station = np.zeros(grid.n_branches, np.bool_)
    station[place.substation_branch] = True
    transformer = grid.v_nom_kv[grid.branch_from] != grid.v_nom_kv[grid.branch_to]  # those of the supply too
    area_head = _heads(grid, place)
    low = (flow.v_pu < grid.v_min_pu[:, None]).any(axis=1)
    high = (flow.v_pu > grid.v_max_pu[:, None]).any(axis=1)
    devices = customers.devices
    fleets = {"pv": devices.pv, "ev": devices.ev, "heat_pump": devices.heat_pump, "battery": devices.battery}
    factors = {
        "load_factor": growth.load_factor,
        "strength": customers.strength,
        "substation_spread": growth.substation_spread,
        "feeder_spread": growth.feeder_spread,
        "street_chargers": float(customers.street_chargers),
        "largest_loading": float(flow.loading.max(initial=0.0)),
        "largest_transformer_loading": float(flow.loading[station].max(initial=0.0)),
        "lowest_v_pu": float(flow.v_pu.min()),
        "highest_v_pu": float(flow.v_pu.max()),
        "peak_load_kw": float(realised.p_kw.sum(axis=0).max()),
    }
    factors |= {f"{name}_kw": float(fleet.power_w.sum()) / 1000.0 for name, fleet in fleets.items()}
    counts = {"pods": int(pods.node.size), "flexible_pods": int((pods.bsp >= 0).sum())}
    counts |= {f"{name}_devices": int(fleet.pod.size) for name, fleet in fleets.items()}
    counts |= {f"pods_with_{name}": int((pods.technology & bit != 0).sum()) for bit, name in TECHNOLOGIES.items()}
    overloads = {
        "transformers": int(hot[transformer].sum()),
        "transformers_of": int(transformer.sum()),
        "feeders": int(hot[area_head].sum()),
        "feeders_of": int(area_head.size),
        "lines": int(hot[~transformer].sum()),
        "lines_of": int((~transformer).sum()),
        "nodes_low": int(low.sum()),
        "nodes_high": int(high.sum()),
        "nodes_of": int(grid.n_nodes),
        "steps": int(((flow.loading > 1.0).any(axis=0) | (flow.v_pu < grid.v_min_pu[:, None]).any(axis=0)).sum()),
    }
    return GrowthReport(factors, counts, overloads)


def _heads(grid: Grid, place: Places) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Branches that feed the flex_areas: the first of each in preorder."""
    area = place.area_of_node[grid.forest.order]
    inside = np.flatnonzero(area >= 0)
    _, first = np.unique(area[inside], return_index=True)
    return grid.forest.branch[inside[first]].astype(np.int64)
