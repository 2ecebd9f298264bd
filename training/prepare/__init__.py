"""This package turns footage into sharded training data."""
