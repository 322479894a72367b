"""duckdb for High X of Y, on a row for each reading (long) and on a column for each quarter-hour (wide)."""

import numpy as np

from benchmarks.baseline import BaselineCase
from benchmarks.timing import Engine


def engines(case: BaselineCase, threads: int) -> list[Engine]:
    """One query over two tables in memory for each layout."""
    import duckdb
    import pyarrow as pa

    n_pods, n_days, n_steps = case.history_w.shape
    names = [f"q{t}" for t in range(n_steps)]
    pod = np.arange(n_pods, dtype=np.int32)
    past = case.history_w.reshape(-1, n_steps)
    history = pa.table(
        {
            "pod": np.repeat(pod, n_days),
            "day": np.tile(np.arange(n_days, dtype=np.int8), n_pods),
            **{name: np.ascontiguousarray(past[:, t]) for t, name in enumerate(names)},
        }
    )
    today = pa.table({"pod": pod} | {name: np.ascontiguousarray(case.today_w[:, t]) for t, name in enumerate(names)})
    link = duckdb.connect(config={"threads": threads})
    link.register("history_arrow", history)
    link.register("today_arrow", today)
    link.execute("CREATE TABLE history AS SELECT * FROM history_arrow")
    link.execute("CREATE TABLE today AS SELECT * FROM today_arrow")
    n, window = case.n_selected, names[case.window]
    score = " + ".join(f"{name}::BIGINT" for name in names[case.event])
    means = ", ".join(f"round_even(total.{name}::DOUBLE / {n} + shift, 0)::INTEGER AS {name}" for name in names)
    query = f"""
        WITH ranked AS (
            SELECT *, row_number() OVER (PARTITION BY pod ORDER BY {score} DESC, day DESC) AS place FROM history
        ), total AS (
            SELECT pod, {", ".join(f"sum({name})::BIGINT AS {name}" for name in names)}
            FROM ranked WHERE place <= {n} GROUP BY pod
        ), shifts AS (
            SELECT pod, (({" + ".join(f"today.{name}::BIGINT" for name in window)}) * {n}
                - ({" + ".join(f"total.{name}" for name in window)}))::DOUBLE / {n * len(window)} AS shift
            FROM total JOIN today USING (pod)
        )
        SELECT {means} FROM total JOIN shifts USING (pod) ORDER BY pod
    """  # names and numbers are ours

    def run() -> np.ndarray:
        columns = link.execute(query).fetchnumpy()
        return np.column_stack([columns[name] for name in names])

    link.execute("CREATE TABLE history_long AS UNPIVOT history ON COLUMNS('q.*') INTO NAME step VALUE w")
    link.execute("CREATE TABLE today_long AS UNPIVOT today ON COLUMNS('q.*') INTO NAME step VALUE w")
    for name in ("history_long", "today_long"):
        link.execute(f"ALTER TABLE {name} ALTER step TYPE SMALLINT USING step[2:]::SMALLINT")
    event, before = case.event, case.window
    long_query = f"""
        WITH scores AS (
            SELECT pod, day, sum(w)::BIGINT AS score FROM history_long
            WHERE step BETWEEN {event.start} AND {event.stop - 1} GROUP BY pod, day
        ), chosen AS (
            SELECT pod, day FROM scores
            QUALIFY row_number() OVER (PARTITION BY pod ORDER BY score DESC, day DESC) <= {n}
        ), total AS (
            SELECT pod, step, sum(w)::BIGINT AS w FROM history_long JOIN chosen USING (pod, day) GROUP BY pod, step
        ), shifts AS (
            SELECT pod, (sum(today_long.w)::BIGINT * {n} - sum(total.w)::BIGINT)::DOUBLE / {n * len(window)} AS shift
            FROM today_long JOIN total USING (pod, step)
            WHERE step BETWEEN {before.start} AND {before.stop - 1} GROUP BY pod
        )
        SELECT round_even(w::DOUBLE / {n} + shift, 0)::INTEGER AS w FROM total JOIN shifts USING (pod)
        ORDER BY pod, step
    """  # numbers are ours

    def run_long() -> np.ndarray:
        return link.execute(long_query).fetchnumpy()["w"].reshape(n_pods, n_steps)

    model = f"{threads} threads"
    return [Engine("duckdb long", model, run_long), Engine("duckdb wide", model, run)]
