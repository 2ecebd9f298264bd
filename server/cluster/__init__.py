"""Several worker processes behind one address: a front that signals and admits, workers that relight."""
