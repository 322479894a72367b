"""The monitoring part of the report: the alarms that a platform would have seen during the day."""

from typing import Any

from flexcore.study.day_run import DayRun
from flexcore.study.report.columns import mwh, number, percent
from flexcore.study.report.page import html_table, none

_SHOWN = 10
_REASONS = {"MON-SHORT": "too little", "MON-WRONG-WAY": "wrong way", "MON-NO-DATA": "not read"}


def alarm_parts(run: DayRun) -> list[str]:
    """Return the worst alarms of the day, one row for each aggregate, direction and event."""
    rows = run.tables["alarms"].to_pylist()
    if not rows:
        return ["<h3>Alarms</h3>", none("Monitoring raised no alarm.")]
    events: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in rows:
        events.setdefault((row["aggregate"], row["direction"], row["event_step"]), []).append(row)
    ranked = sorted(events.items(), key=lambda item: (-item[1][-1]["short_wqh"], item[0]))
    n_critical = sum(any(row["severity"] == "critical" for row in mine) for mine in events.values())
    cells = [
        (
            mine[0]["operator"],
            aggregate,
            way,
            run.day.label(int(start)),
            run.day.label(int(mine[0]["step"])),
            "critical" if any(row["severity"] == "critical" for row in mine) else "warning",
            _REASONS.get(mine[-1]["code"], mine[-1]["code"]),
            max(row["n_pods"] for row in mine),
            max(row["n_silent"] for row in mine),
            percent(mine[-1]["event_ratio"], 1.0, 1),
            number(1000 * mwh(mine[-1]["short_wqh"]), 1),
        )
        for (aggregate, way, start), mine in ranked[:_SHOWN]
    ]
    table = html_table(
        ("market", "aggregate", "direction", "order from", "alarm at", "worst", "reason", "PODs", "silent", "delivered",
         "short kWh"),
        cells,
        numeric=".k.....nnnn",
        dense=True,
        caption=f"Set-point against reading, every quarter-hour: {len(events):,} events raised an alarm, "
        f"{n_critical:,} of them critical; the {len(cells)} with the most energy short. "
        "Silent: PODs that did not answer for two quarter-hours",
    )  # fmt: skip
    return ["<h3>Alarms</h3>", table]
