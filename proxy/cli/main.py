"""The `easel` command."""

from __future__ import annotations

from collections.abc import Callable, Sized
from textwrap import fill

import click
import orjson

import adapters
from adapters.contract import Adapter
from adapters.errors import BadParam
from adapters.table.param import STANDARD_PARAMS
from adapters.table.table import UnsupportedPolicy
from proxy import __version__
from proxy.cli.logs import logs
from proxy.cli.options import FILE, fail, read_settings, require_api_keys_if_public
from proxy.cli.serve import serve, worker
from proxy.settings.credentials import adapter_by_name, credentials_for
from proxy.settings.loader import (
    NAME_RULE,
    is_name,
    key_digest,
)
from proxy.settings.routing_config import ConfigError
from proxy.settings.secrets import generate_key

_WIDTH = 100


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
    type=FILE,
    required=True,
    help="The settings file, such as config/production.yaml.",
)
def check(config: str) -> None:
    """Check a settings file.

    Prints everything that is wrong with it, by file, line and key, and exits with 1. If nothing is,
    it says what the file holds and exits with 0. References such as ${NAME} are taken from the
    environment, as when serving.
    """
    settings = read_settings(config)
    require_api_keys_if_public(settings)
    held = (
        _count(settings.api_keys, "API key"),
        _count(settings.virtual_keys, "virtual key"),
        _count(settings.configs, "config"),
    )
    click.echo(f"{config}: good. It holds {', '.join(held)}.")


main.add_command(serve)
main.add_command(worker)
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
    from proxy.cli.health import LIVENESS_PATH, READINESS_PATH, HealthCheckError, check  # noqa: PLC0415 - as in `serve`

    try:
        click.echo(
            check(socket or url, READINESS_PATH if ready else LIVENESS_PATH, seconds=seconds)
        )
    except HealthCheckError as error:
        fail(f"{error}.")


@main.command()
@click.argument("provider", required=False)
def providers(provider: str | None) -> None:
    """List the providers, or show one.

    Of one provider: its names, its models, its options and what is not confirmed about it.
    """
    if provider is None:
        known = map(adapters.get_adapter, adapters.PROVIDERS)
        click.echo(_format_columns({it.id: _summary(it) for it in known}))
        return
    try:
        adapter = adapter_by_name(provider)
    except ConfigError as error:
        fail(f"{provider!r} {error.message}")
    aliases = [alias for alias, name in adapters.ALIASES.items() if name == adapter.id]
    facts = {
        "id": ", ".join([adapter.id, *aliases]),
        "name": adapter.name,
        "docs": adapter.docs,
        "models": ", ".join(adapter.models),
        "sources": f"{adapter.confidence} confidence, read {adapter.docs_checked_on}",
        "experimental": "yes" if adapter.experimental else "",
        "unconfirmed": adapter.unconfirmed,
    }
    click.echo(_format_columns(facts))
    if adapter.options:
        one = adapter.options[0]
        click.echo(f"\nOptions (the header for {one.name} is {one.header}):\n")
        click.echo(_format_columns({option.name: option.description for option in adapter.options}))


_OPENAI_PARAMS = [name for name in STANDARD_PARAMS if name not in ("prompt", "model")]
_OPTION_TYPES = {int: click.INT, bool: click.BOOL}


def _with_openai_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command an option for each parameter of the contract."""
    for name in reversed(_OPENAI_PARAMS):
        kind = _OPTION_TYPES.get(STANDARD_PARAMS[name].kind, click.STRING)
        flag = "--" + name.replace("_", "-")
        about = f"OpenAI's parameter {name}."
        command = click.option(flag, name, type=kind, metavar="VALUE", help=about)(command)
    return command


@main.command()
@click.option("--provider", required=True, metavar="ID", help="Whom to ask: `easel providers`.")
@click.option("--model", metavar="NAME", help="Without it, the provider's recommended one.")
@click.option("--prompt", default="A lighthouse at dawn", show_default=True, help="What to draw.")
@_with_openai_options
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
    type=click.Choice([policy.value for policy in UnsupportedPolicy]),
    help="What becomes of what the provider cannot express.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, as a dry run answers.")
def explain(  # noqa: PLR0913 - one for each option
    *,
    provider: str,
    model: str | None,
    prompt: str,
    extra_params: tuple[str, ...],
    options: tuple[str, ...],
    unsupported: str,
    as_json: bool,
    **openai_params: object,
) -> None:
    """Show what becomes of a call.

    Prints the request that a provider would be sent, and what became of each parameter. Nothing is
    sent. For example:

    easel explain --provider ID --size 1792x1024 --quality hd
    """
    from proxy.cli.explain import explain_call, format_explanation  # noqa: PLC0415 - as in `serve`

    try:
        adapter = adapter_by_name(provider)
        named_options = credentials_for(
            adapter, "", dict(map(_parse_pair, options)), by_operator=True
        )
    except ConfigError as error:
        fail(error.full_message)
    params = {name: it for name, it in openai_params.items() if it is not None}
    params |= {name: _json_or_text(text) for name, text in map(_parse_pair, extra_params)}
    request_params = {"model": model or adapter.models[0], "prompt": prompt, **params}
    try:
        result = explain_call(
            adapter, request_params, named_options.options, UnsupportedPolicy(unsupported)
        )
    except BadParam as error:
        fail(error.message)
    click.echo(
        orjson.dumps(result, option=orjson.OPT_INDENT_2) if as_json else format_explanation(result)
    )


def _parse_pair(text: str) -> tuple[str, str]:
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
        fail(f"a name has {NAME_RULE}")
    key = generate_key()
    click.echo(f"The key, shown this once; give it to the client:\n\n  {key}\n")
    click.echo("For the settings file, which need not hold the key itself:\n")
    click.echo(f"api_keys:\n  {name}:\n    key: sha256:{key_digest(key).hex()}")


def _summary(adapter: Adapter) -> str:
    mark = " (experimental)" if adapter.experimental else ""
    return f"{adapter.name}{mark}: {', '.join(adapter.models[:3])}"


def _count(things: Sized, name: str) -> str:
    return f"{len(things)} {name}" if len(things) == 1 else f"{len(things)} {name}s"


def _format_columns(rows: dict[str, str]) -> str:
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
