"""Speed, growth, memory and accuracy of the grid engine beside its peers; run by `make bench`."""
