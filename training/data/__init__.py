"""Prepared data → batches."""
