"""Layouts of day files, and pairs of codec and encoding, as pyarrow reads them; and flexcore's reader on its own."""

import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.timing import Engine, interleave, milliseconds
from flexcore import MarketDay, write_readings
from flexcore.metering.reading_files import open_day
from flexcore.metering.reading_layout import GROUP_ROWS
from flexcore.metering.reading_rows import RowReader

#: Codec and encoding; the first is that of `write_readings`.
PAIRS = (
    ("none", "PLAIN"), ("snappy", "PLAIN"), ("lz4", "PLAIN"), ("none", "DELTA_BINARY_PACKED"),
    ("lz4", "BYTE_STREAM_SPLIT"), ("zstd", "BYTE_STREAM_SPLIT"),
)  # fmt: skip
_BLOCK = 8192
#: What households draw over a day, relative to their mean; hours and factors.
_HOURS, _FACTORS = (0, 5, 7.5, 12, 15, 19.5, 22.5, 24), (0.5, 0.4, 1.0, 0.8, 0.7, 1.8, 1.0, 0.5)


def loads(n_pods: int, n_steps: int, seed: int) -> Iterator[np.ndarray]:
    """Blocks of loads in W, multiples of 4 as meters count whole Wh in a quarter-hour; every twelfth POD has a PV."""
    shape = np.interp(np.arange(n_steps) * 24 / n_steps, _HOURS, _FACTORS)
    sun = np.maximum(0.0, np.sin((np.arange(n_steps) / n_steps - 0.25) * 2 * np.pi))
    for lo in range(0, n_pods, _BLOCK):
        n = min(_BLOCK, n_pods - lo)
        size = np.random.default_rng([1, lo]).lognormal(5.6, 0.8, (n, 1)).astype(np.float32)
        noise = np.random.default_rng([2, seed, lo]).standard_normal((n, n_steps), np.float32)
        block = size * shape.astype(np.float32) * np.exp(0.6 * noise)
        block[::12] -= (3000 * sun).astype(np.float32)
        yield 4 * np.rint(block / 4).astype(np.int32)


def read_tables(paths: list[str], threads: int) -> None:
    """One file after the other, each by all threads."""
    pa.set_cpu_count(threads)
    for path in paths:
        pq.read_table(path, memory_map=True, use_threads=True)


def read_row_groups(paths: list[str], threads: int) -> None:
    """Row groups in as many threads, each with its own open files."""
    n_groups = [pq.read_metadata(path).num_row_groups for path in paths]

    def read(first: int) -> None:
        for path, n in zip(paths, n_groups, strict=True):
            with pq.ParquetFile(path, memory_map=True) as file:
                for group in range(first, n, threads):
                    file.read_row_group(group, use_threads=False)

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(read, range(threads)))


def _readers(name: str, path: Path, threads: int) -> list[Engine]:
    paths = [str(path)]
    return [
        Engine(f"{name}/table", "pyarrow", lambda: read_tables(paths, threads)),
        Engine(f"{name}/row groups", "pyarrow", lambda: read_row_groups(paths, threads)),
    ]


def _write(path: Path, table: pa.Table, rows: int, **options: Any) -> Path:
    plain = {"compression": "none", "use_dictionary": False, "write_page_checksum": True, "data_page_size": 1 << 30}
    pq.write_table(table, path, row_group_size=rows, **{**plain, **options})
    return path


def _layouts(folder: Path, pods: np.ndarray, power: np.ndarray) -> dict[str, Path]:
    """The same day in the layouts that lost; `pod` and `qh` of the long one as small as Parquet makes them."""
    n, n_steps = power.shape
    keys = pa.array(pods)
    long = pa.table(
        {
            "pod": np.repeat(pods, n_steps),
            "qh": np.tile(np.arange(n_steps, dtype=np.int16), n),
            "power_w": power.reshape(-1),
        }
    )
    wide = pa.table({"pod": pods, **{f"w{t:02d}": np.ascontiguousarray(power[:, t]) for t in range(n_steps)}})
    blobs = pa.FixedSizeBinaryArray.from_buffers(pa.binary(4 * n_steps), n, [None, pa.py_buffer(power)])
    blocks = pa.Table.from_arrays([keys, blobs], ["pod", "power_w"])
    return {
        "long rows": _write(folder / "long", long, GROUP_ROWS * n_steps, use_dictionary=["pod", "qh"]),
        "96 columns": _write(folder / "wide", wide, 65536),
        "binary": _write(folder / "binary", blocks, GROUP_ROWS),
    }


def run(threads: int, quick: bool, rounds: int) -> list[dict[str, Any]]:
    """One day of a fifth of the city."""
    n_pods = 500 if quick else 116_000
    day = MarketDay("2026-01-21")
    pods = 10**9 + 7 * np.arange(n_pods)
    power = np.concatenate(list(loads(n_pods, day.n_steps, 0)))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        engines: list[Engine] = []
        sizes = {}
        for codec, encoding in PAIRS:
            path = folder / f"{codec}-{encoding}.parquet"
            write_readings(path, day, pods, power, compression=codec, encoding=encoding)
            engines += _readers(f"lists {codec} {encoding}", path, threads)
            sizes[f"lists {codec} {encoding}"] = path.stat().st_size
        own = folder / "-".join(PAIRS[0])
        files = open_day(own.with_name(own.name + ".parquet"))
        engines.append(Engine(f"lists {PAIRS[0][0]} {PAIRS[0][1]}/rows", "flexcore", _rows_reader(files, threads)))
        for layout, path in _layouts(folder, pods, power).items():
            engines += _readers(layout, path, threads)
            sizes[layout] = path.stat().st_size
        for engine in engines:
            engine.run()
        interleave(engines, rounds)
    rows = []
    for engine in engines:
        row = {"name": f"reading_files/{engine.name}", "by": engine.model, **milliseconds(engine)}
        row["gb_per_s"] = power.nbytes / row["ms"] / 1e6
        row["size_raw"] = sizes[engine.name.rsplit("/", 1)[0]] / power.nbytes
        rows.append(row)
    return rows + _chosen(rows)


def _rows_reader(files: Any, threads: int) -> Callable[[], None]:
    def read(first: int) -> None:
        out = np.empty((_BLOCK, files.day.n_steps), np.int32)
        with RowReader(files) as reader:
            for lo in range(first * _BLOCK, files.n_pods, threads * _BLOCK):
                hi = min(lo + _BLOCK, files.n_pods)
                reader.read(lo, hi, out[: hi - lo])

    def run_all() -> None:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(read, range(threads)))

    return run_all


def _chosen(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The pair of the layout against the fastest one, each by pyarrow's better way."""
    best: dict[str, float] = {}
    for row in rows:
        pair = row["name"].split("/")[1]
        if row["by"] == "pyarrow" and pair.startswith("lists"):
            best[pair] = min(row["ms"], best.get(pair, np.inf))
    own = f"lists {PAIRS[0][0]} {PAIRS[0][1]}"
    fastest = min(best, key=lambda pair: best[pair])
    return [{"name": "reading_files/chosen", "fastest": fastest, "times_fastest": best[own] / best[fastest]}]
