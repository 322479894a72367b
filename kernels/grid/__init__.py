"""Kernels of the network as physics: trees, sweeps, flows."""
