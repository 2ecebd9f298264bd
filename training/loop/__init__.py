"""Batches → trained weights."""
