"""Offline training of LCVD: imports `lcvd` only; nothing here runs in a live session."""
