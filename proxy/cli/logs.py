"""`easel logs`: prints access lines in columns."""

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
from proxy.observability.process_log import escape_unprintable
from proxy.settings.loader import SettingsError, load

_MS_PER_SECOND = 1000.0
_KILOBYTE = 1024
_COLUMNS = {"caller": 12, "provider": 16, "cache": 8}
"""Columns and their widths."""


@click.command()
@click.argument("file", required=False, metavar="[FILE]")
@click.option("-f", "--follow", is_flag=True, help="Keep printing lines as they are written.")
@click.option(
    "--config",
    metavar="SETTINGS",
    type=click.Path(dir_okay=False),
    help="Settings file; its log.file is read if FILE is not given.",
)
@click.option("--errors", is_flag=True, help="Only requests that failed or were aborted.")
@click.option("--caller", metavar="NAME", help="Only requests with this gateway key.")
@click.option("--provider", metavar="ID", help="Only requests that were sent to this provider.")
@click.option("--trace", metavar="ID", help="Only the request with this trace ID.")
def logs(file: str | None, *, follow: bool, config: str | None, **filters: Any) -> None:
    """Print the access log in columns.

    FILE is an access log in JSON, - is standard input. Other lines are printed unchanged, unless a
    filter is given. For example:

    \b
      easel logs /var/log/easel/access.log --errors
      easel logs --config production.yaml --follow
      journalctl -u easel -o cat | easel logs - --provider ID

    --follow starts with the last lines and waits for more. It switches to the new file after a log
    rotation. Ctrl-C stops it.

    Columns: time, status, duration, API key, provider, cache status, path, images, error and trace
    ID. If an attempt failed, the request's attempts follow, one line each.
    """  # noqa: D301 - click does not rewrap the lines after this character
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
    # Imported here: `easel serve` does not need it.
    from proxy.cli.tail import read_lines, tail  # noqa: PLC0415

    if file == "-":
        return read_lines(sys.stdin.buffer)
    return tail(file) if follow else _read_file(file)


def _read_file(file: str) -> Iterable[str]:
    from proxy.cli.tail import read_lines  # noqa: PLC0415 - see above

    with open(file, "rb") as opened:  # noqa: PTH123 - a path as text
        yield from read_lines(opened)


def _log_file(config: str | None) -> str:
    """Return the path of the access log in the settings."""
    if config is None:
        fail("give a FILE, or a settings file with --config; - reads standard input.")
    try:
        file = load(config).log.file
    except SettingsError as error:
        fail(str(error))
    return file or fail(f"{config} has no log.file: access lines are written to standard output.")


def _format_line(text: str, filters: Mapping[str, Any]) -> str:
    """Return a line in columns, "" if a filter excludes it."""
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
    """Return whether a request passes the filters.

    >>> matches({"status": 200, "caller": "web"}, caller="web", errors=True)
    False
    """
    providers = {line.get("provider"), *(attempt.get("provider") for attempt in _attempts(line))}
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
    """Return a request in columns, followed by its attempts if one failed.

    Control characters from clients are escaped.
    """
    columns = [
        _format_time(line.get("time")),
        _colored(line["status"], f"{line['status'] or 'cut':<4}"),
        f"{_format_duration(line.get('ms')):>8}",
        *(f"{_text(line.get(name)) or '-':<{width}}" for name, width in _COLUMNS.items()),
        f"{_text(line.get('method'))} {_text(line.get('path'))}",
        *_format_details(line),
    ]
    attempts = _attempts(line)
    failed = any(attempt.get("ended") != "ok" for attempt in attempts)
    rows = map(_format_attempt, attempts) if failed else ()
    return "\n".join(["  ".join(columns), *rows])


def _format_details(line: Mapping[str, Any]) -> Iterable[str]:
    if count := line.get("images"):
        size = line.get("bytes_out")
        size_text = f", {_format_size(size)}" if isinstance(size, int) else ""
        yield f"{_text(count)} image{'' if count == 1 else 's'}{size_text}"
    if error := _text(line.get("error")):
        yield click.style(error, fg="red")
    if joined := _text(line.get("joined")):
        yield f"joined={joined}"
    for name in ("config", "trace", "prompt"):
        if value := _text(line.get(name)):
            yield click.style(f"{name}={value}", dim=True)


def _format_attempt(attempt: Mapping[str, Any]) -> str:
    retries = attempt.get("retries")
    parts = [
        f"{_text(attempt.get('target')):<20}",
        f"{_text(attempt.get('provider')):<16}",
        _colored(attempt.get("status"), f"{_text(attempt.get('status')):<3}"),
        _text(attempt.get("ended")),
        f"{_text(retries)} {'retry' if retries == 1 else 'retries'}" if retries else "",
        _format_duration(attempt.get("ms")),
    ]
    return "    " + "  ".join(filter(None, parts))


def _colored(status: object, text: str) -> str:
    """Color a text by the class of a status."""
    if not isinstance(status, int) or is_server_error(status) or not status:
        return click.style(text, fg="red")
    if is_error(status):
        return click.style(text, fg="yellow")
    return click.style(text, fg="green") if is_success(status) else text


def _format_time(seconds: object) -> str:
    try:
        return (
            datetime.fromtimestamp(float(str(seconds))).astimezone().strftime("%Y-%m-%d %H:%M:%S")
        )
    except (ValueError, OverflowError, OSError):
        return f"{'-':<19}"


def _format_duration(ms: object) -> str:
    """Return a duration as text.

    >>> _format_duration(12.34), _format_duration(4321.0), _format_duration("x")
    ('12 ms', '4.3 s', '-')
    """
    if not isinstance(ms, int | float):
        return "-"
    return f"{ms:.0f} ms" if ms < _MS_PER_SECOND else f"{ms / _MS_PER_SECOND:.1f} s"


def _format_size(size: float) -> str:
    """Return a size as text.

    >>> _format_size(900), _format_size(1_500_000)
    ('900 B', '1.4 MB')
    """
    for unit in ("B", "KB", "MB"):
        if size < _KILOBYTE:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= _KILOBYTE
    return f"{size:.1f} GB"


def _text(value: object) -> str:
    return "" if value is None else escape_unprintable(str(value))
