"""Turns a request's headers, its config and its model's name into the plan."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from msgspec.structs import replace

from proxy.errors import BadRequest
from proxy.http.headers import (
    read_flag,
    read_keepalive,
    read_metadata,
    read_text,
)
from proxy.routing.plan import Branch, Caller, Node, Plan, Target
from proxy.routing.plan_cache import Kept, Name, is_anybodys, name_of
from proxy.routing.targets import Asked, adapter_named, bad_config, invalid, slug_of, target_of
from proxy.settings import routing_config
from proxy.settings.config_json import NotJson, read_config
from proxy.settings.loader import Settings
from proxy.settings.routing_config import Config, ConfigError
from proxy.settings.suggest import nearest

CONFIG_LIMIT = 32 * 1024
SAVED = "saved:"
"""How the scope of a saved config begins."""
_MOST_BYTES, _MOST_CONFIGS = 32 << 20, 1024
_MOST_OF_TREES = 32 << 20

_PARSED: Kept[str, tuple[Config, str]] = Kept(_MOST_BYTES, _MOST_BYTES // _MOST_CONFIGS)
"""Inline configs and their scopes, by the header's text: one that comes again costs a look-up."""

_NO_CONFIG = Config()

_NEEDS_PROVIDER = "Either x-portkey-config or x-portkey-provider header is required"
_NEEDS_PROVIDER_IN_CONFIG = (
    "Either x-portkey-provider needs to be passed. Or the x-portkey-config header should have "
    "a valid config with provider details in it."
)


class Resolver:
    """Makes the plan of each image request."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._trees: Kept[Name, Node] = Kept(_MOST_OF_TREES)

    def plan(
        self,
        headers: Mapping[str, str],
        caller: Caller,
        params: dict[str, Any],
        pathname: str = "",
    ) -> Plan:
        """Make the plan of one image request; raises `BadRequest`.

        `headers` must be case-insensitive. `params` is the client's body.
        """
        config, scope = _config(self._settings, headers, caller)
        asked = Asked(self._settings, headers, caller, params, saved=scope.startswith(SAVED))
        keepalive = read_keepalive(headers)
        return Plan(
            root=self._root(config, asked, scope),
            params=params,
            pathname=pathname,
            scope=scope,
            caller=caller.name,
            metadata=read_metadata(headers),
            cache_namespace=read_text(headers, "x-portkey-cache-namespace"),
            force_refresh=read_flag(headers, "x-portkey-cache-force-refresh"),
            dry_run=read_flag(headers, "x-easel-dry-run"),
            keepalive=(config.keepalive or 0) if keepalive is None else keepalive,
        )

    def _root(self, config: Config, asked: Asked, scope: str) -> Node:
        name = name_of(scope, asked)
        if kept := self._trees.found(name):
            return kept
        root = _branch(config, asked) if config.targets else _alone(config, asked)
        if is_anybodys(name, config, asked):
            self._trees.keep(name, root)
        return root


def _branch(config: Config, asked: Asked) -> Branch:
    """Resolve a level of a config that has others below it."""
    nodes = tuple(
        _branch(target, asked)
        if target.targets
        else _leaf(target, asked, stored=_holds(target, asked))
        for target in config.targets
    )
    weights = tuple(routing_config.weight_of(target) for target in config.targets)
    return Branch(config.strategy, nodes, weights, config.index)


def _alone(config: Config, asked: Asked) -> Target:
    """Resolve a config without targets: the headers may add a provider and a credential to it."""
    stored = _holds(config, asked)
    return _leaf(
        _completed(config, asked.headers, asked.caller, stored=stored), asked, stored=stored
    )


def _holds(config: Config, asked: Asked) -> bool:
    """Tell whether a config brings a credential of the operator's."""
    return asked.saved and bool(config.api_key or config.options)


def _leaf(config: Config, asked: Asked, *, stored: bool) -> Target:
    config = _by_model(_slugged(config), asked.params)
    return target_of(config, asked, stored=stored)


def _config(settings: Settings, headers: Mapping[str, str], caller: Caller) -> tuple[Config, str]:
    """Give the config in force, and its scope: what tells it from any other.

    That of the header; else that which the settings give to the caller's API key.
    """
    # A text that was read before is known to be printable, which takes a while to find out.
    known = _PARSED.found(headers.get("x-portkey-config", ""))
    text = known[1] if known else read_text(headers, "x-portkey-config").strip()
    default = settings.default_configs.get(caller.name)
    if default and text and not default.allow_override:
        raise bad_config(f"This API key's requests use the config {default.config}: send no other.")
    if default and not text:
        text = default.config
    if known:
        return known
    if not text:
        return _NO_CONFIG, ""
    if not text.startswith(("{", "[", '"')):
        return _saved(settings, text), SAVED + text
    if len(text) > CONFIG_LIMIT:
        raise bad_config(f"A config may have at most {CONFIG_LIMIT} bytes.")
    config = _parsed(text)
    if isinstance(config, str):
        return _saved(settings, config), SAVED + config
    known = (config, f"inline:{hashlib.sha256(text.encode()).hexdigest()}")
    _PARSED.keep(headers["x-portkey-config"], known)
    return known


def _parsed(text: str) -> Config | str:
    """Parse an inline config, or the id of a saved one in quotes."""
    try:
        raw = read_config(text)
        if isinstance(raw, dict) and "options" in raw:
            raise bad_config(
                "A config with 'options' is of Portkey's first version: write its options as "
                "targets.",
                legacy="This version of config is not supported in this route. "
                "Please migrate to the latest version",
            )
        return raw if isinstance(raw, str) else routing_config.parse(raw)
    except NotJson as error:
        raise bad_config(
            f"x-portkey-config: {error.message}.",
            legacy="Invalid config passed. You need to pass a valid json",
        ) from None
    except ConfigError as error:
        raise invalid("config", error) from None


def _saved(settings: Settings, name: str) -> Config:
    if found := settings.configs.get(name):
        return found
    raise bad_config(
        "x-portkey-config is neither a JSON object nor the id of a saved config"
        f"{nearest(name, settings.configs) or '.'}",
        legacy="Invalid config passed. You need to pass a valid json",
    )


def _completed(
    config: Config, headers: Mapping[str, str], caller: Caller, *, stored: bool
) -> Config:
    """Add provider and credential from the headers to a config that names none."""
    if config.provider or config.virtual_key:
        return _slugged(config)
    if stored:
        # Who chose the provider would choose where the credential goes.
        raise bad_config("The saved config holds a credential, but names no provider for it.")
    slug = headers.get("x-portkey-virtual-key", "").strip()
    provider = headers.get("x-portkey-provider", "").strip().lower()
    if slug:
        return replace(config, virtual_key=slug)
    if not provider:
        return config
    if provider.startswith("@"):
        return _slugged(replace(config, provider=headers["x-portkey-provider"].strip()))
    adapter = adapter_named(provider)
    options = dict(config.options)
    for option in adapter.options:
        for header in () if option.operator else (option.header, *option.headers):
            if value := headers.get(header, "").strip():
                options.setdefault(option.name, value)
    api_key = config.api_key or ("" if caller.by_bearer else _bearer(headers))
    return replace(config, provider=provider, api_key=api_key, options=options)


def _slugged(config: Config) -> Config:
    """Read `provider: @slug` as the virtual key that it names."""
    if config.provider and config.provider.startswith("@"):
        return replace(config, provider=None, virtual_key=config.provider[1:])
    return config


def _bearer(headers: Mapping[str, str]) -> str:
    scheme, _, token = headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def _by_model(config: Config, params: Mapping[str, Any]) -> Config:
    """Let a model of the form `@slug/model` name the virtual key where nothing else does."""
    if config.provider or config.virtual_key:
        return config
    model = config.override_params.get("model") or params.get("model")
    if slug := slug_of(model):
        return replace(config, virtual_key=slug)
    bare = config == Config(index=config.index)
    raise BadRequest(
        "Say which provider to use: x-portkey-provider with Authorization, x-portkey-virtual-key, "
        "x-portkey-config, or a model of the form @slug/model.",
        code="provider_needed",
        legacy=_NEEDS_PROVIDER if bare else _NEEDS_PROVIDER_IN_CONFIG,
    )
