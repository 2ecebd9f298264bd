"""Programs that measure engines."""
