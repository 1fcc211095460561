"""`easel logs`: the access lines for people."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

import click
import orjson

from proxy.cli.options import fail
from proxy.http.status import is_error, is_server_error, is_success
from proxy.observability.access_log import escape_unprintable
from proxy.settings.loader import SettingsError, load

_MS_PER_SECOND = 1000.0
_KILOBYTE = 1024
_COLUMNS = {"caller": 12, "provider": 16, "cache": 8}
"""Columns, and how wide they are."""


@click.command()
@click.argument("file", required=False, metavar="[FILE]")
@click.option("-f", "--follow", is_flag=True, help="Go on with what is written later.")
@click.option(
    "--config",
    metavar="SETTINGS",
    type=click.Path(dir_okay=False),
    help="The settings file whose log.file is read, where no FILE is named.",
)
@click.option("--errors", is_flag=True, help="Only what failed, or was cut.")
@click.option("--caller", metavar="NAME", help="Only requests with this gateway key.")
@click.option("--provider", metavar="ID", help="Only requests for which this provider was tried.")
@click.option("--trace", metavar="ID", help="Only the request with this trace id.")
def logs(file: str | None, *, follow: bool, config: str | None, **filters: Any) -> None:
    """Print access lines for people.

    FILE is what the gateway wrote in JSON, - is standard input. A line that is no access line is
    printed as it is, unless some are chosen. For example:

    \b
      easel logs /var/log/easel/access.log --errors
      easel logs --config production.yaml --follow
      journalctl -u easel -o cat | easel logs - --provider ID

    With --follow it begins with the last lines, waits for more, and goes on in a new file once the
    old one has been moved away. Ctrl-C ends it.

    Of each request it says: when, the status, how long it took, whose key, which provider, what the
    cache said, the path, what was made, the error and the trace id; below it each target that was
    tried, where one failed.
    """  # noqa: D301 - click leaves the lines after this very character as they are
    is_terminal = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    try:
        for line in _read(file or _log_file(config), follow=follow):
            if shown := _format_line(line, filters):
                click.echo(shown, color=is_terminal)
    except OSError as error:
        fail(f"cannot read {error.filename or file}: {error.strerror}.")
    except KeyboardInterrupt:
        pass


def _read(file: str, *, follow: bool) -> Iterable[str]:
    # Imported here: a gateway that serves follows no log.
    from proxy.cli.tail import read_lines, tail  # noqa: PLC0415

    if file == "-":
        return read_lines(sys.stdin.buffer)
    return tail(file) if follow else _read_file(file)


def _read_file(file: str) -> Iterable[str]:
    from proxy.cli.tail import read_lines  # noqa: PLC0415 - see above

    with open(file, "rb") as opened:  # noqa: PTH123 - a name as it was given
        yield from read_lines(opened)


def _log_file(config: str | None) -> str:
    """Name the file that the settings have lines written to."""
    if config is None:
        fail("name a FILE, or the settings by --config; - reads standard input.")
    try:
        file = load(config).log.file
    except SettingsError as error:
        fail(str(error))
    return file or fail(f"{config} has no log.file: lines go to standard output there.")


def _format_line(text: str, filters: Mapping[str, Any]) -> str:
    """Write a line for people, "" where it was not asked for."""
    line = _parse(text)
    if line is None:
        return "" if any(filters.values()) else escape_unprintable(text)
    return format_request(line) if matches(line, **filters) else ""


def _parse(text: str) -> dict[str, Any] | None:
    try:
        line = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    return line if isinstance(line, dict) and isinstance(line.get("status"), int) else None


def matches(
    line: Mapping[str, Any],
    *,
    errors: bool = False,
    caller: str | None = None,
    provider: str | None = None,
    trace: str | None = None,
) -> bool:
    """Tell whether a line is one of those that were asked for.

    >>> is_chosen({"status": 200, "caller": "web"}, caller="web", errors=True)
    False
    """
    providers = {line.get("provider"), *(it.get("provider") for it in _attempts(line))}
    return (
        not (errors and not _has_failed(line))
        and caller in (None, line.get("caller"))
        and (provider is None or provider in providers)
        and trace in (None, line.get("trace"))
    )


def _has_failed(line: Mapping[str, Any]) -> bool:
    status = line["status"]
    return bool(line.get("error")) or is_error(status) or not status


def _attempts(line: Mapping[str, Any]) -> list[dict[str, Any]]:
    tried = line.get("tried")
    return [it for it in tried if isinstance(it, dict)] if isinstance(tried, list) else []


def format_request(line: Mapping[str, Any]) -> str:
    """Write a request in columns, and below it what was tried, where something failed.

    Whatever a stranger sent moves no cursor and begins no line.
    """
    columns = [
        _format_time(line.get("time")),
        _colored(line["status"], f"{line['status'] or 'cut':<4}"),
        f"{_format_duration(line.get('ms')):>8}",
        *(f"{_text(line.get(name)) or '-':<{width}}" for name, width in _COLUMNS.items()),
        f"{_text(line.get('method'))} {_text(line.get('path'))}",
        *_format_details(line),
    ]
    tried = _attempts(line)
    below = (
        [] if all(it.get("ended") == "ok" for it in tried) else list(map(_format_attempt, tried))
    )
    return "\n".join(["  ".join(columns), *below])


def _format_details(line: Mapping[str, Any]) -> Iterable[str]:
    if count := line.get("pictures"):
        size = line.get("bytes_out")
        of = f", {_format_size(size)}" if isinstance(size, int) else ""
        yield f"{_text(count)} picture{'' if count == 1 else 's'}{of}"
    if error := _text(line.get("error")):
        yield click.style(error, fg="red")
    if joined := _text(line.get("joined")):
        yield f"joined={joined}"
    for name in ("config", "trace", "prompt"):
        if value := _text(line.get(name)):
            yield click.style(f"{name}={value}", dim=True)


def _format_attempt(tried: Mapping[str, Any]) -> str:
    retries = tried.get("retries")
    parts = [
        f"{_text(tried.get('target')):<20}",
        f"{_text(tried.get('provider')):<16}",
        _colored(tried.get("status"), f"{_text(tried.get('status')):<3}"),
        _text(tried.get("ended")),
        f"{_text(retries)} retries" if retries else "",
        _format_duration(tried.get("ms")),
    ]
    return "    " + "  ".join(filter(None, parts))


def _colored(status: object, text: str) -> str:
    """Colour a text by how good a status is."""
    if not isinstance(status, int) or is_server_error(status) or not status:
        return click.style(text, fg="red")
    if is_error(status):
        return click.style(text, fg="yellow")
    return click.style(text, fg="green") if is_success(status) else text


def _format_time(told: object) -> str:
    try:
        return datetime.fromtimestamp(float(str(told))).astimezone().strftime("%Y-%m-%d %H:%M:%S")
    except (ValueError, OverflowError, OSError):
        return f"{'-':<19}"


def _format_duration(ms: object) -> str:
    """Write how long something took.

    >>> _long(12.34), _long(4321.0), _long("x")
    ('12 ms', '4.3 s', '-')
    """
    if not isinstance(ms, int | float):
        return "-"
    return f"{ms:.0f} ms" if ms < _MS_PER_SECOND else f"{ms / _MS_PER_SECOND:.1f} s"


def _format_size(size: float) -> str:
    """Write a size.

    >>> _large(900), _large(1_500_000)
    ('900 B', '1.4 MB')
    """
    for unit in ("B", "KB", "MB"):
        if size < _KILOBYTE:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= _KILOBYTE
    return f"{size:.1f} GB"


def _text(told: object) -> str:
    return "" if told is None else escape_unprintable(str(told))
