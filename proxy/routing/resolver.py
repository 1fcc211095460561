"""Resolves a request's headers, config and model into its plan."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from msgspec.structs import replace

from proxy.errors import BadRequest
from proxy.http.headers import (
    bearer,
    read_flag,
    read_keepalive,
    read_metadata,
    read_namespace,
    read_text,
)
from proxy.routing.plan import SAVED_SCOPE, Caller, Node, Plan, StrategyNode, Target
from proxy.routing.plan_cache import PlanKey, SizedLRU, is_shareable, plan_key
from proxy.routing.targets import (
    ResolveContext,
    find_adapter,
    has_operator_secret,
    invalid_config,
    make_target,
    to_bad_request,
    virtual_key_in_model,
)
from proxy.settings.config_json import InvalidJson, parse_config_json
from proxy.settings.credentials import check_option_names
from proxy.settings.loader import Settings
from proxy.settings.routing_config import Config, ConfigError, parse_config, weight_of
from proxy.settings.suggest import did_you_mean, quoted

MAX_CONFIG_BYTES = 32 * 1024
_CONFIG_CACHE_BYTES, _MAX_CACHED_CONFIGS = 32 << 20, 1024
_PLAN_CACHE_BYTES = 32 << 20

_PARSED_CONFIGS: SizedLRU[str, tuple[Config, str]] = SizedLRU(
    _CONFIG_CACHE_BYTES, _CONFIG_CACHE_BYTES // _MAX_CACHED_CONFIGS
)
"""Inline configs and their scopes, by the header's text."""

_EMPTY_CONFIG = Config()

_NEEDS_PROVIDER = "Either x-portkey-config or x-portkey-provider header is required"
_NEEDS_PROVIDER_IN_CONFIG = (
    "Either x-portkey-provider needs to be passed. Or the x-portkey-config header should have "
    "a valid config with provider details in it."
)


class Resolver:
    """Resolves the plans of image requests."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._trees: SizedLRU[PlanKey, Node] = SizedLRU(_PLAN_CACHE_BYTES)

    def resolve(
        self,
        headers: Mapping[str, str],
        caller: Caller,
        params: dict[str, Any],
        pathname: str = "",
    ) -> Plan:
        """Return the plan of an image request; raises `BadRequest`.

        `headers` must be case-insensitive. `params` is the client's body.
        """
        config, scope = _find_config(self._settings, headers, caller)
        context = ResolveContext(
            self._settings, headers, caller, params, config_is_saved=scope.startswith(SAVED_SCOPE)
        )
        keepalive = read_keepalive(headers)
        return Plan(
            root=self._resolve_tree(config, context, scope),
            params=params,
            pathname=pathname,
            scope=scope,
            caller=caller.name,
            metadata=read_metadata(headers),
            cache_namespace=read_namespace(headers),
            force_refresh=read_flag(headers, "x-portkey-cache-force-refresh"),
            dry_run=read_flag(headers, "x-easel-dry-run"),
            keepalive=(config.keepalive or 0) if keepalive is None else keepalive,
        )

    def _resolve_tree(self, config: Config, context: ResolveContext, scope: str) -> Node:
        key = plan_key(scope, context)
        if cached := self._trees.get(key):
            return cached
        root = (
            _resolve_strategy(config, context)
            if config.targets
            else _single_target(config, context)
        )
        if is_shareable(key, config, context):
            self._trees.put(key, root)
        return root


def _resolve_strategy(config: Config, context: ResolveContext) -> StrategyNode:
    """Resolve a level of a config with other levels below it."""
    children = tuple(
        _resolve_strategy(target, context)
        if target.targets
        else _resolve_leaf(target, target, context)
        for target in config.targets
    )
    weights = tuple(map(weight_of, config.targets))
    return StrategyNode(config.strategy, children, weights, config.config_path)


def _single_target(config: Config, context: ResolveContext) -> Target:
    """Resolve a config without targets; the headers may add a provider and a credential."""
    stored = has_operator_secret(config, context)
    completed = _with_headers(config, context.headers, context.caller, stored=stored)
    return _resolve_leaf(completed, config, context)


def _resolve_leaf(config: Config, written: Config, context: ResolveContext) -> Target:
    """Resolve a target. `written` is the config without what the headers added to it."""
    config = _with_virtual_key_of_model(_normalize_virtual_key(config), context.params)
    return make_target(config, written, context)


def _find_config(
    settings: Settings, headers: Mapping[str, str], caller: Caller
) -> tuple[Config, str]:
    """Return the config of a request, and its scope, which identifies it.

    It is the header's; without one, the default config of the caller's API key.
    """
    # A cached text is known to be printable; checking that is slow.
    known = _PARSED_CONFIGS.get(headers.get("x-portkey-config", ""))
    text = known[1] if known else read_text(headers, "x-portkey-config").strip()
    default = settings.default_configs.get(caller.name)
    if default and text and not default.allow_override:
        raise invalid_config(
            f"This API key always uses the config {default.config}. Remove x-portkey-config."
        )
    if default and not text:
        text = default.config
    if known:
        return known
    if not text:
        return _EMPTY_CONFIG, ""
    if not text.startswith(("{", "[", '"')):
        return _saved_config(settings, text), SAVED_SCOPE + text
    if len(text) > MAX_CONFIG_BYTES:
        raise invalid_config(f"x-portkey-config must have at most {MAX_CONFIG_BYTES} bytes.")
    config = _parse_inline(text)
    if isinstance(config, str):
        return _saved_config(settings, config), SAVED_SCOPE + config
    known = (config, f"inline:{hashlib.sha256(text.encode()).hexdigest()}")
    _PARSED_CONFIGS.put(headers["x-portkey-config"], known)
    return known


def _parse_inline(text: str) -> Config | str:
    """Parse an inline config, or the quoted id of a saved one."""
    try:
        raw = parse_config_json(text)
        if isinstance(raw, dict) and "options" in raw:
            raise invalid_config(
                "A config with 'options' has Portkey's old format, which is not supported. Rename "
                "'options' to 'targets'.",
                legacy="This version of config is not supported in this route. "
                "Please migrate to the latest version",
            )
        return raw if isinstance(raw, str) else parse_config(raw)
    except InvalidJson as error:
        raise invalid_config(
            f"x-portkey-config: {error.message}.",
            legacy="Invalid config passed. You need to pass a valid json",
        ) from None
    except ConfigError as error:
        raise to_bad_request("config", error) from None


def _saved_config(settings: Settings, name: str) -> Config:
    if found := settings.configs.get(name):
        return found
    raise invalid_config(
        f"x-portkey-config{quoted(name)} is neither a JSON object nor the id of a saved config"
        f"{did_you_mean(name, settings.configs) or '.'}",
        legacy="Invalid config passed. You need to pass a valid json",
    )


def _with_headers(
    config: Config, headers: Mapping[str, str], caller: Caller, *, stored: bool
) -> Config:
    """Return a config with provider and credential from the headers, if it has none."""
    if config.provider or config.virtual_key:
        return _normalize_virtual_key(config)
    if stored:
        # The caller's choice of provider would decide where the operator's credential is sent.
        raise invalid_config("The saved config has a credential, but no provider.")
    slug = headers.get("x-portkey-virtual-key", "").strip()
    provider = headers.get("x-portkey-provider", "").strip().lower()
    if slug:
        return replace(config, virtual_key=slug)
    if not provider:
        return config
    if provider.startswith("@"):
        return _normalize_virtual_key(
            replace(config, provider=headers["x-portkey-provider"].strip())
        )
    adapter = find_adapter(provider)
    options = dict(config.options)
    for option in adapter.options:
        for header in () if option.operator_only else (option.header, *option.headers):
            if value := headers.get(header, "").strip():
                options.setdefault(option.name, value)
    api_key = config.api_key or ("" if caller.key_in_authorization else bearer(headers))
    return replace(config, provider=provider, api_key=api_key, options=options)


def _normalize_virtual_key(config: Config) -> Config:
    """Replace `provider: @slug` by the virtual key that it names."""
    if config.provider and config.provider.startswith("@"):
        return replace(config, provider=None, virtual_key=config.provider[1:])
    return config


def _with_virtual_key_of_model(config: Config, params: Mapping[str, Any]) -> Config:
    """Return a config with the virtual key of a model `@slug/model`, if it has no provider."""
    if config.provider or config.virtual_key:
        return config
    model = config.override_params.get("model") or params.get("model")
    if slug := virtual_key_in_model(model):
        return replace(config, virtual_key=slug)
    try:
        check_option_names(config)
    except ConfigError as error:
        raise to_bad_request("config", error) from None
    bare = config == Config(config_path=config.config_path)
    raise BadRequest(
        "No provider specified. Set x-portkey-provider (with Authorization), x-portkey-virtual-key "
        "or x-portkey-config, or use a model of the form @virtual-key/model.",
        code="provider_needed",
        legacy=_NEEDS_PROVIDER if bare else _NEEDS_PROVIDER_IN_CONFIG,
    )
