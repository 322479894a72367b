"""Kernels of the market: merit order, slots, awards and traffic light."""
