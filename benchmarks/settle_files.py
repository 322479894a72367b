"""A city day from files: baselines and settlement against the time that pyarrow needs to read the same files."""

import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.reading_files import loads, read_row_groups, read_tables
from benchmarks.timing import Engine, interleave, milliseconds
from flexcore import MarketDay, baseline_files, settle_files
from flexcore.metering.reading_layout import GROUP_ROWS, ReadingWriter, published
from flexcore.settlement import SettlementTerms

DAY = MarketDay("2026-01-21")
PRESET = "caiso_5_in_10"
N_DAYS = 10
PARTS = (1, 2, 7)
TERMS = SettlementTerms(price_ueur_per_mwh=70_000_000, penalty_ueur_per_mwh=110_000_000)


def write_city(folder: Path, n_pods: int) -> list[str]:
    """Write ten reference days and the event day, block by block; return their paths, oldest first."""
    pods = pa.array(10**9 + 7 * np.arange(n_pods))
    paths = []
    for d in range(N_DAYS, -1, -1):
        day = DAY.shift(-d)
        path = folder / f"{day.date}.parquet"
        with published(path) as temporary, ReadingWriter(temporary, day) as writer:
            for k, block in enumerate(loads(n_pods, day.n_steps, d)):
                writer.append(pods[k * GROUP_ROWS : k * GROUP_ROWS + len(block)], block)
        paths.append(str(path))
    return paths


def city_orders(n_pods: int, one_in: int = 10, n_steps: int = 8) -> pa.Table:
    """One POD in ten is ordered for two hours of the evening, half of them by each operator, in 500 aggregates each."""
    rng = np.random.default_rng(3)
    chosen = np.sort(rng.choice(n_pods, n_pods // one_in, replace=False))
    steps = np.arange(72, 72 + n_steps)
    n = len(chosen) * len(steps)
    place = np.repeat(chosen, len(steps))
    return pa.table(
        {
            "pod": 10**9 + 7 * place,
            "operator": (place % 2).astype(np.int8),
            "aggregate": (place // 2 % 500).astype(np.int64),
            "direction": np.zeros(n, np.int8),
            "step": np.tile(steps, len(chosen)).astype(np.int32),
            "ordered_w": rng.integers(100, 1500, n).astype(np.int32),
        }
    )


def _event() -> np.ndarray:
    event = np.zeros(DAY.n_steps, bool)
    event[72:80] = True
    return event


def _peak_bytes() -> int:
    """Largest resident size of this process."""
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) * 1024
    return 0


def child(folder: str, threads: int, parts: int) -> None:
    """Compute once in a fresh process and print digest and peak; in memory where `parts` is 0.

    -1 settles in memory; -2 settles into files when every POD is ordered for four hours, -3 each POD an aggregate too.
    """
    paths = sorted(str(path) for path in Path(folder).glob("*.parquet"))
    if parts < 0:
        every, n_pods = parts < -1, pq.read_metadata(paths[-1]).num_rows
        orders = city_orders(n_pods, *((1, 16) if every else ()))
        if parts == -3:
            orders = orders.set_column(2, "aggregate", orders["pod"])
        run = str(Path(folder) / f"run{parts}") if every else None
        found = settle_files(orders, paths[:-1], paths[-1], TERMS, preset=PRESET, n_threads=threads, out=run)
        print(json.dumps({"digest": found.digest, "orders_bytes": orders.nbytes, "peak_bytes": _peak_bytes()}))
        return
    out = str(Path(folder) / f"out-{parts}") if parts else None
    result = baseline_files(
        paths[:-1], paths[-1], _event(), preset=PRESET, n_threads=threads, out=out, parts=parts or None
    )
    print(json.dumps({"digest": result.digest, "peak_bytes": _peak_bytes()}))


def _in_child(folder: Path, threads: int, parts: int) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.settle_files", str(folder), str(threads), str(parts)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[1])
    return dict(json.loads(done.stdout))


def run(threads: int, quick: bool, rounds: int, n_pods: int | None = None) -> list[dict[str, Any]]:
    """The whole city, from a warm page cache."""
    n = n_pods or (20_000 if quick else 580_000)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        paths = write_city(folder, n)
        orders = city_orders(n)
        past, today, event = paths[:-1], paths[-1], _event()
        n_bytes = sum(Path(path).stat().st_size for path in paths)
        outs = iter(range(10**6))

        def written() -> Any:
            return baseline_files(past, today, event, preset=PRESET, n_threads=threads, out=folder / f"w{next(outs)}")

        def settled() -> Any:
            return settle_files(orders, past, today, TERMS, preset=PRESET, n_threads=threads)

        engines = [
            Engine("pyarrow, tables", "reads", lambda: read_tables(paths, threads)),
            Engine("pyarrow, row groups", "reads", lambda: read_row_groups(paths, threads)),
            Engine(
                "baseline_files",
                "baselines in memory",
                lambda: baseline_files(past, today, event, preset=PRESET, n_threads=threads),
            ),
            Engine("baseline_files, written", "baselines in files on disk", written),
            Engine("settle_files", "lines in memory, one POD in ten ordered", settled),
        ]
        for engine in engines:
            engine.run()
        interleave(engines, rounds)
        read = [min(pair) for pair in zip(engines[0].seconds, engines[1].seconds, strict=True)]
        rows = []
        for engine in engines:
            row = {"name": f"settle_files/{engine.name}", "model": engine.model, **milliseconds(engine)}
            row["gb_per_s"] = n_bytes / row["ms"] / 1e6
            ratios = [own / other for own, other in zip(engine.seconds, read, strict=True)]
            row |= {"times_read": statistics.median(ratios), "times_min": min(ratios), "times_max": max(ratios)}
            rows.append(row)
        whole = _in_child(folder, threads, 0)
        parts = {k: _in_child(folder, threads, k) for k in PARTS}
        lines, every, each = (_in_child(folder, threads, case) for case in (-1, -2, -3))
    rows.append(
        {
            "name": "settle_files/memory and digests",
            "peak_mb": whole["peak_bytes"] / 1e6,
            "peak_written_mb": max(part["peak_bytes"] for part in parts.values()) / 1e6,
            "peak_settle_mb": lines["peak_bytes"] / 1e6,
            "peak_settle_all_mb": every["peak_bytes"] / 1e6,
            "peak_settle_each_mb": each["peak_bytes"] / 1e6,
            "digests": len({whole["digest"], *(part["digest"] for part in parts.values())}),
        }
    )
    return rows


if __name__ == "__main__":
    child(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
