"""Kernels of the metering room: simulated readings, baselines and delivered volume."""
