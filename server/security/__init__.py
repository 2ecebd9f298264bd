"""Tokens, secrets and certificates: what the server knows people by."""
