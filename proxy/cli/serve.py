"""`easel serve`: from the settings and the command line to a gateway."""

from __future__ import annotations

import shlex
import sys
from dataclasses import replace

import click
import msgspec

import adapters
from proxy import __version__
from proxy.cli.options import FILE, fail, read_text_and_settings, require_api_keys_if_public
from proxy.observability.log_file import LogFile
from proxy.settings.loader import Settings, key_digest
from proxy.settings.schema import HOST_NONE, WORKERS_RULE, Log, Server, is_worker_count
from proxy.settings.secrets import load_or_create_local_key


def _parse_workers(_: click.Context, __: click.Parameter, value: str | None) -> int | str | None:
    """Take what `server.workers` takes."""
    if value is not None and not is_worker_count(value):
        raise click.BadParameter(f"{value!r} is not {WORKERS_RULE}")
    return value


@click.command()
@click.option(
    "--config",
    metavar="FILE",
    type=FILE,
    help="Settings in YAML, such as config/dev.yaml. Without it the gateway serves this machine "
    "only, with a provider that draws its own pictures.",
)
@click.option(
    "--host",
    metavar="ADDRESS",
    help="Listen here instead of at server.host; none is nowhere but on the socket.",
)
@click.option(
    "--port",
    metavar="PORT",
    type=click.IntRange(0, 65_535),
    help="Listen here instead of at server.port; 0 is any free port.",
)
@click.option(
    "--socket",
    metavar="PATH",
    type=FILE,
    help="Listen on this unix socket too, instead of on server.socket.",
)
@click.option(
    "--workers",
    metavar="N|auto",
    callback=_parse_workers,
    help="Serve in so many processes instead of server.workers; auto is one for each core.",
)
def serve(config: str | None, **overrides: str | int | None) -> None:
    """Run the gateway.

    SIGTERM or Ctrl-C stops it: what is running may finish within server.shutdown_seconds. A second
    one ends it at once. With several workers, SIGHUP has them take what the settings file says now.

    Without api_keys in the settings it makes a gateway key, keeps it in state_dir and prints it;
    it then listens to this machine only.
    """
    text, settings = read_text_and_settings(config)
    server = _override(
        settings.server, {name: it for name, it in overrides.items() if it is not None}
    )
    settings = replace(settings, server=server, file_settings=settings, file=config or "")
    require_api_keys_if_public(settings)
    settings, key = _with_local_key(settings)
    _require_writable(settings.log)

    # Imported here: `easel --help` need not wait for the server's machinery.
    from proxy.workers.run import worker_count  # noqa: PLC0415

    if (workers := worker_count(server.workers)) > 1:
        _serve_with_workers(workers, config, text, settings, key)
    else:
        _serve_alone(settings, key)


def _serve_alone(settings: Settings, key: str) -> None:
    from proxy.server.listeners import CannotListenError  # noqa: PLC0415 - the same
    from proxy.server.run import run  # noqa: PLC0415 - as in `serve`

    settings = replace(settings, log=settings.log.resolve_auto(_auto_log_format()))
    try:
        run(settings, lambda _, port: _print_banner(settings.server, port, key))
    except CannotListenError as error:
        fail(f"cannot listen on {error}")


def _serve_with_workers(
    count: int, config: str | None, text: str, settings: Settings, key: str
) -> None:
    from proxy.server.listeners import CannotListenError  # noqa: PLC0415 - as in `serve`
    from proxy.workers.bootstrap import BootstrapConfig  # noqa: PLC0415 - the same
    from proxy.workers.run import run_workers  # noqa: PLC0415 - the same
    from proxy.workers.supervisor import NoWorkerError  # noqa: PLC0415 - the same

    orders = BootstrapConfig(
        text=text,
        file=config or "settings",
        host=settings.server.host,
        port=settings.server.port,
        socket=settings.server.socket,
        log_format=_auto_log_format(),
        local_key_digest=key_digest(key) if key else b"",
        files=settings.referenced_files,
    )

    try:
        run_workers(orders, settings, count, lambda port: _print_banner(settings.server, port, key))
    except CannotListenError as error:
        fail(f"cannot listen on {error}")
    except NoWorkerError as error:
        fail(str(error))


@click.command(hidden=True)
@click.argument("fd", type=int)
@click.argument("number", type=int)
def worker(fd: int, number: int) -> None:
    """Serve as one of several workers.

    `easel serve --workers` starts them. END is the number of the socket over which it is told what
    to serve.
    """
    from proxy.workers.worker import run_worker  # noqa: PLC0415 - as in `serve`

    run_worker(fd, number)


def _print_banner(server: Server, port: int, key: str) -> None:
    click.echo(_banner(msgspec.structs.replace(server, port=port), key))


def _auto_log_format() -> str:
    """Say what `log.format: auto` means where this runs."""
    return "text" if sys.stdout.isatty() else "json"


def _override(server: Server, overrides: dict[str, str | int]) -> Server:
    """Put what the command line says over the settings."""
    changed: Server = msgspec.structs.replace(server, **overrides)
    try:
        changed.__post_init__()
    except ValueError as error:
        fail(str(error))
    for key, message in changed.cross_field_errors():
        fail(f"server.{key}: {message}")
    return changed


def _require_writable(log: Log) -> None:
    """Fail where access lines cannot go to the file that is named for them."""
    if not log.file:
        return
    try:
        LogFile(log.file).close()
    except OSError as error:
        fail(f"cannot write to log.file, {log.file}: {error.strerror or error}.")


def _with_local_key(settings: Settings) -> tuple[Settings, str]:
    """Add the generated key where settings hold none, and give it."""
    if settings.api_keys:
        return settings, ""
    try:
        key, path = load_or_create_local_key(settings.state_dir)
    except OSError as error:
        reason = error.strerror or str(error)
        fail(
            f"cannot keep a gateway key in state_dir, {settings.state_dir}: {reason}. Set "
            "state_dir to a folder that can be written to, or set api_keys."
        )
    click.echo(f"Gateway key: {key} (kept in {path.resolve()})")
    return replace(settings, api_keys={key_digest(key): "local"}), key


def _banner(server: Server, key: str) -> str:
    scheme = "https" if server.tls_certificate else "http"
    url, by_socket = f"{scheme}://{_netloc(server.host, server.port)}", ""
    lines = []
    if server.host != HOST_NONE:
        lines.append(f"Easel {__version__} is listening on {url}")
    if server.socket:
        by_socket = f"--unix-socket {shlex.quote(server.socket)} "
        lines.append(
            f"Easel {__version__} is listening on the socket {server.socket}: "
            f"curl {by_socket}http://localhost/healthz"
        )
    if key:
        command = _curl("http://localhost" if by_socket else url, key, by_socket)
        lines += ["", "Paste this in another terminal, then open picture.png:", "", command]
    return "\n".join([*lines, ""])


def _netloc(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _curl(url: str, key: str, by_socket: str = "") -> str:
    body = '{"prompt": "A lighthouse at dawn", "size": "1024x1024"}'
    return (
        f"curl -s {by_socket}{url}/v1/images/generations \\\n"
        f"  -H 'x-portkey-api-key: {key}' \\\n"
        f"  -H 'x-portkey-provider: {adapters.DEMO}' \\\n"
        f"  -H 'content-type: application/json' \\\n"
        f"  -d '{body}' \\\n"
        '  | sed \'s/.*"b64_json":"\\([^"]*\\)".*/\\1/\' | base64 --decode > picture.png'
    )
