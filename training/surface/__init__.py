"""This package trains the CPU engine's surface network on scanned heads (`training.heads.scanned`)."""
