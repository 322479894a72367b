"""One file for each family of baselines: it brings its inputs into arrays and calls its kernel."""
