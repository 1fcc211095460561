"""The `easel` command."""

from __future__ import annotations

import sys
from dataclasses import replace
from ipaddress import ip_address
from textwrap import fill

import click

import adapters
from proxy import __version__
from proxy.local_key import local_key, new_key
from proxy.settings import Settings, SettingsError, digest, embedded, load

_WIDTH = 100
_CONFIG = click.option(
    "--config",
    "config",
    metavar="FILE",
    type=click.Path(dir_okay=False),
    help="Settings in YAML, such as config/dev.yaml. Without it: embedded defaults.",
)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="easel")
def main() -> None:
    """Easel: one endpoint for every image model.

    Start a gateway with `easel serve`, then send OpenAI's POST /v1/images/generations to it.
    """


@main.command()
@_CONFIG
@click.option("--host", help="Listen here instead of the settings' server.host.")
@click.option("--port", type=click.IntRange(0, 65_535), help="Listen here (0: any free port).")
def serve(config: str | None, host: str | None, port: int | None) -> None:
    """Run the gateway until SIGTERM or Ctrl-C; running requests are let finish."""
    settings = _loaded(config)
    server = settings.server
    chosen = type(server)(
        host=server.host if host is None else host,
        port=server.port if port is None else port,
        shutdown_seconds=server.shutdown_seconds,
    )
    settings = replace(settings, server=chosen)
    settings, key = _with_local_key(settings)
    if settings.log.format == "auto":
        style = "text" if sys.stdout.isatty() else "json"
        settings = replace(settings, log=type(settings.log)(format=style))

    # Imported here: `easel --help` need not wait for the server's machinery.
    from proxy.serving import run  # noqa: PLC0415

    def ready(host: str, port: int) -> None:
        click.echo(_banner(host, port, key))

    try:
        run(settings, ready)
    except OSError as error:
        reason = error.strerror or str(error)
        _fail(f"cannot listen on {chosen.host}:{chosen.port}: {reason}. Try another --port.")


@main.command()
@_CONFIG
def check(config: str | None) -> None:
    """Check a settings file: everything that is wrong, by file, line and key. Exit 1 if it is."""
    if config is None:
        _fail("name a file: easel check --config FILE")
    settings = _loaded(config)
    click.echo(
        f"{config}: good. {len(settings.api_keys)} API keys, "
        f"{len(settings.virtual_keys)} virtual keys, {len(settings.configs)} configs."
    )


@main.command()
@click.argument("provider", required=False)
def providers(provider: str | None) -> None:
    """List the providers, or show one: its models, its options, and what is not confirmed."""
    if provider is None:
        for name in adapters.PROVIDERS:
            adapter = adapters.adapter(name)
            click.echo(f"{name:<20} {adapter.name:<28} {', '.join(adapter.models[:3])}")
        return
    if provider not in adapters.NAMES:
        _fail(f"there is no provider {provider!r}: `easel providers` lists them")
    adapter = adapters.adapter(provider)
    aliases = [alias for alias, name in adapters.ALIASES.items() if name == adapter.id]
    facts = {
        "id": ", ".join([adapter.id, *aliases]),
        "name": adapter.name,
        "docs": adapter.docs,
        "models": ", ".join(adapter.models),
        "unconfirmed": adapter.unconfirmed,
    }
    click.echo(_in_columns(facts))
    if adapter.options:
        one = adapter.options[0]
        click.echo(f"\nOptions (the header for {one.name} is {one.header}):\n")
        click.echo(_in_columns({option.name: option.about for option in adapter.options}))


@main.group()
def keys() -> None:
    """Make gateway keys."""


@keys.command("new")
@click.option("--name", default="my-app", show_default=True, help="Whom the key is for.")
def keys_new(name: str) -> None:
    """Make a gateway key: the key for the client, and the lines for the settings file."""
    key = new_key()
    click.echo(f"The key, shown this once; give it to the client:\n\n  {key}\n")
    click.echo("For the settings file, which need not hold the key itself:\n")
    click.echo(f"api_keys:\n  {name}:\n    key: sha256:{digest(key).hex()}")


def _loaded(config: str | None) -> Settings:
    try:
        return load(config) if config else embedded()
    except SettingsError as error:
        for problem in error.problems:
            click.echo(str(problem), err=True)
        sys.exit(1)


def _with_local_key(settings: Settings) -> tuple[Settings, str]:
    """Add the generated key where settings hold none; only for a gateway nobody else can reach."""
    if settings.api_keys:
        return settings, ""
    if not _is_loopback(settings.server.host):
        _fail(
            f"api_keys is empty, and {settings.server.host} can be reached by others. "
            "Make a key with `easel keys new` and put it into the settings file."
        )
    key, path = local_key(settings.state_dir)
    click.echo(f"Gateway key: {key} (kept in {path.resolve()})")
    return replace(settings, api_keys={digest(key): "local"}), key


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


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _banner(host: str, port: int, key: str) -> str:
    url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    lines = [f"Easel {__version__} is listening on {url}"]
    if key:
        lines += ["", "Paste this in another terminal, then open picture.png:", "", _curl(url, key)]
    return "\n".join([*lines, ""])


def _curl(url: str, key: str) -> str:
    body = '{"prompt": "A lighthouse at dawn", "size": "1024x1024"}'
    return (
        f"curl -s {url}/v1/images/generations \\\n"
        f"  -H 'x-portkey-api-key: {key}' \\\n"
        f"  -H 'x-portkey-provider: {adapters.DEMO}' \\\n"
        f"  -H 'content-type: application/json' \\\n"
        f"  -d '{body}' \\\n"
        '  | sed \'s/.*"b64_json":"\\([^"]*\\)".*/\\1/\' | base64 --decode > picture.png'
    )


def _fail(message: str) -> None:
    click.echo(f"easel: {message}", err=True)
    sys.exit(1)


if __name__ == "__main__":
    main(prog_name="easel")
