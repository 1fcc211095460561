"""The `easel` command."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Sized
from dataclasses import replace
from textwrap import fill
from typing import NoReturn

import click
import msgspec
import orjson

import adapters
from adapters.contract import Adapter
from adapters.errors import BadParam
from adapters.params import Policy
from adapters.rows import CONTRACT
from proxy import __version__
from proxy.configs import ConfigError
from proxy.credentials import credentials_for, named
from proxy.local_key import local_key, new_key
from proxy.log_file import LogFile
from proxy.logs import logs
from proxy.own_names import is_loopback
from proxy.sections import NO_TCP, WORKERS_FORM, Log, Server, is_number_of_workers
from proxy.settings import (
    NAME_FORM,
    Settings,
    SettingsError,
    digest,
    embedded_text,
    is_name,
    parse,
    text_of,
)

_WIDTH = 100
_FILE = click.Path(dir_okay=False)


def _number_of_workers(
    _: click.Context, __: click.Parameter, value: str | None
) -> int | str | None:
    """Take what `server.workers` takes."""
    if value is not None and not is_number_of_workers(value):
        raise click.BadParameter(f"{value!r} is not {WORKERS_FORM}")
    return value


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="easel")
def main() -> None:
    """Easel: one endpoint for every image model.

    Start a gateway with `easel serve`, then send OpenAI's POST /v1/images/generations to it.
    """


@main.command()
@click.option(
    "--config",
    metavar="FILE",
    type=_FILE,
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
    type=_FILE,
    help="Listen on this unix socket too, instead of on server.socket.",
)
@click.option(
    "--workers",
    metavar="N|auto",
    callback=_number_of_workers,
    help="Serve in so many processes instead of server.workers; auto is one for each core.",
)
def serve(config: str | None, **given: str | int | None) -> None:
    """Run the gateway.

    SIGTERM or Ctrl-C stops it: what is running may finish within server.shutdown_seconds. A second
    one ends it at once. With several workers, SIGHUP has them take what the settings file says now.

    Without api_keys in the settings it makes a gateway key, keeps it in state_dir and prints it;
    it then listens to this machine only.
    """
    text, settings = _text_and_settings(config)
    server = _changed(settings.server, {name: it for name, it in given.items() if it is not None})
    settings = replace(settings, server=server, as_read=settings, file=config or "")
    _refuse_open_door(settings)
    settings, key = _with_local_key(settings)
    _refuse_unwritable(settings.log)

    # Imported here: `easel --help` need not wait for the server's machinery.
    from proxy.workers.counting import count  # noqa: PLC0415

    if (several := count(server.workers)) > 1:
        _serve_with_workers(several, config, text, settings, key)
    else:
        _serve_alone(settings, key)


def _serve_alone(settings: Settings, key: str) -> None:
    from proxy.serving import run  # noqa: PLC0415 - as in `serve`
    from proxy.sockets import CannotListenError  # noqa: PLC0415 - the same

    settings = replace(settings, log=settings.log.in_style(_log_style()))
    try:
        run(settings, lambda _, port: _say_ready(settings.server, port, key))
    except CannotListenError as error:
        _fail(f"cannot listen on {error}")


def _serve_with_workers(
    count: int, config: str | None, text: str, settings: Settings, key: str
) -> None:
    from proxy.sockets import CannotListenError  # noqa: PLC0415 - as in `serve`
    from proxy.workers.orders import Orders  # noqa: PLC0415 - the same
    from proxy.workers.running import run_workers  # noqa: PLC0415 - the same
    from proxy.workers.supervisor import NoWorkerError  # noqa: PLC0415 - the same

    orders = Orders(
        text=text,
        file=config or "settings",
        host=settings.server.host,
        port=settings.server.port,
        socket=settings.server.socket,
        log=_log_style(),
        local_key=digest(key) if key else b"",
        files=settings.files,
    )

    try:
        run_workers(orders, settings, count, lambda port: _say_ready(settings.server, port, key))
    except CannotListenError as error:
        _fail(f"cannot listen on {error}")
    except NoWorkerError as error:
        _fail(str(error))


@main.command(hidden=True)
@click.argument("end", type=int)
def worker(end: int) -> None:
    """Serve as one of several workers.

    `easel serve --workers` starts them. END is the number of the socket over which it is told what
    to serve.
    """
    from proxy.workers.worker import work  # noqa: PLC0415 - as in `serve`

    work(end)


def _say_ready(server: Server, port: int, key: str) -> None:
    click.echo(_banner(msgspec.structs.replace(server, port=port), key))


def _log_style() -> str:
    """Say what `log.format: auto` means where this runs."""
    return "text" if sys.stdout.isatty() else "json"


@main.command()
@click.option(
    "--config",
    metavar="FILE",
    type=_FILE,
    required=True,
    help="The settings file, such as config/production.yaml.",
)
def check(config: str) -> None:
    """Check a settings file.

    Prints everything that is wrong with it, by file, line and key, and exits with 1. If nothing is,
    it says what the file holds and exits with 0. References such as ${NAME} are taken from the
    environment, as when serving.
    """
    settings = _loaded(config)
    _refuse_open_door(settings)
    held = (
        _counted(settings.api_keys, "API key"),
        _counted(settings.virtual_keys, "virtual key"),
        _counted(settings.configs, "config"),
    )
    click.echo(f"{config}: good. It holds {', '.join(held)}.")


main.add_command(logs)


@main.command()
@click.option(
    "--url",
    metavar="URL",
    default="http://127.0.0.1:8787",
    show_default=True,
    envvar="EASEL_HEALTH_URL",
    show_envvar=True,
    help="Where the gateway listens.",
)
@click.option("--socket", metavar="PATH", help="Its unix socket, instead of a URL.")
@click.option("--ready", is_flag=True, help="Whether it welcomes new requests, too.")
@click.option(
    "--seconds",
    default=3.0,
    show_default=True,
    type=click.FloatRange(0.1, 60),
    help="How long to wait.",
)
def health(*, url: str, socket: str | None, ready: bool, seconds: float) -> None:
    """Ask a running gateway how it is.

    Exits with 0 if it answers, and with 1 if it does not, which is what the health check of a
    container wants to know. It needs no gateway key.
    """
    from proxy.health import ALIVE, READY, UnwellError, asked  # noqa: PLC0415 - as in `serve`

    try:
        click.echo(asked(socket or url, READY if ready else ALIVE, seconds=seconds))
    except UnwellError as error:
        _fail(f"{error}.")


@main.command()
@click.argument("provider", required=False)
def providers(provider: str | None) -> None:
    """List the providers, or show one.

    Of one provider: its names, its models, its options and what is not confirmed about it.
    """
    if provider is None:
        known = map(adapters.adapter, adapters.PROVIDERS)
        click.echo(_in_columns({it.id: _summary(it) for it in known}))
        return
    try:
        adapter = named(provider)
    except ConfigError as error:
        _fail(f"{provider!r} {error.message}")
    aliases = [alias for alias, name in adapters.ALIASES.items() if name == adapter.id]
    facts = {
        "id": ", ".join([adapter.id, *aliases]),
        "name": adapter.name,
        "docs": adapter.docs,
        "models": ", ".join(adapter.models),
        "sources": f"{adapter.confidence} confidence, read {adapter.read}",
        "experimental": "yes" if adapter.experimental else "",
        "unconfirmed": adapter.unconfirmed,
    }
    click.echo(_in_columns(facts))
    if adapter.options:
        one = adapter.options[0]
        click.echo(f"\nOptions (the header for {one.name} is {one.header}):\n")
        click.echo(_in_columns({option.name: option.about for option in adapter.options}))


_CLIENTS_OWN = [name for name in CONTRACT if name not in ("prompt", "model")]
_KINDS = {int: click.INT, bool: click.BOOL}


def _with_clients_parameters(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command an option for each parameter of the contract."""
    for name in reversed(_CLIENTS_OWN):
        kind = _KINDS.get(CONTRACT[name].kind, click.STRING)
        flag = "--" + name.replace("_", "-")
        about = f"OpenAI's parameter {name}."
        command = click.option(flag, name, type=kind, metavar="VALUE", help=about)(command)
    return command


@main.command()
@click.option("--provider", required=True, metavar="ID", help="Whom to ask: `easel providers`.")
@click.option("--model", metavar="NAME", help="Without it, the provider's recommended one.")
@click.option("--prompt", default="A lighthouse at dawn", show_default=True, help="What to draw.")
@_with_clients_parameters
@click.option(
    "--param",
    "own",
    multiple=True,
    metavar="NAME=VALUE",
    help="A further parameter; VALUE is JSON or a text.",
)
@click.option(
    "--option", "options", multiple=True, metavar="NAME=VALUE", help="A provider's option."
)
@click.option(
    "--unsupported",
    default="adapt",
    show_default=True,
    type=click.Choice([policy.value for policy in Policy]),
    help="What becomes of what the provider cannot express.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, as a dry run answers.")
def explain(  # noqa: PLR0913 - one for each option
    *,
    provider: str,
    model: str | None,
    prompt: str,
    own: tuple[str, ...],
    options: tuple[str, ...],
    unsupported: str,
    as_json: bool,
    **given: object,
) -> None:
    """Show what becomes of a call.

    Prints the request that a provider would be sent, and what became of each parameter. Nothing is
    sent. For example:

    easel explain --provider ID --size 1792x1024 --quality hd
    """
    from proxy.explain import as_text, explained  # noqa: PLC0415 - as in `serve`

    try:
        adapter = named(provider)
        named_options = credentials_for(adapter, "", dict(map(_pair, options)), by_operator=True)
    except ConfigError as error:
        _fail(error.sentences)
    params = {name: it for name, it in given.items() if it is not None}
    params |= {name: _json_or_text(text) for name, text in map(_pair, own)}
    asked = {"model": model or adapter.models[0], "prompt": prompt, **params}
    try:
        told = explained(adapter, asked, named_options.options, Policy(unsupported))
    except BadParam as error:
        _fail(error.message)
    click.echo(orjson.dumps(told, option=orjson.OPT_INDENT_2) if as_json else as_text(told))


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise click.BadParameter(f"{text!r} is not of the form NAME=VALUE")
    return name, value


def _json_or_text(text: str) -> object:
    try:
        found: object = orjson.loads(text)
    except orjson.JSONDecodeError:
        return text
    return found


@main.group()
def keys() -> None:
    """Make gateway keys."""


@keys.command("new")
@click.option("--name", default="my-app", show_default=True, help="Whom the key is for.")
def keys_new(name: str) -> None:
    """Make a gateway key.

    Prints the key, which is for the client, and its lines for the settings file, which hold only
    its digest. Nothing is kept.
    """
    if not is_name(name):
        _fail(f"a name has {NAME_FORM}")
    key = new_key()
    click.echo(f"The key, shown this once; give it to the client:\n\n  {key}\n")
    click.echo("For the settings file, which need not hold the key itself:\n")
    click.echo(f"api_keys:\n  {name}:\n    key: sha256:{digest(key).hex()}")


def _summary(adapter: Adapter) -> str:
    mark = " (experimental)" if adapter.experimental else ""
    return f"{adapter.name}{mark}: {', '.join(adapter.models[:3])}"


def _loaded(config: str) -> Settings:
    return _text_and_settings(config)[1]


def _text_and_settings(config: str | None) -> tuple[str, Settings]:
    try:
        text = text_of(config) if config else embedded_text()
        return text, parse(text, file=config or "settings")
    except SettingsError as error:
        for problem in error.problems:
            click.echo(str(problem), err=True)
        sys.exit(1)


def _changed(server: Server, given: dict[str, str | int]) -> Server:
    """Put what the command line says over the settings."""
    changed: Server = msgspec.structs.replace(server, **given)
    try:
        changed.__post_init__()
    except ValueError as error:
        _fail(str(error))
    for key, fault in changed.conflicts():
        _fail(f"server.{key}: {fault}")
    return changed


def _refuse_open_door(settings: Settings) -> None:
    """Fail where others could reach a gateway that asks for no key of the operator's."""
    host = settings.server.host
    if not settings.api_keys and host != NO_TCP and not is_loopback(host):
        _fail(
            f"api_keys is empty, and others can reach {host or 'every address'}. Make a key with "
            "`easel keys new` and put its lines into the settings file."
        )


def _refuse_unwritable(log: Log) -> None:
    """Fail where access lines cannot go to the file that is named for them."""
    if not log.file:
        return
    try:
        LogFile(log.file).close()
    except OSError as error:
        _fail(f"cannot write to log.file, {log.file}: {error.strerror or error}.")


def _with_local_key(settings: Settings) -> tuple[Settings, str]:
    """Add the generated key where settings hold none, and give it."""
    if settings.api_keys:
        return settings, ""
    try:
        key, path = local_key(settings.state_dir)
    except OSError as error:
        reason = error.strerror or str(error)
        _fail(
            f"cannot keep a gateway key in state_dir, {settings.state_dir}: {reason}. Set "
            "state_dir to a folder that can be written to, or set api_keys."
        )
    click.echo(f"Gateway key: {key} (kept in {path.resolve()})")
    return replace(settings, api_keys={digest(key): "local"}), key


def _counted(things: Sized, name: str) -> str:
    return f"{len(things)} {name}" if len(things) == 1 else f"{len(things)} {name}s"


def _in_columns(rows: dict[str, str]) -> str:
    """Write labels and their texts side by side, long texts wrapped; no text, no row."""
    width = max(map(len, rows)) + 2
    return "\n".join(
        fill(
            text,
            _WIDTH,
            initial_indent=label.ljust(width),
            subsequent_indent=" " * width,
            break_long_words=False,
            break_on_hyphens=False,
        )
        for label, text in rows.items()
        if text
    )


def _banner(server: Server, key: str) -> str:
    scheme = "https" if server.tls_certificate else "http"
    url, by_socket = f"{scheme}://{_netloc(server.host, server.port)}", ""
    lines = []
    if server.host != NO_TCP:
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


def _fail(message: str) -> NoReturn:
    click.echo(f"easel: {message}", err=True)
    sys.exit(1)


if __name__ == "__main__":
    main(prog_name="easel")
