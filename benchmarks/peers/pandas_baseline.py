"""pandas for High X of Y, on a row for each reading (long) and on a column for each quarter-hour (wide)."""

import numpy as np

from benchmarks.baseline import BaselineCase
from benchmarks.timing import Engine


def engines(case: BaselineCase, threads: int) -> list[Engine]:
    """Sort by score, head of each group, sum of each group; pandas has one thread."""
    import pandas as pd

    n_pods, n_days, n_steps = case.history_w.shape
    steps = np.arange(n_steps)
    index = pd.MultiIndex.from_product([np.arange(n_pods), np.arange(n_days)], names=["pod", "day"])
    history = pd.DataFrame(case.history_w.reshape(-1, n_steps), index=index, columns=steps)
    today = pd.DataFrame(case.today_w, index=pd.Index(np.arange(n_pods), name="pod"), columns=steps)
    n, window, event = case.n_selected, steps[case.window], steps[case.event]

    def run() -> np.ndarray:
        score = history[event].sum(axis=1).rename("score").reset_index().sort_values("score", kind="stable")
        chosen = score.groupby("pod").tail(n).index
        total = history.iloc[np.sort(chosen)].groupby(level="pod").sum()
        shift = (today[window].sum(axis=1) * n - total[window].sum(axis=1)) / (n * len(window))
        return (total / n).add(shift, axis=0).round().astype(np.int32).to_numpy()

    labels = {"pod": np.arange(n_pods, dtype=np.int32), "day": np.arange(n_days), "step": steps}
    of_history = pd.MultiIndex.from_product(labels.values(), names=labels.keys())
    history_long = pd.DataFrame({"w": case.history_w.ravel()}, index=of_history).reset_index()
    of_today = pd.MultiIndex.from_product([labels["pod"], steps], names=["pod", "step"])
    today_long = pd.DataFrame({"now": case.today_w.ravel()}, index=of_today).reset_index()

    def run_long() -> np.ndarray:
        during = history_long[history_long["step"].between(event[0], event[-1])]
        score = during.groupby(["pod", "day"], as_index=False)["w"].sum().sort_values("w", kind="stable")
        chosen = score.groupby("pod").tail(n)[["pod", "day"]]
        total = history_long.merge(chosen, on=["pod", "day"]).groupby(["pod", "step"], as_index=False)["w"].sum()
        before = today_long[today_long["step"].between(window[0], window[-1])].merge(total, on=["pod", "step"])
        sums = before.groupby("pod")[["now", "w"]].sum()
        shift = (sums["now"] * n - sums["w"]) / (n * len(window))
        result = total["w"] / n + total["pod"].map(shift)
        return result.round().astype(np.int32).to_numpy().reshape(n_pods, n_steps)

    return [Engine("pandas long", "1 thread", run_long), Engine("pandas wide", "1 thread", run)]
