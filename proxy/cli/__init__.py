"""The `easel` command."""
