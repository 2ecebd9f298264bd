"""One participant's WebSocket and what it controls."""
