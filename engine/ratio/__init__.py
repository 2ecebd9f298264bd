"""The ratio engine relights the camera's own picture on the CPU, by a ratio of shadings."""
