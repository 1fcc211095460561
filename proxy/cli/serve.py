"""`easel serve`: starts a gateway from the settings and the command line."""

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
    """Validate a value for `server.workers`."""
    if value is not None and not is_worker_count(value):
        raise click.BadParameter(f"{value!r} is not {WORKERS_RULE}")
    return value


@click.command()
@click.option(
    "--config",
    metavar="FILE",
    type=FILE,
    help="Settings file in YAML, such as config/dev.yaml. Without it the gateway serves only this "
    "machine, with the sandbox provider, which needs no key.",
)
@click.option(
    "--host",
    metavar="ADDRESS",
    help="Address to listen on (overrides server.host). none: Unix socket only.",
)
@click.option(
    "--port",
    metavar="PORT",
    type=click.IntRange(0, 65_535),
    help="Port to listen on (overrides server.port). 0: any free port.",
)
@click.option(
    "--socket",
    metavar="PATH",
    type=FILE,
    help="Unix socket to listen on as well (overrides server.socket).",
)
@click.option(
    "--workers",
    metavar="N|auto",
    callback=_parse_workers,
    help="Number of processes (overrides server.workers). auto: one per core.",
)
def serve(config: str | None, **overrides: str | int | None) -> None:
    """Run the gateway.

    SIGTERM or Ctrl-C stops it gracefully: requests in flight may finish within
    server.shutdown_seconds. A second signal stops it immediately. SIGHUP reloads the settings file.

    Without api_keys in the settings it creates a gateway key, stores it in state_dir and prints it.
    It then listens on this machine only.
    """
    text, settings = read_text_and_settings(config)
    server = _override(
        settings.server, {key: value for key, value in overrides.items() if value is not None}
    )
    settings = replace(settings, server=server, file_settings=settings, file=config or "")
    require_api_keys_if_public(settings)
    settings, key = _with_local_key(settings)
    _require_writable(settings.log)

    # Imported here: the server's modules would make `easel --help` slow.
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

    bootstrap = BootstrapConfig(
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
        run_workers(
            bootstrap, settings, count, lambda port: _print_banner(settings.server, port, key)
        )
    except CannotListenError as error:
        fail(f"cannot listen on {error}")
    except NoWorkerError as error:
        fail(str(error))


@click.command(hidden=True)
@click.argument("fd", type=int)
@click.argument("number", type=int)
def worker(fd: int, number: int) -> None:
    """Serve as one of several workers.

    `easel serve --workers` starts them. FD is the file descriptor of the socket to the supervisor.
    """
    from proxy.workers.worker import run_worker  # noqa: PLC0415 - as in `serve`

    run_worker(fd, number)


def _print_banner(server: Server, port: int, key: str) -> None:
    click.echo(_banner(msgspec.structs.replace(server, port=port), key))


def _auto_log_format() -> str:
    """Return the format that `log.format: auto` stands for here."""
    return "text" if sys.stdout.isatty() else "json"


def _override(server: Server, overrides: dict[str, str | int]) -> Server:
    """Return the server's settings with the command line's values."""
    changed: Server = msgspec.structs.replace(server, **overrides)
    try:
        changed.__post_init__()
    except ValueError as error:
        fail(str(error))
    for key, message in changed.cross_field_errors():
        fail(f"server.{key}: {message}")
    return changed


def _require_writable(log: Log) -> None:
    """Exit if `log.file` cannot be written."""
    if not log.file:
        return
    try:
        LogFile(log.file).close()
    except OSError as error:
        fail(f"cannot write to log.file, {log.file}: {error.strerror or error}.")


def _with_local_key(settings: Settings) -> tuple[Settings, str]:
    """Return the settings with a generated key if they have none, and the key."""
    if settings.api_keys:
        return settings, ""
    try:
        key, path = load_or_create_local_key(settings.state_dir)
    except OSError as error:
        reason = error.strerror or str(error)
        fail(
            f"cannot store a gateway key in state_dir, {settings.state_dir}: {reason}. Set "
            "state_dir to a writable directory, or set api_keys."
        )
    click.echo(f"Gateway key: {key} (stored in {path.resolve()})")
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
        lines += ["", "Run this in another terminal, then open image.png:", "", command]
    return "\n".join([*lines, ""])


def _netloc(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _curl(url: str, key: str, by_socket: str = "") -> str:
    body = '{"prompt": "A lighthouse at dawn", "size": "1024x1024"}'
    return (
        f"curl -sS {by_socket}{url}/v1/images/generations \\\n"
        f"  -H 'x-portkey-api-key: {key}' \\\n"
        f"  -H 'x-portkey-provider: {adapters.DEMO}' \\\n"
        f"  -H 'content-type: application/json' \\\n"
        f"  -d '{body}' \\\n"
        '  | sed \'s/.*"b64_json":"\\([^"]*\\)".*/\\1/\' | base64 --decode > image.png'
    )
