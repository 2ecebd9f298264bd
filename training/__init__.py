"""This package trains LCVD offline; it imports `lcvd` only, and nothing in it runs in a live session."""
