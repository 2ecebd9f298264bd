"""The `relight` command."""
