"""Lights: spherical harmonics, presets, environment maps, and estimates from pictures."""
