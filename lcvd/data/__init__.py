"""Data files of our own making, and the scripts that made them."""
