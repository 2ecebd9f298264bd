"""This package holds the surface network of the CPU engine: normals, light and confidence of a head in its picture."""
