"""The power flow beside its peers and the floor, case by case; every row is checked against AC at 1e-12."""

import sys
from typing import Any

import numpy as np

from benchmarks.cases import CASES, Case
from benchmarks.floor import Floor
from benchmarks.peers import peer_engines
from benchmarks.timing import Engine, interleave, milliseconds, ratio, timed
from flexcore.grid.network import Grid
from flexcore.grid.power_flow import PowerFlowResult, power_flow

OUTPUTS = ("branch_p_kw", "v_pu")
TOLERANCES = (1e-6, 1e-8, 1e-10)
#: Gaps to the reference below this are rounding, and count as none.
ROUNDING = 1e-11


def held(
    grid: Grid, n_steps: int, method: str, arrays: tuple[np.ndarray, np.ndarray] | None = None, dtype: Any = np.float64
) -> PowerFlowResult:
    """A result to be used as `out`, whose pages have been touched."""
    p, v = arrays or (np.zeros((grid.n_branches, n_steps), dtype), np.zeros((grid.n_nodes, n_steps), dtype))
    return PowerFlowResult(method, np.zeros(n_steps, np.uint8), branch_p_kw=p, v_pu=v)


def own_engines(case: Case, threads: int) -> list[Engine]:
    """Every method with fresh outputs, and with `out=`: in the user's order, in random order, on one thread."""

    def read(flow: PowerFlowResult) -> tuple[np.ndarray | None, np.ndarray | None]:
        assert flow.converged
        return flow.v_pu, flow.branch_p_kw

    # a shuffled network may declare its branches in another order
    back = case.moved.branch_index(case.grid.branch_ids)

    def read_moved(flow: PowerFlowResult) -> tuple[np.ndarray, np.ndarray]:
        assert flow.converged
        return flow.v_pu[case.place], flow.branch_p_kw[back]  # type: ignore[index]

    moved = case.moved, case.shuffle(case.p), case.shuffle(case.q)
    single = case.p.astype(np.float32), case.q.astype(np.float32)
    rows = []
    variants = [("dc", "dc", "DC", {})]
    variants += [(f"linear-{k}", "linear", f"LinDistFlow, {k} loss sweeps", {"loss_sweeps": k}) for k in range(4)]
    variants += [(f"ac-{tol:.0e}", "ac", f"AC to {tol:.0e}", {"tolerance": tol}) for tol in TOLERANCES]
    for name, method, model, options in variants:

        def call(
            grid: Grid = case.grid, p: np.ndarray = case.p, q: np.ndarray = case.q, method: str = method,
            options: dict[str, Any] = options, n: int = threads, out: PowerFlowResult | None = None,
            dtype: Any = np.float64,
        ) -> PowerFlowResult:  # fmt: skip
            return power_flow(grid, p, q, method=method, outputs=OUTPUTS, n_threads=n, dtype=dtype, out=out, **options)

        rows.append(Engine(f"flexcore {name}", model, call, read, fresh=True))
        if name not in ("linear-0", "ac-1e-08"):
            continue
        out = held(case.grid, case.p.shape[1], method)
        arrays = out.branch_p_kw, out.v_pu
        out_single = held(case.grid, case.p.shape[1], method, dtype=np.float32)
        out_moved = held(case.moved, case.p.shape[1], method, arrays)  # type: ignore[arg-type]
        rows += [
            Engine(f"flexcore {name} out", model, lambda call=call, out=out: call(out=out), read),
            Engine(f"flexcore {name} out 1-thread", model, lambda call=call, out=out: call(n=1, out=out), read),
            Engine(
                f"flexcore {name} out float32",
                model,
                lambda call=call, out=out_single: call(p=single[0], q=single[1], out=out, dtype=np.float32),
                read,
            ),
            Engine(
                f"flexcore {name} out random-order",
                model,
                lambda call=call, out=out_moved: call(*moved, out=out),
                read_moved,
            ),
            Engine(
                f"flexcore {name} random-order", model, lambda call=call: call(*moved), read_moved
            ),
        ]  # fmt: skip
    return rows


def check(engines: list[Engine], exact: PowerFlowResult) -> None:
    """Warm every engine up and note its largest gaps: of voltages in pu, of flows in parts of the largest flow."""
    assert exact.converged
    v_true, p_true = exact.v_pu, exact.branch_p_kw
    assert v_true is not None
    assert p_true is not None
    largest = np.abs(p_true).max()
    for engine in engines:
        v, p = engine.read(engine.run())
        if v is not None:
            engine.v_error = float(np.abs(v - v_true[:, engine.steps]).max())
        if p is not None:
            engine.p_error = float(np.abs(p - p_true[:, engine.steps]).max() / largest)


def rival(peer: Engine, own: list[Engine]) -> Engine:
    """The fastest own call with fresh outputs that gives what the peer gives with gaps no larger.

    AC peers are compared with AC only; where every own call has a larger gap, with the most accurate one.
    """

    def no_larger(mine: float | None, other: float | None) -> bool:
        return other is None or (mine is not None and mine <= max(other, ROUNDING))

    rows = [row for row in own if row.fresh and (row.ac or not peer.ac)]
    fit = [row for row in rows if no_larger(row.v_error, peer.v_error) and no_larger(row.p_error, peer.p_error)]
    return min(fit, key=lambda row: milliseconds(row)["ms"]) if fit else rows[-1]


def run_case(case: Case, threads: int, rounds: int, quick: bool) -> list[dict[str, Any]]:
    """All rows of one case; the floor is the last."""
    own = own_engines(case, threads)
    peers = peer_engines(case, threads)
    floor = Floor(threads, 1 << 22 if quick else 1 << 30).engine(case.bytes)
    check(own + peers, power_flow(case.grid, case.p, case.q, method="ac", outputs=OUTPUTS, tolerance=1e-12))
    interleave([*own, *peers, floor], rounds)
    by_name = {row.name: row for row in own}
    table = []
    for engine in [*own, *peers, floor]:
        row = {
            "name": f"power_flow/{case.name}/{engine.name.replace(' ', '/', 1).replace(' ', '-')}",
            "model": engine.model,
            **milliseconds(engine),
            "rounds": len(engine.seconds),
            "v_error_pu": engine.v_error,
            "p_error": engine.p_error,
            "build_ms": None if engine.build_s is None else 1e3 * engine.build_s,
        }
        if engine in peers:
            other = rival(engine, own)
            row |= dict(zip(("times_flexcore", "times_min", "times_max"), ratio(engine, other), strict=True))
            row["compared_with"] = other.name
        elif " out" in engine.name:
            row["times_floor"] = ratio(engine, floor)[0]
            two = by_name[f"{' '.join(engine.name.split()[:2])} out"]
            if engine is not two:
                row["times_out"] = ratio(engine, two)[0]
        elif engine.name.endswith("random-order"):
            row["times_user_order"] = ratio(engine, by_name[engine.name.removesuffix(" random-order")])[0]
        table.append(row)
    return table


def run(threads: int, quick: bool, rounds: int, case: str | None = None) -> list[dict[str, Any]]:
    """Every case in turn, or one; each is dropped before the next is made."""
    rows = []
    for name, make in CASES.items():
        if case not in (None, name):
            continue
        seconds, made = timed(lambda make=make: make(quick))
        # minutes without a word look like a hang; standard output is the report
        print(f"{name}: made in {seconds:.0f} s, {rounds} rounds", file=sys.stderr, flush=True)
        rows.append(
            {
                "name": f"case/{name}",
                "title": made.title,
                "n_nodes": made.grid.n_nodes,
                "n_steps": made.p.shape[1],
                "bytes": made.bytes,
                "made_in_s": seconds,
            }
        )
        rows += run_case(made, threads, rounds, quick)
    return rows
