"""Numbers in, numbers out: the Numba kernels. They know arrays, never names, and import nothing of the API."""
