"""This package trains the networks on batches."""
