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
from adapters.table.table import UnsupportedPolicy
from proxy.errors import BadRequest
from proxy.http.forwarding import forward_headers
from proxy.http.headers import read_milliseconds, read_policy
from proxy.routing import custom_host as hosts
from proxy.routing.plan import Caller, Target
from proxy.settings.credentials import credentials_for
from proxy.settings.loader import Settings, VirtualKey
from proxy.settings.paths import parse_path
from proxy.settings.routing_config import MAX_TIMEOUT_MS, Config, ConfigError
from proxy.settings.suggest import did_you_mean


class ResolveContext(msgspec.Struct, frozen=True):
    """A request's side of the plan. `saved`: the config is the operator's."""

    settings: Settings
    headers: Mapping[str, str]
    caller: Caller
    params: Mapping[str, Any]
    config_is_saved: bool

    __repr__ = object.__repr__


class ResolvedCredential(msgspec.Struct, frozen=True):
    """A provider and a credential. `stored`: the credential is the operator's, not the caller's."""

    adapter: Adapter
    credentials: Credentials
    operator_credential: bool
    custom_host: str = ""

    __repr__ = object.__repr__


def make_target(config: Config, asked: ResolveContext, *, stored: bool) -> Target:
    """Make the target of a config that names a provider or a virtual key; raises `BadRequest`.

    `stored`: the config brings a credential of the operator's.
    """
    return _build_target(config, _resolve_credential(config, asked, stored=stored), asked)


def _resolve_credential(
    config: Config, asked: ResolveContext, *, stored: bool
) -> ResolvedCredential:
    """Find the adapter and the credential that a completed config names."""
    if config.virtual_key:
        return _virtual_key_credential(
            asked.settings.virtual_keys, config, saved=asked.config_is_saved
        )
    adapter = find_adapter(config.provider or "")
    try:
        credentials = credentials_for(adapter, config.api_key or "", config.options)
    except ConfigError as error:
        raise to_bad_request("option", error) from None
    return ResolvedCredential(adapter, credentials, stored)


def _virtual_key_credential(
    virtual_keys: Mapping[str, VirtualKey], config: Config, *, saved: bool
) -> ResolvedCredential:
    slug = config.virtual_key or ""
    virtual_key = virtual_keys.get(slug)
    if virtual_key is None:
        hint = did_you_mean(slug, virtual_keys) or "."
        raise BadRequest(
            f"There is no virtual key of that name{hint}",
            code="unknown_virtual_key",
            param="x-portkey-virtual-key",
            legacy="Invalid provider passed",
        )
    adapter = virtual_key.adapter
    if config.api_key or (config.options and not saved):
        raise invalid_config("A virtual key holds its own credential: give no other beside it.")
    if config.provider and adapter is not find_adapter(config.provider):
        raise invalid_config(f"That virtual key is for {adapter.id}, not for the provider named.")
    credentials = virtual_key.credentials
    if config.options:
        try:
            added = credentials_for(adapter, "", config.options).options
        except ConfigError as error:
            raise to_bad_request("option", error) from None
        credentials = Credentials(credentials.api_key, {**credentials.options, **added})
    return ResolvedCredential(
        adapter, credentials, operator_credential=True, custom_host=virtual_key.custom_host
    )


def find_adapter(name: str) -> Adapter:
    """Give the adapter of a provider that a client named; raises `BadRequest`."""
    if name in adapters.NAMES:
        return adapters.get_adapter(name)
    raise BadRequest(
        f"There is no provider of that name{did_you_mean(name, adapters.NAMES) or '.'}",
        code="unknown_provider",
        param="x-portkey-provider",
        legacy="Invalid provider passed",
    )


def virtual_key_in_model(model: Any) -> str:
    """Give the virtual key that a model names, "" where it names none.

    >>> slug_of("@up/gpt-image-1"), slug_of("gpt-image-1")
    ('up', '')
    """
    slug, slash, _ = model.partition("/") if isinstance(model, str) else ("", "", "")
    return slug[1:] if slash and slug.startswith("@") else ""


def _build_target(config: Config, chosen: ResolvedCredential, asked: ResolveContext) -> Target:
    headers = asked.headers
    base_url, private = _origin(config, chosen, asked)
    header_names = headers.get("x-portkey-forward-headers", "")
    names = header_names.split(",") if header_names else config.forward_headers
    is_ours = asked.caller.key_in_authorization
    passed = forward_headers(names, headers, bearer_is_gateway_key=is_ours) if names else {}
    lack = chosen.adapter.missing_credentials(chosen.credentials)
    if lack and not _custom_host(config, chosen, headers) and "authorization" not in passed:
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
        allow_private_network=private,
        override_params=config.override_params,
        default_params=config.default_params,
        drop_params=config.drop_params,
        request_timeout=read_milliseconds(headers, "x-portkey-request-timeout", MAX_TIMEOUT_MS)
        or config.request_timeout,
        forwarded_headers=passed,
        cache=config.cache,
        retry=config.retry,
        breaker=config.cb_config,
        unsupported_policy=read_policy(headers)
        or UnsupportedPolicy(config.unsupported or asked.settings.images.unsupported),
        config_path=config.config_path,
        virtual_key=config.virtual_key or "",
        operator_credential=chosen.operator_credential,
    )


def _custom_host(config: Config, chosen: ResolvedCredential, headers: Mapping[str, str]) -> str:
    """Give the custom host in force: the header's, the config's, the virtual key's."""
    return headers.get("x-portkey-custom-host") or config.custom_host or chosen.custom_host


def _origin(config: Config, chosen: ResolvedCredential, asked: ResolveContext) -> tuple[str, bool]:
    """Give the base URL, and whether it may lie on a private address."""
    headers, trusted = asked.headers, asked.settings.trusted_custom_hosts
    host = _custom_host(config, chosen, headers)
    if not host:
        return _provider_base_url(chosen), False
    by_caller = headers.get("x-portkey-custom-host") or (
        config.custom_host and not asked.config_is_saved
    )
    if not by_caller:
        return host, True
    if chosen.operator_credential:
        raise BadRequest(
            "A stored credential is not sent to a host that the caller chose: leave out the "
            "custom host, or send your own credential.",
            code="custom_host_with_stored_key",
            param="x-portkey-custom-host",
            legacy="Invalid custom host",
        )
    url = hosts.parse_custom_host(host, trusted)
    return str(url), hosts.is_trusted(url.host or "", trusted)


def _provider_base_url(chosen: ResolvedCredential) -> str:
    try:
        return chosen.adapter.resolve_base_url(chosen.credentials)
    except ImageError as error:
        raise BadRequest(error.message, code=error.code, param=error.param) from None


def to_bad_request(what: str, error: ConfigError) -> BadRequest:
    """Say what is wrong with a config; Portkey's list says all that is wrong."""
    errors = [f"path: {_portkey_path(one.path)}, message: {one.message}" for one in error.errors]
    return invalid_config(f"Invalid {what}: {error.full_message}", param=error.path, errors=errors)


def _portkey_path(path: str) -> str:
    """Write a path as Portkey does.

    >>> _with_commas("targets[0].cache.mode")
    'targets,0,cache,mode'
    """
    return ",".join(map(str, parse_path(path)))


def invalid_config(
    message: str,
    *,
    legacy: str = "Invalid config passed",
    param: str = "",
    errors: Sequence[str] = (),
) -> BadRequest:
    """Say no to a config, with Portkey's own sentence beside it."""
    param = param or "x-portkey-config"
    return BadRequest(message, code="invalid_config", param=param, legacy=legacy, errors=errors)
