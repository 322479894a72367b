"""Phase three of a day: orders to PODs, readings, baselines, delivered volume, payment.

The readings are simulated from the realised day and from how PODs follow orders; baselines and settlement see readings
and nominations only (MET-01).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from flexcore.market_day import MarketDay
from flexcore.metering.baseline import BaselineResult, baseline
from flexcore.metering.readings import simulate_readings
from flexcore.settlement.remuneration import settle
from flexcore.settlement.result import SettlementResult
from flexcore.settlement.terms import SettlementTerms
from flexcore.study.city import City
from flexcore.study.participants import PV
from flexcore.study.planning import Plan
from flexcore.units import DOWN, GLOBAL, LOCAL, UP, eur_per_mwh

Int64s = npt.NDArray[np.int64]
Int32s = npt.NDArray[np.int32]
Positions = npt.NDArray[np.integer[Any]]

#: Days of readings that baselines may look back on.
LOOK_BACK = 16
#: Terms of both operators by default: pay-as-bid for what is delivered up to the order, shortfall beyond 5 % charged.
TERMS = SettlementTerms(
    penalty_ueur_per_mwh=eur_per_mwh(40), tolerance_ppm=50_000, source="flexcore: default of the study cities"
)
#: Baseline of each customer group; PODs with PV have a nominated one, because no past day tells today's sun.
PRESET = {"domestic": "high_5_of_10", "business": "mid_8_of_10", "mv": "mid_8_of_10", "producer": "nominated"}


@dataclass(frozen=True, slots=True)
class Delivery:
    """What was ordered, read and paid.

    Attributes
    ----------
    pods : ndarray of int32, shape (n_pods,)
        Positions of the PODs with at least one order, in the order of POD codes.
    metered_w, baseline_w : ndarray, shape (n_pods, n_steps)
        Readings and baselines of those PODs. [W]
    method : ndarray of str, shape (n_pods,)
        Baseline preset of each POD.
    row_pod, row_operator, row_direction, row_aggregate : ndarray, shape (n_rows,)
        Order rows: position in `pods`, operator, direction, aggregate.
    orders_w : ndarray of int64, shape (n_rows, n_steps)
    settlement : SettlementResult
    """

    pods: Int32s
    metered_w: Int32s
    baseline_w: Int64s
    method: npt.NDArray[np.str_]
    row_pod: Int32s
    row_operator: npt.NDArray[np.int8]
    row_direction: npt.NDArray[np.int8]
    row_aggregate: Int32s
    orders_w: Int64s
    settlement: SettlementResult


def _like_days(day: MarketDay) -> npt.NDArray[np.bool_]:
    """Mark days of the look-back that are like the day: working day or weekend, and as long (no change of clocks)."""
    past = [day.shift(back - LOOK_BACK) for back in range(LOOK_BACK)]
    weekend = day.weekday >= 5
    return np.array([(other.weekday >= 5) == weekend and other.n_steps == 96 for other in past])


def _after_event(event: npt.NDArray[np.bool_], steps: int) -> npt.NDArray[np.bool_]:
    """Mark the quarter-hours in which an event's energy comes back: up to `steps` after it (BAS-02)."""
    after = np.zeros_like(event)
    for shift in range(1, steps + 1):
        after[:, shift:] |= event[:, :-shift]
    return after & ~event


def _baselines(
    city: City,
    day: MarketDay,
    pods: Int32s,
    metered_w: Int32s,
    event: npt.NDArray[np.bool_],
    rebound: int,
    n_threads: int,
) -> tuple[Int64s, npt.NDArray[np.str_]]:
    """Compute each POD's baseline by the preset of its group, from readings and nominations alone."""
    method = np.array([PRESET[category] for category in city.pods.category[pods]])
    method[(city.pods.technology[pods] & PV) != 0] = "nominated"
    result = np.zeros(metered_w.shape, np.int64)
    history = city.history_w(day, LOOK_BACK, pods)
    eligible = _like_days(day)
    after = _after_event(event, rebound)
    for preset in np.unique(method):
        rows = np.flatnonzero(method == preset)
        if preset == "nominated":
            result[rows] = city.nominated_w(day, pods[rows])
            continue
        found: BaselineResult = baseline(
            np.ascontiguousarray(history[rows]),
            np.ascontiguousarray(metered_w[rows]),
            np.ascontiguousarray(event[rows]),
            eligible=eligible,
            preset=str(preset),
            today_excluded=np.ascontiguousarray(after[rows]),
            n_threads=n_threads,
        )
        result[rows] = found.baseline_w
    return result, method


def deliver(plan: Plan, *, terms: SettlementTerms | None = None, n_threads: int = 1) -> Delivery:
    """Simulate the readings of a planned day and settle them.

    Parameters
    ----------
    plan : Plan
        With all sessions run.
    terms : SettlementTerms, optional
    n_threads : int

    Returns
    -------
    Delivery
    """
    city, day, orders = plan.city, plan.day, plan.awards_w
    ordered = (orders != 0).any(axis=(0, 1, 3))
    rank = city.pod_rank
    pods = np.flatnonzero(ordered).astype(np.int32)
    pods = pods[np.argsort(rank[pods])]
    activation = (orders[:, UP, pods] - orders[:, DOWN, pods]).sum(axis=0)
    possible = city.available(day)
    conduct = city.conduct(day)
    metered = simulate_readings(
        city.realised(day).load_w[pods],
        np.clip(activation, -possible.down_w[pods], possible.up_w[pods]).astype(np.int32),
        seed=city.seed,
        pod_key=rank[pods],
        first_qh=day.first_qh,
        response=conduct.response_pm[pods] / 1000.0,
        rebound_share=conduct.rebound_pm[pods] / 1000.0,
        rebound_steps=conduct.rebound_steps,
        least_w=-city.pods.contracted_out_w[pods],
        n_threads=n_threads,
    )
    baseline_w, method = _baselines(city, day, pods, metered, activation != 0, conduct.rebound_steps, n_threads)
    operator, direction, position = np.nonzero((orders[:, :, pods] != 0).any(axis=3))
    of_pod = pods[position]
    own = np.where(operator == LOCAL, city.pods.local_aggregate[of_pod], city.pods.global_aggregate[of_pod])
    rows = orders[operator, direction, of_pod]
    settlement = settle(
        rows,
        baseline_w[position],
        metered[position],
        terms or TERMS,
        direction=direction,
        aggregate=own,
        operator=operator,
        price_ueur_per_mwh=_prices(city, operator, direction, of_pod),
        pod=rank[of_pod],
        unit_of_step=day.hour_of_step,
        missing="zero",
        n_threads=n_threads,
    )
    return Delivery(
        pods,
        metered,
        baseline_w,
        method,
        position.astype(np.int32),
        operator.astype(np.int8),
        direction.astype(np.int8),
        own.astype(np.int32),
        rows,
        settlement,
    )


def _prices(city: City, operator: Positions, direction: Positions, pod: Positions) -> Int64s:
    """Price of each order row: that of the line that offered the POD, pay-as-bid."""
    price = np.zeros((pod.size, 1), np.int64)
    for side, book in ((LOCAL, city.local_lines), (GLOBAL, city.global_lines)):
        mine = np.flatnonzero(operator == side)
        price[mine, 0] = book.price_ueur_per_mwh[book.line_of_pod[direction[mine], pod[mine]]]
    return price
