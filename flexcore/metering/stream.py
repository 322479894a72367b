"""Baselines of a whole city from day files, block by block: memory does not grow with the number of PODs read."""

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor, as_completed, wait
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from flexcore.chunks import run_chunks
from flexcore.errors import Findings
from flexcore.market_day import MarketDay
from flexcore.metering.baseline import STATUS
from flexcore.metering.baseline_rule import BaselineRule
from flexcore.metering.day_distance import MatchDay
from flexcore.metering.eligibility import Eligibility
from flexcore.metering.reading_layout import GROUP_ROWS, Paths, ReadingWriter, published, refuse
from flexcore.metering.readings import Int32s
from flexcore.metering.reference_days import ReferenceDays
from flexcore.metering.result_folders import publish_folder, temporary_folder
from flexcore.metering.stream_arguments import FamilyArguments
from flexcore.metering.stream_inputs import StreamInputs, open_inputs
from flexcore.metering.stream_work import BlockWork, Tally, WorkPool, empty_result, result_rows

#: PODs whose results are hashed together; parts begin at a multiple of it, so the digest does not depend on them.
UNIT = 4096

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True, eq=False)
class BaselineFiles:
    """Baselines of the PODs of a day.

    Attributes
    ----------
    day : MarketDay
    pods : pyarrow.Array
        Keys of the PODs, ascending.
    rule : BaselineRule
    digest : str
        SHA-256 over day, rule, keys, baselines and status in the order of the keys; the same for any number of
        threads, parts of files and parts of work.
    n_status : dict of int to int
        How many PODs have each bit of `STATUS`.
    baseline_w : ndarray of int32, shape (n_pods, n_steps), or None
        Where nothing is written: positive = withdrawal, `MISSING_W` where there is none. [W]
    status : ndarray of uint8, shape (n_pods,), or None
    files : tuple of str
        What was written, in the order of the keys.
    """

    day: MarketDay
    pods: Any
    rule: BaselineRule
    digest: str
    n_status: dict[int, int]
    baseline_w: Int32s | None
    status: npt.NDArray[np.uint8] | None
    files: tuple[str, ...]


def _unit_digest(pods: Any, power: Int32s, status: npt.NDArray[np.uint8]) -> bytes:
    import pyarrow as pa

    digest = hashlib.sha256()
    if pa.types.is_int64(pods.type):
        digest.update(np.asarray(pods).data)
    else:
        digest.update(json.dumps(pods.to_pylist()).encode())
    digest.update(power.data)
    digest.update(status.data)
    return digest.digest()


def _counts(status: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
    return np.array([int(((status & bit) != 0).sum()) for bit in STATUS], np.int64)


def write_part(
    inputs: StreamInputs, lo: int, hi: int, path: str, report: Callable[[int], None] | None = None
) -> tuple[list[bytes], npt.NDArray[np.int64]]:
    """Compute rows lo..hi and write them to one file; return the digests of their units and the status counts."""
    import pyarrow as pa

    digests: list[bytes] = []
    counts = np.zeros(len(STATUS), np.int64)
    work = BlockWork(inputs)
    buffer = empty_result(min(GROUP_ROWS, hi - lo), inputs)
    status_field = pa.field("status", pa.uint8(), nullable=False, metadata={"meaning": "bits of metering STATUS"})
    text = pa.types.is_string(inputs.today.pods(lo, min(lo + 1, hi)).type)
    about = {"rule": repr(inputs.rule)}
    try:
        with (
            published(path) as temporary,
            ReadingWriter(
                temporary, inputs.today.day, text_keys=text, kind="baseline", extra=[status_field], metadata=about
            ) as writer,
        ):
            for begin in range(lo, hi, GROUP_ROWS):
                n = min(GROUP_ROWS, hi - begin)
                work.run(begin, begin + n, result_rows(buffer, 0, n))
                pods = inputs.today.pods(begin, begin + n)
                power, status = buffer.baseline_w[:n], buffer.status[:n]
                units = [slice(a, a + UNIT) for a in range(0, n, UNIT)]
                digests += [_unit_digest(pods[unit], power[unit], status[unit]) for unit in units]
                counts += _counts(status)
                writer.append(pods, power, status=status)
                if report is not None:
                    report(n)
    finally:
        work.close()
    return digests, counts


def baseline_files(
    history: Sequence[Paths],
    today: Paths,
    event: npt.ArrayLike | None = None,
    *,
    preset: str | BaselineRule = "caiso_10_in_10",
    eligible: npt.ArrayLike | Eligibility | ReferenceDays | None = None,
    excluded: npt.ArrayLike | None = None,
    today_excluded: npt.ArrayLike | None = None,
    day_score: npt.ArrayLike | MatchDay | None = None,
    nominated_w: npt.ArrayLike | Paths | None = None,
    reference_w: npt.ArrayLike | None = None,
    reference_of: npt.ArrayLike | None = None,
    units: npt.ArrayLike | None = None,
    temperature_c: npt.ArrayLike | None = None,
    today_temperature_c: npt.ArrayLike | None = None,
    zone: npt.ArrayLike | None = None,
    day_off: npt.ArrayLike | None = None,
    today_off: bool = False,
    control_w: npt.ArrayLike | None = None,
    control_of: npt.ArrayLike | None = None,
    control_event: npt.ArrayLike | None = None,
    control_excluded: npt.ArrayLike | None = None,
    touched: Any = None,
    out: str | os.PathLike[str] | None = None,
    parts: int | None = None,
    executor: Executor | None = None,
    n_threads: int = 1,
    verify: bool = False,
    progress: Progress | None = None,
) -> BaselineFiles:
    """Baselines of all PODs of a day, from files of `write_readings`, as `baseline` computes them.

    Parameters
    ----------
    history : sequence of paths
        Past days, oldest first; each one a file, a folder of files, or a list of files that hold ranges of the PODs.
        They are mapped to the clock of the event day (`day_steps`). Empty for methods that need no history.
    today : paths
        The event day; all days hold the same PODs.
    event, eligible, excluded, today_excluded : array_like, optional
        As in `baseline`: one row for each POD, in the order of their keys, or one for all. `eligible` also takes what
        `eligible_days` found, or `ReferenceDays`, which says how days are chosen and is followed block by block; what
        the events of either touch is added to `excluded` and `today_excluded`.
    day_score : array_like or MatchDay, optional
        As in `baseline`; `MatchDay` computes `match_day_distance` block by block, all touched quarter-hours excluded.
    nominated_w : array_like or paths, optional
        As in `baseline`, or files of the event day in the layout of readings, with the same PODs.
    reference_w, reference_of, units, temperature_c, today_temperature_c, zone, day_off, today_off, control_w, \
control_of, control_event, control_excluded
        As in `baseline`. What has a row for each POD is cut to the block, the rest is the same for all.
    touched : table, optional
        Columns of the table `touched`: POD, absolute quarter-hour (`MarketDay.first_qh` + step) and whether it is an
        event or its rebound or recovery, of both operators. On the event day events are added to `event` and the rest
        to `today_excluded`; on past days all are added to `excluded` (BAS-02). Other days are left aside.
    out : path, optional
        Folder to write to, in the layout of readings and with a column `status`; it appears when it is whole. The same
        baselines again leave it as it is. Without it the baselines are returned in memory.
    parts : int, optional
        Files to write and pieces of work; as many as there are threads if not given.
    executor : concurrent.futures.Executor, optional
        Where parts are computed: threads, spawned processes, a cluster with a common file system. Workers get paths,
        ranges and the masks of their rows, and return digests; no readings travel. By default `n_threads` threads.
    n_threads : int
        1 runs in the caller's thread.
    verify : bool
        Check the checksum of each page, which takes several times as long.
    progress : callable, optional
        Called with the number of PODs done and of all PODs.

    Returns
    -------
    BaselineFiles

    Raises
    ------
    FileError
        FX-B060 to FX-B065 files that are damaged, of another layout or day, or do not hold the same PODs; FX-B066 `out`
        holds something else; FX-B067 days missing, repeated or out of order; FX-B069 an executor without `out`.
    ValidationError
        As `baseline`; FX-A006 parts; FX-B081 days chosen for others than the files hold.
    """
    found = Findings("baseline_files")
    found.check_count("n_threads", n_threads, 1)
    if parts is not None:
        found.check_count("parts", parts, 1)
    found.raise_errors()
    families = FamilyArguments(
        day_score=day_score, nominated_w=nominated_w, reference_w=reference_w, reference_of=reference_of, units=units,
        temperature_c=temperature_c, today_temperature_c=today_temperature_c, zone=zone, day_off=day_off,
        today_off=today_off, control_w=control_w, control_of=control_of, control_event=control_event,
        control_excluded=control_excluded,
    )  # fmt: skip
    inputs, pods = open_inputs(
        history, today, event, preset=preset, eligible=eligible, excluded=excluded, today_excluded=today_excluded,
        families=families, touched=touched, verify=verify, n_threads=n_threads,
    )  # fmt: skip
    if executor is not None and out is None:
        refuse("FX-B069", "an executor needs a folder to write to", field="out", hint="pass out=, or n_threads=")
    if out is not None:
        return _write(inputs, pods, Path(out), parts or n_threads, executor, n_threads, progress)
    n_pods = inputs.today.n_pods
    result = empty_result(n_pods, inputs)
    digests: list[bytes] = [b""] * -(-n_pods // UNIT)
    tally = Tally(n_pods, progress)
    pool = WorkPool(inputs)

    def task(lo: int, hi: int) -> None:
        pool.run(lo, hi, result_rows(result, lo, hi))
        digests[lo // UNIT] = _unit_digest(pods[lo:hi], result.baseline_w[lo:hi], result.status[lo:hi])
        tally.add(hi - lo)

    try:
        run_chunks(task, n_pods, n_threads=n_threads, chunk=UNIT)
    finally:
        pool.close()
    counts = _counts(result.status)
    return _result(inputs, pods, digests, counts, result.baseline_w, result.status, ())


def _result(
    inputs: StreamInputs,
    pods: Any,
    digests: Sequence[bytes],
    counts: npt.NDArray[np.int64],
    power: Int32s | None,
    status: npt.NDArray[np.uint8] | None,
    files: tuple[str, ...],
) -> BaselineFiles:
    day = inputs.today.day
    head = repr((day.date.isoformat(), day.tz, day.n_steps, inputs.rule, len(pods)))
    digest = hashlib.sha256(head.encode() + b"".join(digests)).hexdigest()
    n_status = dict(zip(STATUS, counts.tolist(), strict=True))
    return BaselineFiles(day, pods, inputs.rule, digest, n_status, power, status, files)


def part_ranges(n_pods: int, parts: int) -> list[tuple[int, int]]:
    """Ranges of rows of about one size that begin at whole units; fewer than `parts` where there are fewer units."""
    n_units = -(-n_pods // UNIT)
    edges = np.linspace(0, n_units, min(parts, max(n_units, 1)) + 1).round().astype(np.int64) * UNIT
    return [(int(lo), min(int(hi), n_pods)) for lo, hi in pairwise(edges)]


def _write(
    inputs: StreamInputs,
    pods: Any,
    out: Path,
    parts: int,
    executor: Executor | None,
    n_threads: int,
    progress: Progress | None,
) -> BaselineFiles:
    """Compute and write the parts into a temporary folder, which then takes the name of `out`."""
    ranges = part_ranges(len(pods), parts)
    names = [f"part-{k:04d}-of-{len(ranges):04d}.parquet" for k in range(len(ranges))]
    with temporary_folder(out) as folder:
        results = _run_parts(inputs, ranges, [str(folder / name) for name in names], executor, n_threads, progress)
        digests = [digest for part, _ in results for digest in part]
        counts = np.asarray(np.sum([part for _, part in results], axis=0), np.int64)
        result = _result(inputs, pods, digests, counts, None, None, ())
        about = {"digest": result.digest, "date": str(result.day.date), "tz": result.day.tz, "n_pods": len(pods)}
        return replace(result, files=publish_folder(folder, out, {**about, "files": names}))


def _run_parts(
    inputs: StreamInputs,
    ranges: list[tuple[int, int]],
    paths: list[str],
    executor: Executor | None,
    n_threads: int,
    progress: Progress | None,
) -> list[tuple[list[bytes], npt.NDArray[np.int64]]]:
    tally = Tally(ranges[-1][1], progress)
    if executor is None and (n_threads == 1 or len(ranges) == 1):
        jobs = zip(ranges, paths, strict=True)
        return [write_part(inputs.part(lo, hi), lo, hi, path, tally.add) for (lo, hi), path in jobs]
    own = ThreadPoolExecutor(n_threads) if executor is None else None
    pool = executor if own is None else own
    assert pool is not None
    futures: dict[Future[Any], int] = {}
    try:
        for k, ((lo, hi), path) in enumerate(zip(ranges, paths, strict=True)):
            futures[pool.submit(write_part, inputs.part(lo, hi), lo, hi, path)] = k
        for future in as_completed(futures):
            future.result()
            lo, hi = ranges[futures[future]]
            tally.add(hi - lo)
        return [future.result() for future in futures]
    except BaseException:
        for future in futures:
            future.cancel()
        wait(futures)  # else a worker would write to a folder that is being removed
        raise
    finally:
        if own is not None:
            own.shutdown(wait=True, cancel_futures=True)
