"""Footage → sharded training data."""
