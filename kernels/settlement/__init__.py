"""Kernels of the settlement room: line sums and exact splits."""
