"""The CPU engine: relights the camera's own picture by a ratio of shadings."""
