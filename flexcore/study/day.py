"""One delivery day from registration to settlement: `run_day` wires the rooms in the order of the process."""

import time
from collections.abc import Callable

from flexcore.errors import check_option
from flexcore.market_day import MarketDay
from flexcore.study.cities.source import city_calendar
from flexcore.study.city import City
from flexcore.study.day_run import DayRun
from flexcore.study.day_tables import day_tables
from flexcore.study.delivery import deliver
from flexcore.study.planning import plan_day
from flexcore.study.registration import register_city

#: Number of times that `run_day` calls its `progress`.
PHASES = 15


def run_day(
    city: City,
    day: MarketDay | str | None = None,
    *,
    scheme: str = "d41",
    n_threads: int = 1,
    progress: Callable[[str], None] | None = None,
) -> DayRun:
    """Compute one delivery day of TSO-DSO coordination.

    Parameters
    ----------
    city : City
        Every input: network, customers, providers, offers, forecasts (`flexcore.cities`).
    day : MarketDay or str, optional
        Delivery day, or its local date such as "2026-03-24"; the city's default day if not given.
    scheme : {"d41"}
        Coordination scheme: D4.1's six LFP/MSD pairs with mutual unavailability and the dynamic traffic light.
    n_threads : int
        Threads for the kernels. The result has the same bits for any number.
    progress : callable, optional
        Called `PHASES` times with a line of text.

    Returns
    -------
    DayRun

    Raises
    ------
    MissingExtraError
        FX-E001 if `holidays` is not installed.

    Examples
    --------
    >>> import flexcore as fx
    >>> run = fx.run_day(fx.cities.simbench("1-LV-rural1--0-sw"), n_threads=2)  # doctest: +SKIP
    >>> run.kpi("market_efficiency")  # doctest: +SKIP
    """
    check_option("scheme", scheme, ("d41",))
    day = day if isinstance(day, MarketDay) else MarketDay(city.default_day if day is None else day)
    calendar = city_calendar()  # first: a missing package is said before the work, not after it
    say = progress or (lambda _: None)
    seconds: dict[str, float] = {}
    clock = time.perf_counter()

    def done(phase: str) -> None:
        nonlocal clock
        now = time.perf_counter()
        seconds[phase] = now - clock
        clock = now

    say("registration and prequalification")
    registration = register_city(city, day, n_threads=n_threads)
    done("registration")
    plan = plan_day(city, day, registration.register, registration.ready_w, n_threads=n_threads, progress=say)
    done("planning")
    say("delivery and settlement")
    delivery = deliver(plan, calendar=calendar, n_threads=n_threads)
    done("delivery")
    say("key figures")
    tables = day_tables(city, registration, plan, delivery, n_threads=n_threads)
    done("key figures")
    return DayRun(city.name, day, city.seed, scheme, tables, seconds)
