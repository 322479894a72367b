"""polars for High X of Y, on a row for each reading (long) and on a column for each quarter-hour (wide)."""

import os

import numpy as np

from benchmarks.baseline import BaselineCase
from benchmarks.timing import Engine


def engines(case: BaselineCase, threads: int) -> list[Engine]:
    """One lazy query over two frames for each layout."""
    os.environ.setdefault("POLARS_MAX_THREADS", str(threads))
    import polars as pl

    n_pods, n_days, n_steps = case.history_w.shape
    names = [f"q{t}" for t in range(n_steps)]
    pod = np.arange(n_pods, dtype=np.int32)
    past = case.history_w.reshape(-1, n_steps)
    history = pl.DataFrame(
        {
            "pod": np.repeat(pod, n_days),
            "day": np.tile(np.arange(n_days, dtype=np.int64), n_pods),
            **{name: np.ascontiguousarray(past[:, t]) for t, name in enumerate(names)},
        }
    )
    today = pl.DataFrame({"pod": pod} | {f"{name}_now": case.today_w[:, t] for t, name in enumerate(names)})
    n, window = case.n_selected, names[case.window]

    def total(columns: list[str]) -> pl.Expr:
        return pl.sum_horizontal(pl.col(name).cast(pl.Int64) for name in columns)

    key = total(names[case.event]) * n_days + pl.col("day")
    shift = (total([f"{name}_now" for name in window]) * n - total(window)) / (n * len(window))
    plan = (
        history.lazy()
        .with_columns(key=key)
        .filter(pl.col("key").rank("ordinal", descending=True).over("pod") <= n)
        .group_by("pod")
        .agg(pl.col(name).cast(pl.Int64).sum() for name in names)
        .join(today.lazy().select("pod", *(f"{name}_now" for name in window)), on="pod")
        .with_columns(shift=shift)
        .sort("pod")
        .select((pl.col(name) / n + pl.col("shift")).round(0, mode="half_to_even").cast(pl.Int32) for name in names)
    )

    step = np.arange(n_steps, dtype=np.int16)
    history_long = pl.DataFrame(
        {
            "pod": np.repeat(pod, n_days * n_steps),
            "day": np.tile(np.repeat(np.arange(n_days, dtype=np.int64), n_steps), n_pods),
            "step": np.tile(step, n_pods * n_days),
            "w": case.history_w.ravel(),
        }
    ).lazy()
    today_long = pl.DataFrame(
        {"pod": np.repeat(pod, n_steps), "step": np.tile(step, n_pods), "now": case.today_w.ravel()}
    ).lazy()
    watts = pl.col("w").cast(pl.Int64)
    chosen = (
        history_long.filter(pl.col("step").is_between(case.event.start, case.event.stop - 1))
        .group_by("pod", "day")
        .agg(key=watts.sum() * n_days + pl.col("day").first())
        .filter(pl.col("key").rank("ordinal", descending=True).over("pod") <= n)
        .select("pod", "day")
    )
    totals = history_long.join(chosen, on=["pod", "day"]).group_by("pod", "step").agg(watts.sum())
    shifts = (
        today_long.filter(pl.col("step").is_between(case.window.start, case.window.stop - 1))
        .join(totals, on=["pod", "step"])
        .group_by("pod")
        .agg(shift=(pl.col("now").cast(pl.Int64).sum() * n - watts.sum()) / (n * len(window)))
    )
    long_plan = (
        totals.join(shifts, on="pod")
        .sort("pod", "step")
        .select((pl.col("w") / n + pl.col("shift")).round(0, mode="half_to_even").cast(pl.Int32))
    )
    model = f"{pl.thread_pool_size()} threads"
    return [
        Engine("polars long", model, lambda: long_plan.collect()["w"].to_numpy().reshape(n_pods, n_steps)),
        Engine("polars wide", model, lambda: plan.collect().to_numpy()),
    ]
