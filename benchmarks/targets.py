"""What the figures of a full run are held against; a row for each promise whose figures the run has."""

from collections.abc import Iterable
from typing import Any

_FLOOR = {"mv_urban": 2.0, "radial_city": 2.5, "lv_forest": 2.0}
_LINEAR = {"mv_urban": 35.0, "lv_forest": 60.0}
_AC = {"mv_urban": 20.0, "radial_city": 15.0, "lv_forest": 25.0}
_AC_PEERS = ("power-grid-model/iterative_current", "power-grid-model/newton_raphson", "lightsim2grid/NR_KLU")
_LINEAR_PEERS = ("power-grid-model/linear", "power-grid-model/linear_current", "numpy/PTDF-R-X")
_ACCURACY_FEEDERS = 8


def _largest_by_highs(rows: list[dict[str, Any]]) -> list[float]:
    """How much longer the better way of HiGHS takes on the largest step that it finishes."""
    done = [row for row in rows if row["name"].startswith("market/") and row.get("finished")]
    largest = max((row["n_offers"] for row in done), default=0)
    return [min(row["times_flexcore"] for row in done if row["n_offers"] == largest)] if done else []


def verdicts(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows with the value, its limit and whether it is met."""
    known = {row["name"]: row for row in rows}
    results: list[dict[str, Any]] = []

    def judge(name: str, values: Iterable[float | None], *, least: float | None = None, most: float | None = None):
        found = [value for value in values if value is not None]
        if found and least is not None:
            value = min(found)
            results.append({"name": f"targets/{name}", "value": value, "limit": f">= {least}", "met": value >= least})
        elif found and most is not None:
            value = max(found)
            results.append({"name": f"targets/{name}", "value": value, "limit": f"<= {most}", "met": value <= most})

    def get(name: str, key: str) -> float | None:
        return known.get(name, {}).get(key)

    for case in _AC:
        at = f"power_flow/{case}/"
        own = f"{at}flexcore/"
        if case in _LINEAR:
            peer = f"{at}power-grid-model/linear"
            judge(f"{case}: linear, times power-grid-model's", [get(peer, "times_flexcore")], least=_LINEAR[case])
        judge(f"{case}: linear out=, times floor", [get(f"{own}linear-0-out", "times_floor")], most=_FLOOR[case])
        peers = [get(at + peer, "times_flexcore") for peer in _AC_PEERS]
        judge(f"{case}: ac, times the fastest peer's", peers, least=_AC[case])
        if case == "mv_urban":
            tensor = [get(f"{at}tensorpowerflow/tensor-{tol}", "times_flexcore") for tol in ("1e-06", "1e-08")]
            judge(f"{case}: ac, times tensorpowerflow's", tensor, least=12.0)
            ac = get(f"{own}ac-1e-08", "ms")
            linear = [get(at + peer, "ms") for peer in _LINEAR_PEERS]
            judge(f"{case}: ac, times peers' linear", [ms / ac for ms in linear if ms and ac], least=1.0)
        for method in ("linear-0", "ac-1e-08"):
            random = [
                get(f"{own}{method}-out-random-order", "times_out"),
                get(f"{own}{method}-random-order", "times_user_order"),
            ]
            judge(f"{case}: {method} in random order", random, most=1.5)
            single = f"{own}{method}-out-1-thread"
            if (get(single, "times_floor") or 0.0) >= 3.0:
                judge(f"{case}: {method}, gain of threads", [get(single, "times_out")], least=1.5)
    for name, row in known.items():
        if name.startswith("growth/"):
            judge(name.replace("/", " "), [row["exponent"]], most=1.05)
        if name.startswith("memory/"):
            judge(name.replace("/", " "), [row["times"]], most=1.3)
    mesh = ("scipy/splu", "scipy/splu-in-blocks-of-32", "numpy/PTDF")
    judge(
        "meshed: dc, times the fastest LU or PTDF",
        [get(f"meshed/{peer}", "times_flexcore") for peer in mesh],
        least=2.0,
    )
    judge("meshed: dc, times PyPSA's lpf", [get("meshed/PyPSA/lpf", "times_flexcore")], least=10.0)
    for method, limit in (("linear", 6.0), ("certified", 25.0)):
        judge(f"capability {method}", [get(f"capability/capability {method}", "times_linear")], most=limit)
    for case, limit in (("few, city", 3.0), ("few, chain", 10.0), ("all, city", 10.0), ("mixed, city", 10.0)):
        at = f"market/{case}/clear_tree"
        judge(f"market: {case}, times argsort", [get(at, "times_argsort")], most=limit)
    for name, row in known.items():
        if name.startswith("market/growth"):
            judge(name.replace("/", " "), [row["exponent"]], most=1.05)
    judge("market: largest step that HiGHS finishes, times flexcore", _largest_by_highs(rows), least=100.0)
    chosen = get("reading_files/chosen", "times_fastest")
    judge("day files: read by pyarrow, times the fastest of six pairs", [chosen], most=1.2)
    city = "settle_files/memory and digests"
    judge("city day from files, times reading", [get("settle_files/baseline_files", "times_read")], most=1.5)
    judge("city day from files, peak MB", [get(city, "peak_mb"), get(city, "peak_written_mb")], most=1500)
    ordered = [get(city, "peak_settle_all_mb"), get(city, "peak_settle_each_mb")]
    judge("settling a city whose PODs are all ordered, peak MB", ordered, most=1500)
    judge("city day from files, digests of 1, 2 and 7 parts", [get(city, "digests")], most=1)
    own = "baseline/flexcore-out"
    judge("baseline: out=, times floor", [get(own, "times_floor")], most=3.0)
    forms = ("argpartition", "comparisons", "weights")
    numpy = [get(f"baseline/numpy-{form}", "times_flexcore") for form in forms]
    judge("baseline: times the best of three NumPy forms'", numpy, least=10.0)
    for peer, limit in (("duckdb", 50.0), ("polars", 100.0), ("pandas", 150.0)):
        for layout in ("long", "wide"):
            times = get(f"baseline/{peer}-{layout}", "times_flexcore")
            judge(f"baseline: times {peer}'s, {layout} table", [times], least=limit)
    feeders = sum(name.startswith("accuracy/") for name in known)
    judge("feeders in the accuracy table", [feeders or None], least=_ACCURACY_FEEDERS)
    judge("floor, times np.copyto", [get("floor/floor", "times_copyto")], least=0.9)
    return results
