"""Eight steps at once: a value type that numba keeps in vector registers.

The compiler's own vectoriser gives a loop up for reasons that the source does not show: a signed index, one more row
that might overlap another, two outputs. Here the eight lanes are said, so the machine code is what was written, on any
processor (one register of eight, two of four, four of two), and there is less to compile. Each lane is computed as a
float64 on its own, with the same operations in the same order: the bits do not depend on the width.

Arrays may be float64, float32 or int32; lanes that are stored as int32 must fit. `load` and `store` do not look at
bounds: the caller keeps `column + 8` within the row. `load_some` and `store_some` touch only as many entries as they
are told.
"""

import operator

import numpy as np
from llvmlite import ir
from numba import config, types
from numba.core import cgutils
from numba.core.imputils import lower_builtin
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import intrinsic, models, register_model

from flexcore.kernels._jit import inner

#: Lanes of a vector.
WIDTH = 8

_DOUBLE, _INT = ir.DoubleType(), ir.IntType(32)
_VECTOR = ir.VectorType(_DOUBLE, WIDTH)


class _VectorType(types.Type):
    """Eight float64."""

    def __init__(self):
        super().__init__(name=f"Vector{WIDTH}")


_V = _VectorType()
_OPERATORS = {
    operator.add: "fadd",
    operator.sub: "fsub",
    operator.mul: "fmul",
    operator.truediv: "fdiv",
    operator.iadd: "fadd",
    operator.isub: "fsub",
    operator.imul: "fmul",
    operator.itruediv: "fdiv",
}


@register_model(_VectorType)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager, kind):
        super().__init__(manager, kind, _VECTOR)


def _spread(builder, number):
    """Give every lane the same number."""
    nothing = ir.Constant(_VECTOR, ir.Undefined)
    first = builder.insert_element(nothing, number, ir.Constant(_INT, 0))
    return builder.shuffle_vector(first, nothing, ir.Constant(ir.VectorType(_INT, WIDTH), [0] * WIDTH))


def _as_vector(builder, value, kind):
    return value if isinstance(kind, _VectorType) else _spread(builder, value)


def _register(operation, instruction):
    """Let an operator take vectors, and a vector with a number on either side."""

    @infer_global(operation)
    class _Template(AbstractTemplate):
        def generic(self, args, kws):
            if len(args) == 2 and any(isinstance(arg, _VectorType) for arg in args):
                return signature(_V, *(arg if isinstance(arg, _VectorType) else types.float64 for arg in args))
            return None

    def lower(context, builder, sig, args):
        left, right = (_as_vector(builder, value, kind) for value, kind in zip(args, sig.args, strict=True))
        return getattr(builder, instruction)(left, right)

    for kinds in ((_VectorType, _VectorType), (_VectorType, types.Float), (types.Float, _VectorType)):
        lower_builtin(operation, *kinds)(lower)


for _operation, _instruction in _OPERATORS.items():
    _register(_operation, _instruction)


def _address(context, builder, kind, array, row, column):
    """Place of the first lane, and the type of eight entries there."""
    view = context.make_array(kind)(context, builder, array)
    per_row = builder.extract_value(view.shape, 1)
    place = builder.gep(view.data, [builder.add(builder.mul(row, per_row), column)])
    entries = ir.VectorType(context.get_data_type(kind.dtype), WIDTH)
    return builder.bitcast(place, entries.as_pointer()), entries


def _first(builder, count):
    """Mask of the first `count` lanes."""
    whole = ir.IntType(64)
    lanes = ir.Constant(ir.VectorType(whole, WIDTH), list(range(WIDTH)))
    nothing = ir.Constant(lanes.type, ir.Undefined)
    limit = builder.insert_element(nothing, count, ir.Constant(_INT, 0))
    limit = builder.shuffle_vector(limit, nothing, ir.Constant(ir.VectorType(_INT, WIDTH), [0] * WIDTH))
    return builder.icmp_signed("<", lanes, limit)


def _masked(builder, name, result, entries, given):
    entry = "i32" if entries.element == _INT else "f64" if entries == _VECTOR else "f32"
    kind = ir.FunctionType(result, [value.type for value in given])
    function = cgutils.get_or_insert_function(builder.module, kind, f"llvm.masked.{name}.v{WIDTH}{entry}.p0")
    return builder.call(function, given)


def _widen(builder, value):
    """Turn entries of an array into lanes."""
    if value.type == _VECTOR:
        return value
    return (builder.sitofp if value.type.element == _INT else builder.fpext)(value, _VECTOR)


def _narrow(builder, value, entries):
    """Turn lanes into entries of an array."""
    if entries == _VECTOR:
        return value
    return (builder.fptosi if entries.element == _INT else builder.fptrunc)(value, entries)


def _of_lanes(name):
    """Make an operation on each lane of one vector from one of LLVM's."""

    def generate(context, builder, sig, args):
        kind = ir.FunctionType(_VECTOR, [_VECTOR])
        return builder.call(cgutils.get_or_insert_function(builder.module, kind, f"llvm.{name}.v{WIDTH}f64"), args)

    return generate


def _number(kind):
    return kind if isinstance(kind, _VectorType) else types.float64


if config.DISABLE_JIT:

    def load(array, row, column):
        """Return eight entries of a row."""
        return array[row, column : column + WIDTH].astype(np.float64)

    def store(array, row, column, value):
        """Write eight entries of a row."""
        array[row, column : column + WIDTH] = value

    def load_some(array, row, column, count):
        """Return up to eight entries of a row, zeros for those beyond `count`."""
        value = np.zeros(WIDTH)
        n = min(count, WIDTH)
        value[:n] = array[row, column : column + n]
        return value

    def store_some(array, row, column, count, value):
        """Write up to eight entries of a row, none beyond `count`."""
        n = min(count, WIDTH)
        array[row, column : column + n] = value[:n]

    def spread(number):
        """Return eight times the same number."""
        return np.full(WIDTH, float(number))

    def sqrt(value):
        """Return square roots."""
        return np.sqrt(value)

    def rint(value):
        """Return the nearest whole numbers, halves to even."""
        return np.rint(value)

    def magnitude(value):
        """Return values without their sign."""
        return np.abs(value)

    def whole_quotient(value, divisor, inverse):
        """Return `value / divisor`, correctly rounded, for whole numbers below 2**53, given `1 / divisor`."""
        return value / divisor

    def any_less(left, right):
        """Return whether `left < right` in any lane."""
        return bool(np.less(left, right).any())

    def whole_total(value):
        """Return the sum of all lanes, which are whole numbers with a sum below 2**53: the order changes no bit."""
        return float(value.sum())

    def where_less(left, right, yes, no):
        """Return `yes` in the lanes in which `left < right`, else `no`; a comparison with NaN is never true."""
        return np.where(np.less(left, right), yes, no)

    def total(value):
        """Return the sum of all lanes, from the first to the last."""
        result = 0.0
        for lane in value:
            result += lane
        return result

else:

    @intrinsic
    def load(typingctx, array, row, column):
        """Return eight entries of a row of a 2-D array of float64 or float32."""

        def generate(context, builder, sig, args):
            place, _ = _address(context, builder, sig.args[0], *args)
            return _widen(builder, builder.load(place, align=4))

        return _V(array, types.int64, types.int64), generate

    @intrinsic
    def store(typingctx, array, row, column, value):
        """Write eight entries of a row of a 2-D array of float64 or float32."""

        def generate(context, builder, sig, args):
            place, entries = _address(context, builder, sig.args[0], *args[:3])
            builder.store(_narrow(builder, args[3], entries), place, align=4)
            return context.get_dummy_value()

        return types.void(array, types.int64, types.int64, _V), generate

    @intrinsic
    def load_some(typingctx, array, row, column, count):
        """Return up to eight entries of a row, zeros for those beyond `count`."""

        def generate(context, builder, sig, args):
            place, entries = _address(context, builder, sig.args[0], *args[:3])
            whole = builder.icmp_signed(">=", args[3], ir.Constant(args[3].type, WIDTH))
            with builder.if_else(whole, likely=True) as (then, otherwise):
                with then:
                    all_of_them, block = builder.load(place, align=4), builder.block
                with otherwise:
                    given = [place, _INT(4), _first(builder, args[3]), ir.Constant(entries, None)]
                    some_of_them, other_block = _masked(builder, "load", entries, entries, given), builder.block
            value = builder.phi(entries)
            value.add_incoming(all_of_them, block)
            value.add_incoming(some_of_them, other_block)
            return _widen(builder, value)

        return _V(array, types.int64, types.int64, types.int64), generate

    @intrinsic
    def store_some(typingctx, array, row, column, count, value):
        """Write up to eight entries of a row, none beyond `count`."""

        def generate(context, builder, sig, args):
            place, entries = _address(context, builder, sig.args[0], *args[:3])
            given = _narrow(builder, args[4], entries)
            whole = builder.icmp_signed(">=", args[3], ir.Constant(args[3].type, WIDTH))
            with builder.if_else(whole, likely=True) as (then, otherwise):
                with then:
                    builder.store(given, place, align=4)
                with otherwise:
                    some = [given, place, _INT(4), _first(builder, args[3])]
                    _masked(builder, "store", ir.VoidType(), entries, some)
            return context.get_dummy_value()

        return types.void(array, types.int64, types.int64, types.int64, _V), generate

    @intrinsic
    def spread(typingctx, number):
        """Return eight times the same number."""
        return _V(types.float64), lambda context, builder, sig, args: _spread(builder, args[0])

    @intrinsic
    def sqrt(typingctx, value):
        """Return square roots."""
        return _V(_V), _of_lanes("sqrt")

    @intrinsic
    def rint(typingctx, value):
        """Return the nearest whole numbers, halves to even."""
        return _V(_V), _of_lanes("rint")

    @intrinsic
    def magnitude(typingctx, value):
        """Return values without their sign."""
        return _V(_V), _of_lanes("fabs")

    @intrinsic
    def whole_quotient(typingctx, value, divisor, inverse):
        """Return `value / divisor`, correctly rounded, for whole numbers below 2**53, given `1 / divisor`.

        Three multiplications instead of a division, which takes five times as long. With y = 1 / b rounded, q = a y
        rounded and the rest r = a - q b, which is exact, q + r y differs from a / b by at most 2**-104 of it. No such
        quotient lies so near to the middle of two neighbouring floats without being one of them: that would take
        a whole number a of 54 bits, or a distance of at least 2**-54 / b.
        """

        def generate(context, builder, sig, args):
            kind = ir.FunctionType(_VECTOR, [_VECTOR] * 3)
            fused = cgutils.get_or_insert_function(builder.module, kind, f"llvm.fma.v{WIDTH}f64")
            value, divisor, inverse = args[0], _spread(builder, args[1]), _spread(builder, args[2])
            quotient = builder.fmul(value, inverse)
            rest = builder.call(fused, [builder.fneg(quotient), divisor, value])
            return builder.call(fused, [rest, inverse, quotient])

        return _V(_V, types.float64, types.float64), generate

    @intrinsic
    def any_less(typingctx, left, right):
        """Return whether `left < right` in any lane."""

        def generate(context, builder, sig, args):
            low, high = (_as_vector(builder, value, kind) for value, kind in zip(args, sig.args, strict=True))
            lanes = builder.bitcast(builder.fcmp_ordered("<", low, high), ir.IntType(WIDTH))
            return builder.icmp_unsigned("!=", lanes, ir.Constant(lanes.type, 0))

        return types.boolean(_number(left), _number(right)), generate

    @intrinsic
    def whole_total(typingctx, value):
        """Return the sum of all lanes, which are whole numbers with a sum below 2**53: the order changes no bit."""

        def generate(context, builder, sig, args):
            kind = ir.FunctionType(_DOUBLE, [_DOUBLE, _VECTOR])
            name = f"llvm.vector.reduce.fadd.v{WIDTH}f64"
            function = cgutils.get_or_insert_function(builder.module, kind, name)
            return builder.call(function, [ir.Constant(_DOUBLE, 0.0), args[0]], fastmath=("reassoc",))

        return types.float64(_V), generate

    @intrinsic
    def where_less(typingctx, left, right, yes, no):
        """Return `yes` in the lanes in which `left < right`, else `no`; a comparison with NaN is never true."""
        kinds = tuple(_number(kind) for kind in (left, right, yes, no))

        def generate(context, builder, sig, args):
            low, high, one, other = (
                _as_vector(builder, value, kind) for value, kind in zip(args, sig.args, strict=True)
            )
            return builder.select(builder.fcmp_ordered("<", low, high), one, other)

        return _V(*kinds), generate

    @intrinsic
    def total(typingctx, value):
        """Return the sum of all lanes, from the first to the last."""

        def generate(context, builder, sig, args):
            result = builder.extract_element(args[0], ir.Constant(_INT, 0))
            for lane in range(1, WIDTH):
                result = builder.fadd(result, builder.extract_element(args[0], ir.Constant(_INT, lane)))
            return result

        return types.float64(_V), generate


@inner
def smaller(left, right):
    """Return the smaller of two values lane by lane; the first where they do not compare."""
    return where_less(right, left, right, left)


@inner
def larger(left, right):
    """Return the larger of two values lane by lane; the first where they do not compare."""
    return where_less(left, right, right, left)
