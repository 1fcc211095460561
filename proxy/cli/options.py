"""Shared by the commands: the settings file, and exiting with an error."""

from __future__ import annotations

import sys
from typing import NoReturn

import click

from proxy.http.allowed_hosts import is_loopback
from proxy.settings.loader import (
    Settings,
    SettingsError,
    default_settings_text,
    parse,
    read_settings_text,
)
from proxy.settings.schema import HOST_NONE

FILE = click.Path(dir_okay=False)


def read_settings(config: str) -> Settings:
    """Return the settings of a file; prints all its errors and exits if it is invalid."""
    return read_text_and_settings(config)[1]


def read_text_and_settings(config: str | None) -> tuple[str, Settings]:
    """Return a settings file's text and its settings; exits as `read_settings` does."""
    try:
        text = read_settings_text(config) if config else default_settings_text()
        return text, parse(text, file=config or "settings")
    except SettingsError as error:
        for problem in error.problems:
            click.echo(str(problem), err=True)
        sys.exit(1)


def require_api_keys_if_public(settings: Settings) -> None:
    """Exit if other machines can reach the gateway and no API keys are configured."""
    host = settings.server.host
    if not settings.api_keys and host != HOST_NONE and not is_loopback(host):
        fail(
            f"api_keys is empty, and other machines can reach {host or 'every address'}. Create a "
            "key with `easel keys new` and add its lines to the settings file."
        )


def fail(message: str) -> NoReturn:
    """Print a message and exit with 1."""
    click.echo(f"easel: {message}", err=True)
    sys.exit(1)
