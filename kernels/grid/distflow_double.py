"""DistFlow with loads and outputs in float64."""

from flexcore.kernels._jit import F64_2D, F64_2D_OUT, kernel
from flexcore.kernels.grid import distflow

sweep = kernel(*distflow.signature(F64_2D, F64_2D_OUT))(distflow.sweep)
