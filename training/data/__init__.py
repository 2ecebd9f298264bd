"""This package turns prepared data, or rendered heads, into training batches."""
