"""Turns a request's headers, its config and its model's name into the plan.

The law: a stored credential never meets an origin that the caller chose.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from cachetools import LRUCache

import adapters
from adapters.contract import Adapter, Credentials
from adapters.errors import ImageError
from proxy import configs
from proxy.configs import MAX_TIMEOUT_MS, Config, ConfigError, NotJson, nearest
from proxy.credentials import credentials_for
from proxy.errors import BadRequest
from proxy.incoming import (
    read_flag,
    read_metadata,
    read_milliseconds,
    read_policy,
    read_text,
)
from proxy.plan import Branch, Caller, Plan, Target
from proxy.routing import hosts
from proxy.routing.forwarding import forwarded
from proxy.settings import Settings, VirtualKey

CONFIG_LIMIT = 32 * 1024
SAVED = "saved:"
"""How the scope of a saved config begins."""
_PARSED: LRUCache[str, Config] = LRUCache(1024)
"""Inline configs by digest: a header that comes again costs a look-up."""

_NEEDS_PROVIDER = "Either x-portkey-config or x-portkey-provider header is required"
_NEEDS_PROVIDER_IN_CONFIG = (
    "Either x-portkey-provider needs to be passed. Or the x-portkey-config header should have "
    "a valid config with provider details in it."
)


@dataclass(frozen=True, slots=True, repr=False)
class Chosen:
    """A provider and a credential. `stored`: the credential is the operator's, not the caller's."""

    adapter: Adapter
    credentials: Credentials
    stored: bool
    custom_host: str = ""


@dataclass(frozen=True, slots=True, repr=False)
class Asked:
    """A request's side of the plan. `saved`: the config is the operator's."""

    settings: Settings
    headers: Mapping[str, str]
    caller: Caller
    params: Mapping[str, Any]
    saved: bool


def resolve(
    settings: Settings,
    headers: Mapping[str, str],
    caller: Caller,
    params: dict[str, Any],
    pathname: str = "",
) -> Plan:
    """Make the plan of one image request; raises `BadRequest`.

    `headers` must be case-insensitive. `params` is the client's body.
    """
    config, scope = _config(settings, headers, caller)
    asked = Asked(settings, headers, caller, params, saved=scope.startswith(SAVED))
    return Plan(
        root=_branch(config, asked) if config.targets else _alone(config, asked),
        params=params,
        pathname=pathname,
        scope=scope,
        metadata=read_metadata(headers),
        cache_namespace=read_text(headers, "x-portkey-cache-namespace"),
        force_refresh=read_flag(headers, "x-portkey-cache-force-refresh"),
        policy=read_policy(headers),
    )


def _branch(config: Config, asked: Asked) -> Branch:
    """Resolve a level of a config that has others below it."""
    nodes = tuple(
        _branch(target, asked) if target.targets else _leaf(target, asked, _holds(target, asked))
        for target in config.targets
    )
    weights = tuple(configs.weight_of(target) for target in config.targets)
    return Branch(config.strategy, nodes, weights, config.index)


def _alone(config: Config, asked: Asked) -> Target:
    """Resolve a config without targets: the headers may add a provider and a credential to it."""
    stored = _holds(config, asked)
    return _leaf(_completed(config, asked.headers, asked.caller, stored=stored), asked, stored)


def _holds(config: Config, asked: Asked) -> bool:
    """Tell whether a config brings a credential of the operator's."""
    return asked.saved and bool(config.api_key or config.options)


def _leaf(config: Config, asked: Asked, stored: bool) -> Target:  # noqa: FBT001 - said at each call
    config = _by_model(_slugged(config), asked.params)
    return _target(config, _chosen(config, asked, stored=stored), asked)


def _config(settings: Settings, headers: Mapping[str, str], caller: Caller) -> tuple[Config, str]:
    """Give the config in force, and its scope: what tells it from any other.

    That of the header; else that which the settings give to the caller's API key.
    """
    text = read_text(headers, "x-portkey-config").strip()
    default = settings.default_configs.get(caller.name)
    if default and text and not default.allow_override:
        raise _bad_config(
            f"This API key's requests use the config {default.config}: send no other."
        )
    if default and not text:
        text = default.config
    if not text:
        return Config(), ""
    if not text.startswith(("{", "[", '"')):
        return _saved(settings, text), SAVED + text
    if len(text) > CONFIG_LIMIT:
        raise _bad_config(f"A config may have at most {CONFIG_LIMIT} bytes.")
    digest = hashlib.sha256(text.encode()).hexdigest()
    known = _PARSED.get(digest) or _parsed(text)
    if isinstance(known, str):
        return _saved(settings, known), SAVED + known
    _PARSED[digest] = known
    return known, f"inline:{digest}"


def _parsed(text: str) -> Config | str:
    """Parse an inline config, or the id of a saved one in quotes."""
    try:
        raw = configs.read_config(text)
        if isinstance(raw, dict) and "options" in raw:
            raise _bad_config(
                "A config with 'options' is of Portkey's first version: write its options as "
                "targets.",
                legacy="This version of config is not supported in this route. "
                "Please migrate to the latest version",
            )
        return raw if isinstance(raw, str) else configs.parse(raw)
    except NotJson as error:
        raise _bad_config(
            f"x-portkey-config: {error.message}.",
            legacy="Invalid config passed. You need to pass a valid json",
        ) from None
    except ConfigError as error:
        raise _invalid("config", error) from None


def _saved(settings: Settings, name: str) -> Config:
    if found := settings.configs.get(name):
        return found
    raise _bad_config(
        "x-portkey-config is neither a JSON object nor the id of a saved config"
        f"{nearest(name, frozenset(settings.configs)) or '.'}",
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
        raise _bad_config("The saved config holds a credential, but names no provider for it.")
    slug = headers.get("x-portkey-virtual-key", "").strip()
    provider = headers.get("x-portkey-provider", "").strip().lower()
    if slug:
        return replace(config, virtual_key=slug)
    if not provider:
        return config
    if provider.startswith("@"):
        return _slugged(replace(config, provider=headers["x-portkey-provider"].strip()))
    adapter = _adapter(provider)
    options = dict(config.options)
    for option in adapter.options:
        for header in (option.header, *option.headers):
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
    slug, slash, _ = model.partition("/") if isinstance(model, str) else ("", "", "")
    if slash and slug.startswith("@"):
        return replace(config, virtual_key=slug[1:])
    bare = config == Config(index=config.index)
    raise BadRequest(
        "Say which provider to use: x-portkey-provider with Authorization, x-portkey-virtual-key, "
        "x-portkey-config, or a model of the form @slug/model.",
        code="provider_needed",
        legacy=_NEEDS_PROVIDER if bare else _NEEDS_PROVIDER_IN_CONFIG,
    )


def _chosen(config: Config, asked: Asked, *, stored: bool) -> Chosen:
    """Find the adapter and the credential that a completed config names."""
    if config.virtual_key:
        return _stored(asked.settings.virtual_keys, config, saved=asked.saved)
    adapter = _adapter(config.provider or "")
    try:
        credentials = credentials_for(adapter, config.api_key or "", config.options)
    except ConfigError as error:
        raise _invalid("option", error) from None
    return Chosen(adapter, credentials, stored)


def _stored(virtual_keys: Mapping[str, VirtualKey], config: Config, *, saved: bool) -> Chosen:
    slug = config.virtual_key or ""
    virtual_key = virtual_keys.get(slug)
    if virtual_key is None:
        hint = nearest(slug, frozenset(virtual_keys)) or "."
        raise BadRequest(
            f"There is no virtual key of that name{hint}",
            code="unknown_virtual_key",
            param="x-portkey-virtual-key",
            legacy="Invalid provider passed",
        )
    adapter = virtual_key.adapter
    if config.api_key or (config.options and not saved):
        raise _bad_config("A virtual key holds its own credential: give no other beside it.")
    if config.provider and adapter is not _adapter(config.provider):
        raise _bad_config(f"That virtual key is for {adapter.id}, not for the provider named.")
    own = dict(virtual_key.credentials.options)
    try:
        added = credentials_for(adapter, "", config.options).options
    except ConfigError as error:
        raise _invalid("option", error) from None
    credentials = Credentials(virtual_key.credentials.api_key, {**own, **added})
    return Chosen(adapter, credentials, stored=True, custom_host=virtual_key.custom_host)


def _adapter(name: str) -> Adapter:
    if name in adapters.NAMES:
        return adapters.adapter(name)
    raise BadRequest(
        f"There is no provider of that name{nearest(name, adapters.NAMES) or '.'}",
        code="unknown_provider",
        param="x-portkey-provider",
        legacy="Invalid provider passed",
    )


def _target(config: Config, chosen: Chosen, asked: Asked) -> Target:
    headers = asked.headers
    base_url, private = _origin(config, chosen, asked)
    header_names = headers.get("x-portkey-forward-headers", "")
    names = header_names.split(",") if header_names else config.forward_headers
    passed = forwarded(names, headers, bearer_is_ours=asked.caller.by_bearer)
    lack = chosen.adapter.lacks(chosen.credentials)
    if lack and not _custom(config, chosen, headers) and "authorization" not in passed:
        raise BadRequest(
            f"The provider {chosen.adapter.id} needs {lack}: send it as Authorization: Bearer or "
            "in its x-portkey- headers, put it into the config that names the provider, or use a "
            "virtual key.",
            status=401,
            type="authentication_error",
            code="provider_key_needed",
        )
    return Target(
        adapter=chosen.adapter,
        credentials=chosen.credentials,
        base_url=base_url.rstrip("/"),
        private=private,
        override_params=config.override_params,
        default_params=config.default_params,
        drop_params=config.drop_params,
        request_timeout=read_milliseconds(headers, "x-portkey-request-timeout", MAX_TIMEOUT_MS)
        or config.request_timeout,
        forwarded=passed,
        cache=config.cache,
        retry=config.retry,
        breaker=config.cb_config,
        index=config.index,
        slug=config.virtual_key or "",
    )


def _custom(config: Config, chosen: Chosen, headers: Mapping[str, str]) -> str:
    """Give the custom host in force: the header's, the config's, the virtual key's."""
    return headers.get("x-portkey-custom-host") or config.custom_host or chosen.custom_host


def _origin(config: Config, chosen: Chosen, asked: Asked) -> tuple[str, bool]:
    """Give the base URL, and whether it may lie on a private address."""
    headers, trusted = asked.headers, asked.settings.trusted_custom_hosts
    host = _custom(config, chosen, headers)
    if not host:
        return _own_base(chosen), False
    by_caller = headers.get("x-portkey-custom-host") or (config.custom_host and not asked.saved)
    if not by_caller:
        return host, True
    if chosen.stored:
        raise BadRequest(
            "A stored credential is not sent to a host that the caller chose: leave out the "
            "custom host, or send your own credential.",
            code="custom_host_with_stored_key",
            param="x-portkey-custom-host",
            legacy="Invalid custom host",
        )
    url = hosts.custom_host(host, trusted)
    return str(url), hosts.is_trusted(url.host or "", trusted)


def _own_base(chosen: Chosen) -> str:
    try:
        return chosen.adapter.base(chosen.credentials)
    except ImageError as error:
        raise BadRequest(error.message, code=error.code, param=error.param) from None


def _invalid(what: str, error: ConfigError) -> BadRequest:
    """Say what is wrong with a config; Portkey's list says all that is wrong."""
    errors = [f"path: {_with_commas(one.path)}, message: {one.message}" for one in error.all]
    return _bad_config(f"Invalid {what}: {error.sentences}", param=error.path, errors=errors)


def _with_commas(path: str) -> str:
    """Write a path as Portkey does.

    >>> _with_commas("targets[0].cache.mode")
    'targets,0,cache,mode'
    """
    return ",".join(re.findall(r"[^.\[\]]+", path))


def _bad_config(
    message: str,
    *,
    legacy: str = "Invalid config passed",
    param: str = "",
    errors: Sequence[str] = (),
) -> BadRequest:
    param = param or "x-portkey-config"
    return BadRequest(message, code="invalid_config", param=param, legacy=legacy, errors=errors)
