"""Exact sums over the PODs of a group: of a node, or of an aggregate."""

from flexcore.kernels._jit import I32, I32_2D, I64, I64_2D, I64_2D_OUT, i64, kernel


@kernel(I64, I32, I64_2D, I64_2D_OUT, i64, i64)
def sum_rows_64(indptr, rows, values, sums_out, g0, g1):
    """Sum values[rows[k]] over the members of groups g0..g1. Integers: any order gives the same."""
    for g in range(g0, g1):
        for t in range(values.shape[1]):
            sums_out[g, t] = 0
        for k in range(indptr[g], indptr[g + 1]):
            r = rows[k]
            for t in range(values.shape[1]):
                sums_out[g, t] += values[r, t]


@kernel(I64, I32, I32_2D, I64_2D_OUT, i64, i64)
def sum_rows_32(indptr, rows, values, sums_out, g0, g1):
    """The same for int32 series: a day of readings is not copied to int64 first."""
    for g in range(g0, g1):
        for t in range(values.shape[1]):
            sums_out[g, t] = 0
        for k in range(indptr[g], indptr[g + 1]):
            r = rows[k]
            for t in range(values.shape[1]):
                sums_out[g, t] += values[r, t]
