"""Power flow in float32: only what is read and written is rounded."""

import subprocess
import sys

import numpy as np
import pytest

from flexcore.arrays import as_real
from flexcore.errors import GridError, OptionError, ValidationError
from flexcore.grid import sweeps as module
from flexcore.grid.network import Grid
from flexcore.grid.power_flow import power_flow
from tests.grid.test_power_flow import EVERYTHING, SIZES, case

CALLS = [("dc", {}), *(("linear", {"loss_sweeps": k}) for k in (0, 1, 3)), ("ac", {})]


def equal(one, other):
    """The same fields with the same bits and the same type."""
    assert one.held() == other.held()
    np.testing.assert_array_equal(one.status, other.status)
    for name in one.held():
        assert getattr(one, name).dtype == getattr(other, name).dtype, name
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)


def rounded(flow):
    """The fields of a result in float32."""
    return {name: getattr(flow, name).astype(np.float32) for name in flow.held()}


@pytest.mark.parametrize(("method", "options"), CALLS)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("n_steps", [1, 8, 203])
def test_float32_is_float64_of_the_rounded_loads_rounded(method, options, size, n_steps):
    _, _, grid, p, q = case(size[0], *size, n_steps=n_steps)
    p[1:, n_steps // 2 + 1 :: 5] = 1e7  # steps without a solution, whose results are NaN
    single_p, single_q = p.astype(np.float32), q.astype(np.float32)
    flow = power_flow(grid, single_p, single_q, method=method, outputs=EVERYTHING, dtype=np.float32, **options)
    exact = power_flow(grid, single_p, single_q, method=method, outputs=EVERYTHING, **options)
    assert exact.branch_p_kw.dtype == np.float64
    np.testing.assert_array_equal(flow.status, exact.status)
    if method != "dc" and size[0] > 1 and n_steps > 1:
        assert set(flow.status) == {0, 2}
    for name, values in rounded(exact).items():
        assert getattr(flow, name).dtype == np.float32
        np.testing.assert_array_equal(getattr(flow, name), values, err_msg=name)
    # loads in float64 are rounded on the way in
    equal(power_flow(grid, p, q, method=method, outputs=EVERYTHING, dtype="float32", **options), flow)


@pytest.mark.parametrize("method", ["dc", "linear", "ac"])
def test_threads_blocks_and_single_steps_give_the_same_bits(method, monkeypatch):
    _, _, grid, p, q = case(5, 150, 9, n_steps=203)
    p, q = p.astype(np.float32), q.astype(np.float32)
    p *= np.linspace(0.02, 1.2, 203, dtype=np.float32)

    def run(n_threads=1, steps=slice(None)):
        loads = np.ascontiguousarray(p[:, steps]), np.ascontiguousarray(q[:, steps])
        return power_flow(grid, *loads, method=method, outputs=EVERYTHING, n_threads=n_threads, dtype=np.float32)

    once = run()
    equal(run(n_threads=2), once)
    monkeypatch.setattr(module, "_LONGEST", 16)
    monkeypatch.setattr(module, "_JOB_SECONDS", 1e-6)
    monkeypatch.setattr(module, "_PACK_NODES", 1)
    equal(run(n_threads=2), once)
    for step in range(0, 203, 29):
        alone = run(steps=[step])
        for name in once.held():
            np.testing.assert_array_equal(getattr(alone, name)[:, 0], getattr(once, name)[:, step])


@pytest.mark.parametrize("method", ["dc", "linear", "ac"])
def test_out_is_overwritten_and_returned(method):
    _, _, grid, p, q = case(1, 20, 2)
    first = power_flow(grid, p, q, method=method, dtype=np.float32)
    held = first.branch_p_kw
    assert power_flow(grid, 2 * p, q, method=method, dtype=np.float32, out=first) is first
    assert first.branch_p_kw is held
    equal(first, power_flow(grid, 2 * p, q, method=method, dtype=np.float32))


def test_loads_in_float32_are_read_where_they_are():
    _, _, grid, p, q = case(1, 20, 2)
    single = p.astype(np.float32)
    assert as_real(single, "p_kw", np.float32) is single
    first = power_flow(grid, p, q, method="linear", dtype=np.float32)
    other = power_flow(grid, p, q, method="linear")
    for out, loads, dtype in (
        (first, first.v_pu, np.float32),  # overlaps: a copy would not
        (other, p, np.float32),
        (first, p, np.float64),
    ):
        with pytest.raises(ValidationError) as caught:
            power_flow(grid, loads, q, method="linear", dtype=dtype, out=out)
        assert caught.value.codes == ("FX-A005",)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e300])
@pytest.mark.parametrize("method", ["dc", "linear", "ac"])
def test_loads_that_float32_cannot_hold_are_refused_by_row(method, value):
    _, _, grid, p, q = case(4, 30, 2)
    row = int(np.flatnonzero(~grid.slack)[-1])
    p[row, 1] = value
    with pytest.raises(ValidationError) as caught:
        power_flow(grid, p, q, method=method, dtype=np.float32)
    assert caught.value.codes == ("FX-A003",)
    assert caught.value.findings[0].rows == (row,)


@pytest.mark.parametrize("dtype", [np.float16, np.int32, complex, object, None, "double precision", {}, ">f4"])
def test_other_types_are_refused(dtype):
    _, _, grid, p, q = case(4, 30, 2)
    with pytest.raises(OptionError) as caught:
        power_flow(grid, p, q, method="ac", dtype=dtype)
    assert caught.value.codes == ("FX-E002",)
    assert "float32" in str(caught.value)


def test_certified_bounds_are_not_rounded():
    _, _, grid, p, q = case(4, 30, 2)
    with pytest.raises(OptionError, match="no bound") as caught:
        power_flow(grid, p, q, method="certified", dtype=np.float32)
    assert caught.value.codes == ("FX-E002",)


@pytest.mark.parametrize("method", ["dc", "ac"])
@pytest.mark.parametrize(
    ("code", "nodes", "closing"),
    [
        ("FX-G030", {}, 1),
        ("FX-G030", {"pv": [False, False, True]}, 0),
        ("FX-G013", {"regulated": [False, True, False]}, 0),
    ],
)
def test_networks_with_loops_or_regulated_nodes_are_refused(method, code, nodes, closing):
    rows = {"id": [1, 2, 3], "v_nom_kv": [20.0] * 3, "slack": [True, False, False], **nodes}
    lines = {"id": [1, 2, 3], "from_id": [1, 2, 1], "to_id": [2, 3, 3], "r_ohm": [0.1] * 3, "x_ohm": [0.1] * 3}
    grid = Grid.from_tables(rows, {name: column[: 2 + closing] for name, column in lines.items()}, meshed=True)
    loads = np.ones((3, 2))
    assert power_flow(grid, loads, loads, method=method).converged
    with pytest.raises(GridError, match="float32") as caught:
        power_flow(grid, loads, loads, method=method, dtype=np.float32)
    assert caught.value.codes == (code,)


@pytest.mark.parametrize(("dtype", "used"), [("float32", "single"), ("float64", "double")])
def test_only_the_kernel_of_the_type_that_is_asked_for_is_compiled(dtype, used):
    code = (
        "import sys, numpy as np, flexcore as fx\n"
        "grid = fx.Grid.from_tables({'id': [1, 2], 'v_nom_kv': [0.4, 0.4], 'slack': [True, False]},"
        " {'id': [1], 'from_id': [1], 'to_id': [2], 'r_ohm': [0.1], 'x_ohm': [0.1]})\n"
        f"fx.power_flow(grid, np.ones((2, 3)), method='ac', dtype='{dtype}')\n"
        "print(*(m.rsplit('_', 1)[1] for m in sys.modules if m.startswith('flexcore.kernels.grid.distflow_')))"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.split() == [used]
