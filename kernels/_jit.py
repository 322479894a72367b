"""The one place where flexcore calls numba's jit.

Every kernel has one explicit signature, releases the GIL, never raises and compiles without fastmath or parallel loops:
the same input gives the same bits on any number of threads, and a host may fork or thread as it likes. Machine code
is cached in a folder named by a digest of all kernel sources and of what compiles them, because numba itself does not
notice an edit in a function that a kernel calls from another file.
"""

import functools
import hashlib
import os
import platform
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import llvmlite
import numba
from llvmlite import ir
from numba import config, types
from numba.core import cgutils
from numba.extending import intrinsic, register_jitable

_SCALARS = {
    "F64": types.float64,
    "F32": types.float32,
    "I64": types.int64,
    "I32": types.int32,
    "I16": types.int16,
    "I8": types.int8,
    "U64": types.uint64,
    "U32": types.uint32,
    "U16": types.uint16,
    "U8": types.uint8,
    "B1": types.boolean,
}
f64, f32, i64, i32, i8, u64, u8, b1 = (
    types.float64,
    types.float32,
    types.int64,
    types.int32,
    types.int8,
    types.uint64,
    types.uint8,
    types.boolean,
)
_LOCK = threading.Lock()
_LINE_BYTES = 64


def _array(scalar: types.Type, ndim: int, *, out: bool) -> types.Array:
    """C-contiguous array type; a read-only signature also takes writable arrays, the reverse is refused."""
    return types.Array(scalar, ndim, "C", readonly=not out)


def __getattr__(name: str) -> types.Type:
    """Give `F64`, `I32_2D`, `U8_2D_OUT`, ...: scalar, dimensions (one if not said), `_OUT` if written to."""
    parts = name.split("_")
    out = parts[-1] == "OUT"
    ndim = next((int(part[0]) for part in parts[1:] if part in ("1D", "2D", "3D")), 1)
    if parts[0] not in _SCALARS or not set(parts[1:]) <= {"1D", "2D", "3D", "OUT"}:
        raise AttributeError(name)
    return _array(_SCALARS[parts[0]], ndim, out=out)


@functools.cache
def _source_digest() -> str:
    """Digest of everything that decides the machine code: sources, compiler versions, Python and CPU."""
    from llvmlite import binding

    cpu = f"{binding.get_host_cpu_name()} {binding.get_host_cpu_features().flatten()}"
    known = f"{numba.__version__} {llvmlite.__version__} {platform.python_version()} {platform.machine()} {cpu}"
    digest = hashlib.sha256(known.encode())
    root = Path(__file__).parent
    for path in sorted(root.rglob("*.py")):
        digest.update(path.relative_to(root).as_posix().encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def cache_folder() -> Path | None:
    """Folder for compiled kernels, or None where FLEXCORE_CACHE=0 or the machine has no home folder."""
    if os.environ.get("FLEXCORE_CACHE") == "0":
        return None
    base = os.environ.get("NUMBA_CACHE_DIR") or os.environ.get("XDG_CACHE_HOME")
    if not base:
        try:
            base = str(Path.home() / ".cache")
        except RuntimeError:  # no home folder: run uncached
            return None
    return Path(base) / "flexcore" / _source_digest()


def _enable_cache(compiled: Any) -> None:
    """Turn caching on for one dispatcher; numba's own setting is a global, so it is put back at once, under a lock."""
    folder = cache_folder()
    if folder is None:
        return
    with _LOCK:
        before = config.CACHE_DIR
        config.CACHE_DIR = str(folder)
        try:
            compiled.enable_caching()
        except (RuntimeError, OSError):  # nowhere writable: run uncached
            pass
        finally:
            config.CACHE_DIR = before


def _compile(func: Callable[..., Any], signatures: list[Any]) -> Any:
    # error_model="numpy": the default one adds a zero check to each division (20-40 %) and lets kernels raise
    # kernels are called from Python only: a door for C is compiled and loaded in vain
    compiled = numba.njit(nogil=True, error_model="numpy", no_cfunc_wrapper=True)(func)
    if not hasattr(compiled, "disable_compile"):  # NUMBA_DISABLE_JIT=1 gives the plain function back
        return compiled
    _enable_cache(compiled)
    for signature in signatures:
        compiled.compile(signature)
    compiled.disable_compile()
    return compiled


def kernel(*arg_types: types.Type, returns: types.Type = types.void) -> Callable[[Callable[..., Any]], Any]:
    """Compile for exactly one signature, GIL released, cached, no fastmath."""
    return lambda func: _compile(func, [returns(*arg_types)])


def kernel_real(*arg_types: types.Type, returns: types.Type = types.void) -> Callable[[Callable[..., Any]], Any]:
    """Compile for exactly two signatures: as written (float64) and with every float64 replaced by float32."""

    def single(kind: types.Type) -> types.Type:
        if kind == types.float64:
            return types.float32
        if isinstance(kind, types.Array) and kind.dtype == types.float64:
            return types.Array(types.float32, kind.ndim, kind.layout, readonly=not kind.mutable)
        return kind

    both = [returns(*arg_types), single(returns)(*(single(kind) for kind in arg_types))]
    return lambda func: _compile(func, both)


def inner(func: Callable[..., Any]) -> Any:
    """Mark a function that kernels call: compiled within its caller, never on its own; from Python it is plain Python.

    Nothing calls its machine code but kernels, so the doors through which Python and C would come in, a tenth of all
    time to compile, are left out.
    """
    return register_jitable(nogil=True, error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True)(func)


if config.DISABLE_JIT:

    def fetch_ahead(array, row, column):
        """Do nothing: plain Python has no use for it."""

    def per_line(array):
        """Return how many entries of an array fit in a cache line."""
        return _LINE_BYTES // array.itemsize

else:

    @intrinsic
    def fetch_ahead(typingctx, array, row, column):
        """Ask the processor for the cache line of an entry of a 2-D array that will be needed soon; changes nothing."""

        def generate(context, builder, signature, args):
            view = context.make_array(signature.args[0])(context, builder, args[0])
            width = builder.extract_value(view.shape, 1)
            place = builder.add(builder.mul(args[1], width), args[2])
            address = builder.bitcast(builder.gep(view.data, [place]), cgutils.voidptr_t)
            number = ir.IntType(32)
            kind = ir.FunctionType(ir.VoidType(), [cgutils.voidptr_t, number, number, number])
            target = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
            builder.call(target, [address, number(0), number(3), number(1)])
            return context.get_dummy_value()

        return types.void(array, types.int64, types.int64), generate

    @intrinsic
    def per_line(typingctx, array):
        """Return how many entries of an array fit in a cache line, a constant of the machine code."""
        entries = _LINE_BYTES * 8 // array.dtype.bitwidth
        return types.int64(array), lambda context, builder, sig, args: context.get_constant(types.int64, entries)
