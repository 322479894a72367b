"""Kernels of the register: state machines, readiness, sums over PODs, headroom of nodes, technical tests."""
