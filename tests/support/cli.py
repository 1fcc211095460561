"""The `easel` command, run in the process of a test."""

from __future__ import annotations

from click.testing import CliRunner, Result

from proxy.cli.main import main


def easel(*arguments: str) -> Result:
    """Run the command."""
    return CliRunner().invoke(main, arguments, prog_name="easel", catch_exceptions=False)
