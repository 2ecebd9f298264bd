"""Weights on disk: found, fetched, converted, verified and loaded."""
