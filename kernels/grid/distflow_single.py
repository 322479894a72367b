"""DistFlow with loads and outputs in float32: half the memory to read and write."""

from flexcore.kernels._jit import F32_2D, F32_2D_OUT, kernel
from flexcore.kernels.grid import distflow

sweep = kernel(*distflow.signature(F32_2D, F32_2D_OUT))(distflow.sweep)
