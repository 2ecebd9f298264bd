"""LCVD live: rolling windows of frames, denoised in few steps."""
