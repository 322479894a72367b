"""Phase three of a day: orders to PODs, readings, baselines, delivered volume, payment.

The readings are simulated from the realised day and from how PODs follow orders; baselines and settlement see readings
and nominations only (MET-01).
"""

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from flexcore.market_day import MarketDay
from flexcore.metering.baseline import BaselineResult, baseline
from flexcore.metering.calendar import Calendar
from flexcore.metering.eligibility import Eligibility, eligible_days
from flexcore.metering.eligibility_rule import EligibilityRule
from flexcore.metering.event_runs import EventRuns
from flexcore.metering.readings import simulate_readings
from flexcore.settlement.remuneration import settle
from flexcore.settlement.result import SettlementResult
from flexcore.settlement.terms import SettlementTerms
from flexcore.study.city import City
from flexcore.study.participants import EV, PV
from flexcore.study.planning import Plan
from flexcore.units import DOWN, GLOBAL, LOCAL, UP, eur_per_mwh

Int64s = npt.NDArray[np.int64]
Int32s = npt.NDArray[np.int32]
Bools = npt.NDArray[np.bool_]
Positions = npt.NDArray[np.integer[Any]]

#: Which past days are like the day; no past event is simulated, so there is no event day to borrow.
ELIGIBLE = EligibilityRule(look_back_days=45, fall_backs=(), source="flexcore: as high_5_of_10, without fall-backs")
#: Like days that the presets below look at, at most.
N_LIKE = 10
#: Terms of both operators by default: pay-as-bid for what is delivered up to the order, shortfall beyond 5 % charged.
TERMS = SettlementTerms(
    penalty_ueur_per_mwh=eur_per_mwh(40), tolerance_ppm=50_000, source="flexcore: default of the study cities"
)
#: Baseline of each customer group; PODs with PV have a nominated one, because no past day tells today's sun.
PRESET = {"domestic": "high_5_of_10", "business": "mid_8_of_10", "mv": "mid_8_of_10", "producer": "nominated"}
#: Baseline of homes with a charger: the hours before an event do not tell whether a car charges in it.
CHARGER_AT_HOME = "high_5_of_10_unadjusted"


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
    history_w : ndarray of int32, shape (n_pods, n_days, n_steps)
        Readings of the past days, oldest first, on the clock of the day. [W]
    days_used : ndarray of bool, shape (n_pods, n_days)
        Past days that the baseline averages.
    eligible : Eligibility
        The past days, and what became of each.
    after_event : ndarray of bool, shape (n_pods, n_steps)
        Quarter-hours in which an event's energy comes back, left out of adjustment windows.
    row_pod, row_operator, row_direction, row_aggregate, row_price : ndarray, shape (n_rows,)
        Order rows: position in `pods`, operator, direction, aggregate, price in micro-EUR/MWh.
    orders_w : ndarray of int64, shape (n_rows, n_steps)
    settlement : SettlementResult
    """

    pods: Int32s
    metered_w: Int32s
    baseline_w: Int64s
    method: npt.NDArray[np.str_]
    history_w: Int32s
    days_used: Bools
    eligible: Eligibility
    after_event: Bools
    row_pod: Int32s
    row_operator: npt.NDArray[np.int8]
    row_direction: npt.NDArray[np.int8]
    row_aggregate: Int32s
    row_price: Int64s
    orders_w: Int64s
    settlement: SettlementResult


def _eligible(day: MarketDay, calendar: Calendar, orders_w: Int64s, rebound: int) -> Eligibility:
    """Say which days the baselines look at: as many before the day as hold `N_LIKE` like days, or the whole look-back.

    Parameters
    ----------
    day : MarketDay
    calendar : Calendar
    orders_w : ndarray of int64, shape (2 operators, 2 directions, n_pods, n_steps)
        Orders of the day itself, whose rebound must stay out of the adjustment windows (BAS-02). [W]
    rebound : int
        Quarter-hours in which the energy of an event comes back.
    """
    days = [day.shift(back - ELIGIBLE.look_back_days) for back in range(ELIGIBLE.look_back_days)]
    like = np.flatnonzero(eligible_days(days, day, calendar=calendar, rule=ELIGIBLE).first_choice[0])
    n_operators, n_directions, n_pods, n_steps = orders_w.shape
    events = EventRuns.of_orders(
        day,
        orders_w.reshape(-1, n_steps),
        pod=np.tile(np.arange(n_pods), n_operators * n_directions),
        operator=np.repeat([LOCAL, GLOBAL], n_directions * n_pods),
    )
    rule = dataclasses.replace(ELIGIBLE, rebound_steps=rebound)
    shortened = days[like[-N_LIKE] :] if like.size >= N_LIKE else days
    return eligible_days(shortened, day, calendar=calendar, rule=rule, n_pods=n_pods, events=events)


def _baselines(
    city: City,
    day: MarketDay,
    eligible: Eligibility,
    pods: Int32s,
    metered_w: Int32s,
    event: Bools,
    after: Bools,
    n_threads: int,
) -> tuple[Int64s, npt.NDArray[np.str_], Int32s, Bools]:
    """Compute each POD's baseline by the preset of its group, from readings and nominations alone.

    Returns baselines, presets, the past days and which of them were used.
    """
    method = np.array([PRESET[category] for category in city.pods.category[pods]])
    technology = city.pods.technology[pods]
    method = np.where((method == PRESET["domestic"]) & ((technology & EV) != 0), CHARGER_AT_HOME, method)
    method[(technology & PV) != 0] = "nominated"
    result = np.zeros(metered_w.shape, np.int64)
    history = city.history_w(day, len(eligible.days), pods)
    used = np.zeros(history.shape[:2], np.bool_)
    for preset in np.unique(method):
        rows = np.flatnonzero(method == preset)
        if preset == "nominated":
            result[rows] = city.nominated_w(day, pods[rows])
            continue
        found: BaselineResult = baseline(
            np.ascontiguousarray(history[rows]),
            np.ascontiguousarray(metered_w[rows]),
            np.ascontiguousarray(event[rows]),
            eligible=np.ascontiguousarray(eligible.choice[rows]),
            preset=str(preset),
            today_excluded=np.ascontiguousarray(after[rows]),
            n_threads=n_threads,
        )
        result[rows] = found.baseline_w
        used[rows] = found.days_used
    return result, method, history, used


def deliver(plan: Plan, *, calendar: Calendar, terms: SettlementTerms | None = None, n_threads: int = 1) -> Delivery:
    """Simulate the readings of a planned day and settle them.

    Parameters
    ----------
    plan : Plan
        With all sessions run.
    calendar : Calendar
        Holidays, by which past days are like the day.
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
    eligible = _eligible(day, calendar, orders[:, :, pods], conduct.rebound_steps)
    event = activation != 0
    after = eligible.today_excluded_of(np.arange(pods.size), n_threads=n_threads) & ~event
    baseline_w, method, history, used = _baselines(city, day, eligible, pods, metered, event, after, n_threads)
    operator, direction, position = np.nonzero((orders[:, :, pods] != 0).any(axis=3))
    of_pod = pods[position]
    own = np.where(operator == LOCAL, city.pods.local_aggregate[of_pod], city.pods.global_aggregate[of_pod])
    rows = orders[operator, direction, of_pod]
    price = _prices(city, operator, direction, of_pod)
    settlement = settle(
        rows,
        baseline_w[position],
        metered[position],
        terms or TERMS,
        direction=direction,
        aggregate=own,
        operator=operator,
        price_ueur_per_mwh=price,
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
        history,
        used,
        eligible,
        after,
        position.astype(np.int32),
        operator.astype(np.int8),
        direction.astype(np.int8),
        own.astype(np.int32),
        price[:, 0],
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
