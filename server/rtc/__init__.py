"""WebRTC: the only folder that imports aiortc."""
