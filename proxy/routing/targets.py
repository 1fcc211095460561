"""From a completed config to a target: its credential, its origin, what is forwarded.

The law: a stored credential never meets an origin that the caller chose.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

import adapters
from adapters.contract import Adapter, Credentials
from adapters.errors import ImageError
from adapters.table.table import Policy
from proxy.errors import BadRequest
from proxy.http.forwarding import forwarded
from proxy.http.headers import read_milliseconds, read_policy
from proxy.routing import custom_host as hosts
from proxy.routing.plan import Caller, Target
from proxy.settings.credentials import credentials_for
from proxy.settings.loader import Settings, VirtualKey
from proxy.settings.paths import parse_path
from proxy.settings.routing_config import MAX_TIMEOUT_MS, Config, ConfigError
from proxy.settings.suggest import nearest


class Asked(msgspec.Struct, frozen=True):
    """A request's side of the plan. `saved`: the config is the operator's."""

    settings: Settings
    headers: Mapping[str, str]
    caller: Caller
    params: Mapping[str, Any]
    saved: bool

    __repr__ = object.__repr__


class Chosen(msgspec.Struct, frozen=True):
    """A provider and a credential. `stored`: the credential is the operator's, not the caller's."""

    adapter: Adapter
    credentials: Credentials
    stored: bool
    custom_host: str = ""

    __repr__ = object.__repr__


def target_of(config: Config, asked: Asked, *, stored: bool) -> Target:
    """Make the target of a config that names a provider or a virtual key; raises `BadRequest`.

    `stored`: the config brings a credential of the operator's.
    """
    return _target(config, _chosen(config, asked, stored=stored), asked)


def _chosen(config: Config, asked: Asked, *, stored: bool) -> Chosen:
    """Find the adapter and the credential that a completed config names."""
    if config.virtual_key:
        return _stored(asked.settings.virtual_keys, config, saved=asked.saved)
    adapter = adapter_named(config.provider or "")
    try:
        credentials = credentials_for(adapter, config.api_key or "", config.options)
    except ConfigError as error:
        raise invalid("option", error) from None
    return Chosen(adapter, credentials, stored)


def _stored(virtual_keys: Mapping[str, VirtualKey], config: Config, *, saved: bool) -> Chosen:
    slug = config.virtual_key or ""
    virtual_key = virtual_keys.get(slug)
    if virtual_key is None:
        hint = nearest(slug, virtual_keys) or "."
        raise BadRequest(
            f"There is no virtual key of that name{hint}",
            code="unknown_virtual_key",
            param="x-portkey-virtual-key",
            legacy="Invalid provider passed",
        )
    adapter = virtual_key.adapter
    if config.api_key or (config.options and not saved):
        raise bad_config("A virtual key holds its own credential: give no other beside it.")
    if config.provider and adapter is not adapter_named(config.provider):
        raise bad_config(f"That virtual key is for {adapter.id}, not for the provider named.")
    credentials = virtual_key.credentials
    if config.options:
        try:
            added = credentials_for(adapter, "", config.options).options
        except ConfigError as error:
            raise invalid("option", error) from None
        credentials = Credentials(credentials.api_key, {**credentials.options, **added})
    return Chosen(adapter, credentials, stored=True, custom_host=virtual_key.custom_host)


def adapter_named(name: str) -> Adapter:
    """Give the adapter of a provider that a client named; raises `BadRequest`."""
    if name in adapters.NAMES:
        return adapters.adapter(name)
    raise BadRequest(
        f"There is no provider of that name{nearest(name, adapters.NAMES) or '.'}",
        code="unknown_provider",
        param="x-portkey-provider",
        legacy="Invalid provider passed",
    )


def slug_of(model: Any) -> str:
    """Give the virtual key that a model names, "" where it names none.

    >>> slug_of("@up/gpt-image-1"), slug_of("gpt-image-1")
    ('up', '')
    """
    slug, slash, _ = model.partition("/") if isinstance(model, str) else ("", "", "")
    return slug[1:] if slash and slug.startswith("@") else ""


def _target(config: Config, chosen: Chosen, asked: Asked) -> Target:
    headers = asked.headers
    base_url, private = _origin(config, chosen, asked)
    header_names = headers.get("x-portkey-forward-headers", "")
    names = header_names.split(",") if header_names else config.forward_headers
    bearer_is_ours = asked.caller.by_bearer
    passed = forwarded(names, headers, bearer_is_ours=bearer_is_ours) if names else {}
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
        policy=read_policy(headers)
        or Policy(config.unsupported or asked.settings.images.unsupported),
        index=config.index,
        slug=config.virtual_key or "",
        stored=chosen.stored,
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


def invalid(what: str, error: ConfigError) -> BadRequest:
    """Say what is wrong with a config; Portkey's list says all that is wrong."""
    errors = [f"path: {_with_commas(one.path)}, message: {one.message}" for one in error.all]
    return bad_config(f"Invalid {what}: {error.sentences}", param=error.path, errors=errors)


def _with_commas(path: str) -> str:
    """Write a path as Portkey does.

    >>> _with_commas("targets[0].cache.mode")
    'targets,0,cache,mode'
    """
    return ",".join(map(str, parse_path(path)))


def bad_config(
    message: str,
    *,
    legacy: str = "Invalid config passed",
    param: str = "",
    errors: Sequence[str] = (),
) -> BadRequest:
    """Say no to a config, with Portkey's own sentence beside it."""
    param = param or "x-portkey-config"
    return BadRequest(message, code="invalid_config", param=param, legacy=legacy, errors=errors)
