"""Delays sound without clicks, gaps or drift: numpy and arithmetic, no threads, no clock of its own, no aiortc."""
