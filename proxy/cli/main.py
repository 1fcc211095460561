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
from proxy.settings.credentials import credentials_for
from proxy.settings.loader import (
    NAME_RULE,
    is_name,
    key_digest,
)
from proxy.settings.routing_config import ConfigError
from proxy.settings.secrets import generate_key
from proxy.settings.suggest import did_you_mean

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
    help="Settings file, such as config/production.yaml.",
)
def check(config: str) -> None:
    """Check a settings file.

    Prints every error with file, line and key, and exits with 1. Without errors it prints a summary
    and exits with 0. References such as ${NAME} are taken from the environment, as when serving.
    """
    settings = read_settings(config)
    require_api_keys_if_public(settings)
    counts = (
        _count(settings.api_keys, "API key"),
        _count(settings.virtual_keys, "virtual key"),
        _count(settings.configs, "config"),
    )
    click.echo(f"{config}: OK ({', '.join(counts)})")


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
    help="URL of the gateway.",
)
@click.option("--socket", metavar="PATH", help="Unix socket of the gateway, instead of a URL.")
@click.option("--ready", is_flag=True, help="Also check readiness.")
@click.option(
    "--seconds",
    default=3.0,
    show_default=True,
    type=click.FloatRange(0.1, 60),
    help="Timeout.",
)
def health(*, url: str, socket: str | None, ready: bool, seconds: float) -> None:
    """Check the health of a running gateway.

    Exits with 0 if the gateway is healthy and with 1 if it is not, for health checks of containers.
    It needs no gateway key.
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

    For one provider: its names, models, options, and what is unconfirmed about it.
    """
    if provider is None:
        known = map(adapters.get_adapter, adapters.PROVIDERS)
        click.echo(_format_columns({it.id: _summary(it) for it in known}))
        return
    adapter = _find_adapter(provider)
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
        first = adapter.options[0]
        click.echo(f"\nOptions (the header for {first.name} is {first.header}):\n")
        click.echo(_format_columns({option.name: option.description for option in adapter.options}))


_CLIENT_PARAMS = [name for name in STANDARD_PARAMS if name not in ("prompt", "model")]
_OPTION_TYPES = {int: click.INT, bool: click.BOOL}


def _with_standard_options(command: Callable[..., None]) -> Callable[..., None]:
    """Return a command with an option for each of OpenAI's parameters."""
    for name in reversed(_CLIENT_PARAMS):
        kind = _OPTION_TYPES.get(STANDARD_PARAMS[name].kind, click.STRING)
        flag = "--" + name.replace("_", "-")
        about = f"OpenAI's parameter {name}."
        command = click.option(flag, name, type=kind, metavar="VALUE", help=about)(command)
    return command


@main.command()
@click.option(
    "--provider",
    required=True,
    metavar="ID",
    help="Provider id; run `easel providers` for the list.",
)
@click.option("--model", metavar="NAME", help="Default: the provider's recommended model.")
@click.option("--prompt", default="A lighthouse at dawn", show_default=True, help="The prompt.")
@_with_standard_options
@click.option(
    "--param",
    "extra_params",
    multiple=True,
    metavar="NAME=VALUE",
    help="Additional parameter; VALUE is JSON or a string.",
)
@click.option(
    "--option", "options", multiple=True, metavar="NAME=VALUE", help="Option of the provider."
)
@click.option(
    "--unsupported",
    default="adapt",
    show_default=True,
    type=click.Choice([policy.value for policy in UnsupportedPolicy]),
    help="How to handle unsupported parameters.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, as the response to a dry run.")
def explain(  # noqa: PLR0913 - one for each option
    *,
    provider: str,
    model: str | None,
    prompt: str,
    extra_params: tuple[str, ...],
    options: tuple[str, ...],
    unsupported: str,
    as_json: bool,
    **client_params: object,
) -> None:
    """Preview how a request is translated, without sending it.

    Prints the request to the provider, and the changes to parameters. For example:

    easel explain --provider ID --size 1792x1024 --quality hd
    """
    from proxy.cli.explain import explain_call, format_explanation  # noqa: PLC0415 - as in `serve`

    adapter = _find_adapter(provider)
    try:
        named_options = credentials_for(
            adapter, "", dict(map(_parse_pair, options)), by_operator=True
        )
    except ConfigError as error:
        fail(error.full_message)
    params = {name: value for name, value in client_params.items() if value is not None}
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


def _find_adapter(provider: str) -> Adapter:
    """Return the adapter of a provider, by id or alias; exits if it is unknown."""
    if provider not in adapters.NAMES:
        hint = did_you_mean(provider, adapters.NAMES) or "."
        fail(f"unknown provider {provider!r}{hint} Run `easel providers` for the list.")
    return adapters.get_adapter(provider)


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
    """Create gateway keys."""


@keys.command("new")
@click.option(
    "--name",
    default="my-app",
    show_default=True,
    help="Name of the key in settings, logs and metrics.",
)
def keys_new(name: str) -> None:
    """Create a gateway key.

    Prints the key for the client, and the lines for the settings file, which contain only its
    digest. The key is not stored.
    """
    if not is_name(name):
        fail(f"invalid name {name!r}: it must have {NAME_RULE}.")
    key = generate_key()
    click.echo(f"The key, for the client. It is shown only once:\n\n  {key}\n")
    click.echo("For the settings file, which needs only its digest:\n")
    click.echo(f"api_keys:\n  {name}:\n    key: sha256:{key_digest(key).hex()}")


def _summary(adapter: Adapter) -> str:
    mark = " (experimental)" if adapter.experimental else ""
    return f"{adapter.name}{mark}: {', '.join(adapter.models[:3])}"


def _count(items: Sized, name: str) -> str:
    return f"{len(items)} {name}" if len(items) == 1 else f"{len(items)} {name}s"


def _format_columns(rows: dict[str, str]) -> str:
    """Return labels and their texts in two columns; rows without text are left out."""
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
