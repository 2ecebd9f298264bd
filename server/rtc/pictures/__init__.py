"""Pictures on their way through a connection: their forms, size, rate, and encoders."""
