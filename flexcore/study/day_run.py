"""The result of one delivery day: every step of the process as a table, key figures, and how long each step took."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flexcore.market_day import MarketDay

if TYPE_CHECKING:
    import pyarrow as pa

#: Table name -> what a row is and its columns. Every table of a run stands here; docs and report read it.
DAY_TABLES: dict[str, tuple[str, tuple[str, ...]]] = {
    "facts": ("one fact about the input city", ("name", "value")),
    "nodes": (
        "one node: position, perimeter, lowest and highest voltage of the day (AC) without flexibility (before), if "
        "every order were followed exactly (awarded), and as the meters saw it (metered)",
        (
            "node_id",
            "x",
            "y",
            "v_nom_kv",
            "perimeter",
            "v_min_pu",
            "v_max_pu",
            "v_low_before_pu",
            "v_high_before_pu",
            "v_low_awarded_pu",
            "v_high_awarded_pu",
            "v_low_metered_pu",
            "v_high_metered_pu",
        ),
    ),
    "branches": (
        "one branch with its highest loading of the day (1 is the rating) in the three cases of `nodes`",
        (
            "branch_id",
            "from_id",
            "to_id",
            "kind",
            "s_max_kva",
            "loading_before",
            "loading_awarded",
            "loading_metered",
        ),
    ),
    "static_light": (
        "one unit after the static traffic light",
        ("pod_code", "bsp", "up_declared_w", "up_validated_w", "down_declared_w", "down_validated_w", "state"),
    ),
    "aggregates": ("one aggregate", ("aggregate", "bsp", "operator", "n_units", "up_w", "down_w")),
    "qualifications": (
        "one aggregate and product after prequalification",
        ("aggregate", "product", "state", "ratio", "derived_from"),
    ),
    "equivalences": (
        "one local and one global aggregate: their Table 8 configuration and what the Table of Equivalences did",
        ("local", "global", "configuration", "granted", "reason"),
    ),
    "sessions": (
        "one local (LFP) or global (MSD) session: energies and cost of all that it planned, and of the four hours that "
        "it made firm",
        (
            "session",
            "operator",
            "name",
            "firm_start",
            "firm_stop",
            "state",
            "skipped",
            "n_lines",
            "n_lines_selected",
            "n_slots_held",
            "offered_mwh",
            "accepted_mwh",
            "need_mwh",
            "unserved_mwh",
            "cost_eur",
            "firm_need_mwh",
            "firm_accepted_mwh",
            "firm_unserved_mwh",
            "firm_cost_eur",
            "cut_lines",
            "withdrawn_lines",
            "blocked_pods",
            "n_messages",
            "steps_merit_order",
            "steps_tree_merit_order",
            "steps_path_prices",
            "steps_lp",
            "firm_violations",
        ),
    ),
    "needs": (
        "one element and step that a session's forecast overloads, on the worse side of its 95 % band (so that "
        "`loading` may lie below 1), or whose voltage leaves its band",
        ("session", "element", "element_id", "step", "direction", "need_kw", "loading", "v_pu"),
    ),
    "lines": (
        "one offer line and step of a session: every offer for its firm hours, and what it took "
        "preliminarily of later ones",
        (
            "session",
            "operator",
            "line",
            "aggregate",
            "bsp",
            "direction",
            "perimeter",
            "step",
            "price_eur_per_mwh",
            "offered_w",
            "accepted_w",
            "firm",
            "reason",
        ),
    ),
    "traffic_light": (
        "one perimeter, direction and hour as published by a session",
        (
            "session",
            "perimeter",
            "direction",
            "hour",
            "colour",
            "capability_w",
            "movable_w",
            "kind",
            "binding_id",
            "margin_kw",
        ),
    ),
    "grid_check": (
        "one violation that the AC check found after an MSD session; firm: in the hours that the session makes firm",
        ("session", "element", "element_id", "step", "value", "limit", "cause", "firm"),
    ),
    "findings": ("one coded finding of a session", ("session", "operator", "code", "bsp", "n_lines", "message")),
    "series": (
        "one quarter-hour of the whole city, signed powers positive upwards",
        ("step", "load_forecast_kw", "load_realised_kw", "global_need_w", "local_w", "global_w", "residual_w"),
    ),
    "pod_day": (
        "one participating POD and quarter-hour",
        (
            "pod_code",
            "bsp",
            "step",
            "baseline_w",
            "metered_w",
            "ordered_up_w",
            "ordered_down_w",
            "operator",
            "excluded",
        ),
    ),
    "alarms": (
        "one aggregate, direction and quarter-hour in which its alarm was open or closed (monitoring of activations)",
        (
            "operator",
            "aggregate",
            "bsp",
            "direction",
            "step",
            "event_step",
            "code",
            "severity",
            "change",
            "ordered_w",
            "delivered_w",
            "event_ratio",
            "short_wqh",
            "projected_wqh",
            "n_pods",
            "n_missing",
            "n_silent",
        ),
    ),
    "pod_baselines": (
        "one participating POD: how its baseline was made, from which version of its readings; what was declared, if "
        "it was",
        ("pod_code", "preset", "reading_version", "submission", "nominated_w"),
    ),
    "past_days": (
        "one past day that baselines could look at, and what keeps it from being a reference day of any POD",
        ("date", "day_type", "lost"),
    ),
    "reference_days": (
        "one participating POD and past day that its baseline may average",
        ("pod_code", "date", "choice", "used", "metered_w"),
    ),
    "baselines": (
        "one baseline preset and direction: energy ordered, delivered as the baseline sees it, and really moved "
        "(load without orders against readings: known because the day is simulated, and never to settlement)",
        ("preset", "direction", "n_pods", "ordered_wqh", "delivered_wqh", "moved_wqh"),
    ),
    "settlement_lines": (
        "one settled line: operator, aggregate, direction and hour",
        (
            "operator",
            "aggregate",
            "bsp",
            "direction",
            "hour",
            "ordered_wqh",
            "delivered_wqh",
            "paid_wqh",
            "shortfall_wqh",
            "counted_wqh",
            "available_wqh",
            "n_missing",
            "n_estimated",
            "event",
            "ratio_ppm",
            "price_ueur_per_mwh",
            "factor_ppm",
            "pay_ueur",
            "penalty_ueur",
            "availability_ueur",
            "net_ueur",
        ),
    ),
    "settlement_pods": (
        "one POD's share of one settled line",
        (
            "operator",
            "aggregate",
            "pod_code",
            "direction",
            "hour",
            "price_ueur_per_mwh",
            "ordered_wqh",
            "delivered_wqh",
            "available_wqh",
            "pay_ueur",
            "penalty_ueur",
            "availability_ueur",
            "net_ueur",
        ),
    ),
    "settlement_runs": (
        "one settlement run: its place in the chain of corrections, the digest of its inputs, its terms and its rule "
        "of eligibility as JSON",
        ("run_id", "period", "status", "cites", "reason", "digest", "terms", "eligibility"),
    ),
    "statements": ("one BSP and operator", ("bsp", "operator", "net_ueur", "net_cents")),
    "kpis": ("one key figure or one of its parts", ("key", "part", "value", "unit", "meaning")),
}


@dataclass(frozen=True, slots=True)
class DayRun:
    """One computed delivery day.

    Attributes
    ----------
    city : str
        Name of the city and its code.
    day : MarketDay
    seed : int
    scheme : str
        Coordination scheme, "d41".
    tables : dict of str to pyarrow.Table
        The tables of `DAY_TABLES`.
    seconds : dict of str to float
        Wall time of each phase; not part of the digest.
    """

    city: str
    day: MarketDay
    seed: int
    scheme: str
    tables: "dict[str, pa.Table]"
    seconds: dict[str, float]

    def kpi(self, key: str, part: str = "") -> float:
        """Value of a key figure, or of one of its parts."""
        for row in self.tables["kpis"].to_pylist():
            if row["key"] == key and row["part"] == part:
                return float(row["value"])
        raise KeyError(key, part)

    @property
    def digest(self) -> str:
        """SHA-256 over all tables: equal for equal results, whatever the threads and the time it took."""
        import pyarrow as pa

        total = hashlib.sha256()
        for name in sorted(self.tables):
            total.update(name.encode())
            sink = pa.BufferOutputStream()
            with pa.ipc.new_stream(sink, self.tables[name].schema) as stream:
                stream.write_table(self.tables[name].combine_chunks())
            total.update(sink.getvalue())
        return total.hexdigest()

    def write(self, folder: str | Path) -> list[Path]:
        """Write every table as Parquet, and key figures and facts as JSON; return the files.

        A run that stands in the folder is undone first: run.json, report.html and statements go before anything else is
        written, and run.json, which comes last, holds the SHA-256 of every other file, so that `read_run` refuses what
        is not one whole run as it was written.
        """
        import pyarrow.parquet as pq

        target = Path(folder)
        target.mkdir(parents=True, exist_ok=True)
        for name in ("run.json", "report.html"):
            (target / name).unlink(missing_ok=True)
        for page in (target / "statements").glob("*.html"):
            page.unlink()
        about = self.as_dict()
        mark = {"flexcore_digest": about["digest"], "flexcore_seed": str(self.seed), "flexcore_day": about["day"]}
        files = []
        for name, table in self.tables.items():
            path = target / f"{name}.parquet"
            pq.write_table(table.replace_schema_metadata(mark), path, compression="zstd")
            files.append(path)
        about["files"] = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
        path = target / "run.json"
        path.write_text(json.dumps(about, indent=1, default=str), encoding="utf-8")
        return [*files, path]

    def as_dict(self) -> dict[str, Any]:
        """Facts, sessions, key figures and timings for machines."""
        return {
            "city": self.city,
            "day": str(self.day.date),
            "tz": self.day.tz,
            "seed": self.seed,
            "scheme": self.scheme,
            "digest": self.digest,
            "seconds": {name: round(value, 3) for name, value in self.seconds.items()},
            "facts": self.tables["facts"].to_pylist(),
            "sessions": self.tables["sessions"].to_pylist(),
            "kpis": self.tables["kpis"].to_pylist(),
        }
