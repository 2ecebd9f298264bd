"""Measures the real path: aiortc clients of a real server on this machine."""
