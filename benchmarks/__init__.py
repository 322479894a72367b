"""Timed comparisons of flexcore with its peers: `make bench`."""
