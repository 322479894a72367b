"""Phase one of a day: registration, static traffic light, aggregates, prequalification with equivalences."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from flexcore.market_day import MarketDay
from flexcore.register.aggregates import CONFIGURATIONS
from flexcore.register.node_headroom import node_headroom
from flexcore.register.prequalification import GRANTED, TOE_REASONS
from flexcore.register.register import Register
from flexcore.register.states import AGGREGATE, AGGREGATE_PRODUCT, STL
from flexcore.study.city import City
from flexcore.units import DOWN, GLOBAL, LOCAL, UP

Int64s = npt.NDArray[np.int64]

#: Registration happens this long before the delivery day. [s]
LEAD_S = 30 * 86400


@dataclass(frozen=True, slots=True)
class Registration:
    """A filled register, and what it leaves of each POD's power in each step.

    Attributes
    ----------
    register : Register
    pod_of_unit : ndarray of int32, shape (n_units,)
    ready_w : ndarray of int64, shape (2, 2, n_pods, n_steps)
        Enrolled power of ready units by operator and direction, at most what their aggregate is qualified for, before
        slots and devices. [W]
    """

    register: Register
    pod_of_unit: npt.NDArray[np.int32]
    ready_w: Int64s


def register_city(city: City, day: MarketDay, *, n_threads: int = 1) -> Registration:
    """Take a city through D4.1 sections 6.1 and 6.2.

    Parameters
    ----------
    city : City
    day : MarketDay
        Delivery day; registration lies `LEAD_S` before it.
    n_threads : int

    Returns
    -------
    Registration
    """
    at = day.first_qh * 900 - LEAD_S
    register = Register(city.grid, tz=day.tz)
    register.register_parties(
        {"party_id": [*city.bsps.id, "DSO", "TSO"], "kind": ["BSP"] * city.bsps.id.size + ["DSO", "TSO"]}
    )
    _register_pods(register, city)
    _register_units(register, city)
    register.apply_static_light(
        at=at,
        headroom=node_headroom(city.grid, city.snapshots_p_kw, city.snapshots_q_kvar),
        peak_in_w=city.pods.peak_in_w,
        peak_out_w=city.pods.peak_out_w,
    )
    _form_aggregates(register, city)
    _prequalify(register, city, at, n_threads)
    pod = register.units.pod
    return Registration(register, pod, _ready_power(register, day, city.n_pods, n_threads))


def _register_pods(register: Register, city: City) -> None:
    pods, places = city.pods, city.places
    register.register_pods(
        {
            "pod_code": pods.code,
            "node_id": city.grid.node_ids[pods.node],
            "voltage_level": pods.voltage,
            "category": pods.category,
            "contracted_in_w": pods.contracted_in_w,
            "contracted_out_w": pods.contracted_out_w,
            "flex_area": places.area_of_node[pods.node],
            "pgui_id": pods.pgui,
        }
    )


def _register_units(register: Register, city: City) -> None:
    pods = city.pods
    taking_part = np.flatnonzero(pods.bsp >= 0)
    register.register_units(
        {
            "unit_id": pods.code[taking_part],
            "pod_code": pods.code[taking_part],
            "bsp": city.bsps.id[pods.bsp[taking_part]],
            "technology": pods.technology[taking_part].astype(np.int32),
            "up_w": pods.declared_up_w[taking_part],
            "down_w": pods.declared_down_w[taking_part],
            "activation_s": pods.activation_s[taking_part],
            "recovery_s": pods.recovery_s[taking_part],
        },
    )


def _form_aggregates(register: Register, city: City) -> None:
    """Enrol each unit's share of its validated power; what the static light invalidated stays out (STL-02)."""
    units, pods, aggregates = register.units, city.pods, city.aggregates
    pod = units.pod
    rows: dict[str, list[Any]] = {"agg_id": [], "unit_id": [], "up_w": [], "down_w": []}
    valid = (units.light_approved_at >= 0) & ((units.validated_up_w > 0) | (units.validated_down_w > 0))
    sides = ((pods.local_aggregate, pods.local_share_pm), (pods.global_aggregate, pods.global_share_pm))
    for aggregate, share in sides:
        chosen = np.flatnonzero(valid & (aggregate[pod] >= 0))
        rows["agg_id"].append(aggregates.id[aggregate[pod[chosen]]])
        rows["unit_id"].append(units.unit_id[chosen])
        for name in ("up_w", "down_w"):
            validated = getattr(units, f"validated_{name}")[chosen]
            rows[name].append(validated * share[pod[chosen]] // 1000)
    members = {name: np.concatenate(parts) for name, parts in rows.items()}
    register.form_aggregates(
        {
            "agg_id": aggregates.id,
            "bsp": city.bsps.id[aggregates.bsp],
            "operator": aggregates.operator,
            "flex_area": np.where(aggregates.operator == LOCAL, aggregates.area, -1),
        },
        members,
    )


def _prequalify(register: Register, city: City, at: int, n_threads: int) -> None:
    """Let each aggregate ask for its product; the DSO tests first, and its results count where they are equivalent."""
    products, aggregates = city.products, city.aggregates
    table = {name: getattr(products, name) for name in products.__dataclass_fields__ if name != "id"}
    register.register_products({"product_id": products.id, **table})
    active = np.flatnonzero(register.aggregates.state == AGGREGATE.state("ACTIVE"))
    asked = {"agg_id": aggregates.id[active], "product_id": products.id[aggregates.product[active]]}
    register.request_products(asked, partial=True)
    register.send("grid", "start", rows=active)
    register.send("grid", "approve", rows=active, at=at)
    for operator in (LOCAL, GLOBAL):
        _test(register, city, operator, at, n_threads)
        if operator == LOCAL:
            register.apply_equivalences(at=at)


def _test(register: Register, city: City, operator: int, at: int, n_threads: int) -> None:
    """Test what is still open for one operator, one test per direction that is to be qualified."""
    quals, aggregates = register.qualifications, city.aggregates
    mine = register.products.operator[quals.product] == operator
    rows = np.flatnonzero(mine & (quals.state == AGGREGATE_PRODUCT.state("REQUESTED")))
    asked = [(rows[power[rows] > 0], way, power) for way, power in ((UP, quals.up_w), (DOWN, quals.down_w))]
    row = np.concatenate([chosen for chosen, _, _ in asked])
    if not row.size:
        return
    direction = np.concatenate([np.full(chosen.size, way, np.int8) for chosen, way, _ in asked])
    power_w = np.concatenate([power[chosen] for chosen, _, power in asked])
    register.run_tests(
        {
            "agg_id": aggregates.id[quals.aggregate[row]],
            "product_id": city.products.id[quals.product[row]],
            "direction": direction,
        },
        *city.tests.readings(quals.aggregate[row], direction, power_w),
        at=at,
        n_threads=n_threads,
    )


def _ready_power(register: Register, day: MarketDay, n_pods: int, n_threads: int) -> Int64s:
    """Power that ready units may sell, per operator, direction, POD and step."""
    power = np.zeros((2, 2, n_pods, day.n_steps), np.int64)
    hours = (day.first_qh + 4 * np.arange(day.n_hours)) * 900
    for operator in (LOCAL, GLOBAL):
        for direction in (UP, DOWN):
            hourly = register.ready_w(hours, operator, direction, n_threads=n_threads)
            np.add.at(power[operator, direction], register.units.pod, np.repeat(hourly, 4, axis=1))
    return power


def tables(registration: Registration, city: City) -> dict[str, Any]:
    """Return the registration tables of a day: static light, aggregates, qualifications, equivalences."""
    import pyarrow as pa

    register = registration.register
    units, quals, products = register.units, register.qualifications, register.products
    aggregates = register.aggregates
    bsp_ids = register.parties.party_id
    by_code = np.argsort(register.pods.pod_code[units.pod], kind="stable")
    enrolled_up, enrolled_down = register.enrolled_w()
    market = np.array(["local", "global"])
    derived = np.where(quals.derived_from >= 0, aggregates.agg_id[quals.aggregate[quals.derived_from]], "")
    members = np.bincount(units.aggregate[units.aggregate >= 0], minlength=aggregates.agg_id.size)
    return {
        "static_light": pa.table(
            {
                "pod_code": register.pods.pod_code[units.pod[by_code]],
                "bsp": bsp_ids[units.bsp[by_code]],
                "up_declared_w": units.up_w[by_code],
                "up_validated_w": units.validated_up_w[by_code],
                "down_declared_w": units.down_w[by_code],
                "down_validated_w": units.validated_down_w[by_code],
                "state": np.array(STL.states)[units.light_state[by_code]],
            }
        ),
        "aggregates": pa.table(
            {
                "aggregate": aggregates.agg_id,
                "bsp": bsp_ids[aggregates.bsp],
                "operator": market[aggregates.operator],
                "n_units": members,
                "up_w": enrolled_up,
                "down_w": enrolled_down,
            }
        ),
        "qualifications": pa.table(
            {
                "aggregate": aggregates.agg_id[quals.aggregate],
                "product": products.product_id[quals.product],
                "state": np.array(AGGREGATE_PRODUCT.states)[quals.state],
                "ratio": quals.ratio,
                "derived_from": derived,
            }
        ),
        "equivalences": _equivalence_table(register),
    }


def _equivalence_table(register: Register) -> Any:
    """Return the pairs of a local and a global aggregate that share units, and what the Table of Equivalences did."""
    import pyarrow as pa

    pairs, aggregates, quals = register.configurations(), register.aggregates, register.qualifications
    granted = np.zeros(pairs.local.size, bool)
    reason = np.full(pairs.local.size, TOE_REASONS[0], dtype="U64")
    for row in np.flatnonzero(aggregates.operator[quals.aggregate] == GLOBAL):
        here = pairs.global_ == quals.aggregate[row]
        reason[here] = TOE_REASONS[quals.toe_reason[row]]
        if quals.toe_reason[row] == GRANTED:
            granted[here] = pairs.local[here] == quals.aggregate[quals.derived_from[row]]
    return pa.table(
        {
            "local": aggregates.agg_id[pairs.local],
            "global": aggregates.agg_id[pairs.global_],
            "configuration": np.array(CONFIGURATIONS)[pairs.configuration],
            "granted": granted,
            "reason": reason,
        }
    )
