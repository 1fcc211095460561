"""What commands have in common: the settings that they are given, and how they fail."""

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
    """Read a settings file; ends the process with all that is wrong with it."""
    return read_text_and_settings(config)[1]


def read_text_and_settings(config: str | None) -> tuple[str, Settings]:
    """Give what stands in a settings file, and what that comes to; as `loaded`."""
    try:
        text = read_settings_text(config) if config else default_settings_text()
        return text, parse(text, file=config or "settings")
    except SettingsError as error:
        for problem in error.problems:
            click.echo(str(problem), err=True)
        sys.exit(1)


def require_api_keys_if_public(settings: Settings) -> None:
    """Fail where others could reach a gateway that asks for no key of the operator's."""
    host = settings.server.host
    if not settings.api_keys and host != HOST_NONE and not is_loopback(host):
        fail(
            f"api_keys is empty, and others can reach {host or 'every address'}. Make a key with "
            "`easel keys new` and put its lines into the settings file."
        )


def fail(message: str) -> NoReturn:
    """End the process with a sentence."""
    click.echo(f"easel: {message}", err=True)
    sys.exit(1)
