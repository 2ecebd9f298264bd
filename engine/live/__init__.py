"""One participant's live stream: frames in, paced pictures out, whatever the engine does."""
