"""A guest in its host: kernels leave no global behind and run in threads and in forked children with the same bits."""

import ast
import importlib
import multiprocessing
import os
import pkgutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import flexcore as fx

JIT = os.environ.get("NUMBA_DISABLE_JIT", "0") == "0"


def kernel_modules():
    import flexcore.kernels as kernels

    names = [m.name for m in pkgutil.walk_packages(kernels.__path__, "flexcore.kernels.") if not m.ispkg]
    return [importlib.import_module(name) for name in names]


def solve(_=None):
    n = 200
    rng = np.random.default_rng(0)
    grid = fx.Grid.from_tables(
        {"id": np.arange(n), "v_nom_kv": np.full(n, 20.0), "slack": np.arange(n) == 0},
        {
            "id": np.arange(n - 1),
            "from_id": [int(rng.integers(0, i)) for i in range(1, n)],
            "to_id": np.arange(1, n),
            "r_ohm": np.full(n - 1, 0.1),
            "x_ohm": np.full(n - 1, 0.1),
        },
    )
    p_kw = rng.uniform(0, 20, (n, 300))
    p_kw.flags.writeable = False
    flow = fx.power_flow(grid, p_kw, 0.3 * p_kw, method="ac", n_threads=2)
    return flow.v_pu.tobytes()


@pytest.mark.skipif(not JIT, reason="without the jit there is nothing compiled to look at")
def test_every_kernel_has_fixed_signatures_and_no_hidden_threads():
    seen = 0
    for module in kernel_modules():
        tree = ast.parse(Path(module.__file__).read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef):
                name, marks = node.name, [ast.unparse(mark).split("(")[0] for mark in node.decorator_list]
            elif isinstance(node, ast.Assign):  # name = kernel(...)(function of another file)
                name, marks = ast.unparse(node.targets[0]), [ast.unparse(node.value).split("(")[0]]
            else:
                continue
            if "kernel" not in marks and "kernel_real" not in marks:
                continue
            seen += 1
            compiled = getattr(module, name)
            assert len(compiled.signatures) == (2 if "kernel_real" in marks else 1), name
            assert not compiled.targetoptions.get("parallel"), name
            assert not compiled.targetoptions.get("fastmath"), name
            assert compiled.targetoptions["nogil"], name
            assert not compiled._can_compile, name
    assert seen >= 30


@pytest.mark.skipif(not JIT, reason="numba is not asked to cache anything")
def test_numba_settings_are_left_as_they_were():
    from numba import config

    before = config.CACHE_DIR
    kernel_modules()
    assert before == config.CACHE_DIR
    assert "flexcore" not in before


def test_threads_of_the_host_get_the_same_bits():
    alone = solve()
    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(solve, range(8))) == {alone}


def test_a_forked_child_gets_the_same_bits():
    alone = solve()
    with multiprocessing.get_context("fork").Pool(1) as pool:
        assert pool.apply(solve) == alone
