"""Arguments that several commands have: a light, a file to read."""
