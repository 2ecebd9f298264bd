"""Noise → latents of a whole clip, window by window."""
