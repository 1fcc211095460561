"""Builds a target from a complete config: credential, origin, forwarded headers.

Invariant: an operator's credential is sent only to its own origin, or to one that the operator
wrote beside that credential. A caller chooses neither the origin nor the pair.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

import adapters
from adapters.contract import IN_PROCESS, Adapter, Credentials
from adapters.errors import ImageError
from adapters.table.table import UnsupportedPolicy
from proxy.errors import BadRequest
from proxy.http.body import whole_numbers
from proxy.http.forwarding import (
    check_beside_stored_key,
    credential_headers,
    forward_headers,
    lasting_headers,
)
from proxy.http.headers import read_milliseconds, read_policy
from proxy.routing.custom_host import is_trusted, parse_custom_host
from proxy.routing.plan import Caller, Target
from proxy.settings.credentials import credentials_for
from proxy.settings.loader import Settings, VirtualKey
from proxy.settings.paths import parse_path
from proxy.settings.routing_config import MAX_TIMEOUT_MS, Config, ConfigError
from proxy.settings.suggest import did_you_mean, quoted

_NOT_THE_CALLERS_HOST = (
    "A stored credential is not sent to a host that the caller chose. Remove the custom host, or "
    "send your own credential."
)
_NOT_THE_CONFIGS_HOST = (
    "The saved config has a custom host, and the request names the virtual key: a stored "
    "credential is sent only to a host that the operator configured with it. Send your own "
    "credential with this config, or leave out the virtual key."
)
MAX_FORWARDED_HEADERS = 100
"""Names in `x-portkey-forward-headers` or `forward_headers`, looked up for each target."""


class ResolveContext(msgspec.Struct, frozen=True):
    """The request that a plan is resolved for. `config_is_saved`: the config is the operator's."""

    settings: Settings
    headers: Mapping[str, str]
    caller: Caller
    params: Mapping[str, Any]
    config_is_saved: bool

    __repr__ = object.__repr__


class ResolvedCredential(msgspec.Struct, frozen=True):
    """A provider and a credential.

    `operator_credential`: it is the operator's. `named_by_operator`: a saved config contains or
    names it, so that the config's custom host was written for it. `custom_host` is the virtual
    key's own.
    """

    adapter: Adapter
    credentials: Credentials
    operator_credential: bool
    named_by_operator: bool
    custom_host: str = ""

    __repr__ = object.__repr__


def make_target(config: Config, written: Config, context: ResolveContext) -> Target:
    """Return the target of a config that names a provider or a virtual key; raises `BadRequest`.

    `written` is the config as its author wrote it: `config` may have more, from the request.
    """
    return _build_target(config, _resolve_credential(config, written, context), context)


def has_operator_secret(written: Config, context: ResolveContext) -> bool:
    """Return whether a config contains a credential of the operator."""
    return context.config_is_saved and bool(written.api_key or written.options)


def _is_named_by_operator(config: Config, written: Config, context: ResolveContext) -> bool:
    """Return whether a saved config, and not the request, names the provider or virtual key."""
    if not context.config_is_saved:
        return False
    slug = virtual_key_in_model(written.override_params.get("model"))
    # The request may name another virtual key than the config's own model does.
    return bool(written.provider or written.virtual_key or (slug and slug == config.virtual_key))


def _resolve_credential(
    config: Config, written: Config, context: ResolveContext
) -> ResolvedCredential:
    """Return the adapter and the credential that a complete config names."""
    named_by_operator = _is_named_by_operator(config, written, context)
    if config.virtual_key:
        return _virtual_key_credential(
            context.settings.virtual_keys,
            config,
            _virtual_key_place(written),
            named_by_operator=named_by_operator,
        )
    place = f"{config.config_path}.provider" if written.provider else ""
    adapter = find_adapter(config.provider or "", place)
    if adapter.base_url == IN_PROCESS and not context.settings.sandbox:
        raise BadRequest(
            f"The provider {adapter.id} is not enabled. The operator can add a virtual key for it, "
            f"or `{adapter.id}: true`, to the settings.",
            code="unknown_provider",
            param="x-portkey-provider",
            legacy="Invalid provider passed",
        )
    try:
        credentials = credentials_for(adapter, config.api_key or "", config.options)
    except ConfigError as error:
        raise to_bad_request("option", error) from None
    stored = has_operator_secret(written, context)
    return ResolvedCredential(adapter, credentials, stored, named_by_operator)


def _virtual_key_credential(
    virtual_keys: Mapping[str, VirtualKey], config: Config, place: str, *, named_by_operator: bool
) -> ResolvedCredential:
    """Return the credential of a virtual key. `place` is the key of the config that names it."""
    slug = config.virtual_key or ""
    virtual_key = virtual_keys.get(slug)
    if virtual_key is None:
        hint = did_you_mean(slug, virtual_keys) or "."
        raise BadRequest(
            f"Unknown virtual key{quoted(slug)}{_in_config(place)}{hint}",
            code="unknown_virtual_key",
            param="x-portkey-config" if place else "x-portkey-virtual-key",
            legacy="Invalid provider passed",
        )
    adapter = virtual_key.adapter
    if config.api_key or (config.options and not named_by_operator):
        raise invalid_config(
            "A virtual key has its own credential. Remove api_key and the provider's options."
        )
    if config.provider and adapter is not find_adapter(config.provider):
        raise invalid_config(f"The virtual key is for {adapter.id}, not for the given provider.")
    credentials = virtual_key.credentials
    if config.options:
        try:
            added = credentials_for(adapter, "", config.options).options
        except ConfigError as error:
            raise to_bad_request("option", error) from None
        credentials = Credentials(credentials.api_key, {**credentials.options, **added})
    return ResolvedCredential(
        adapter,
        credentials,
        operator_credential=True,
        named_by_operator=named_by_operator,
        custom_host=virtual_key.custom_host,
    )


def _virtual_key_place(written: Config) -> str:
    """Return the key of the config that names the virtual key, "" if the config does not."""
    if written.virtual_key:
        return f"{written.config_path}.virtual_key"
    return f"{written.config_path}.provider" if written.provider else ""


def _in_config(place: str) -> str:
    """Return where in a config a name stands, for an error message.

    >>> _in_config("config.targets[0].provider"), _in_config("")
    (' in targets[0].provider', '')
    """
    return f" in {place.removeprefix('config').removeprefix('.')}" if place else ""


def find_adapter(name: str, place: str = "") -> Adapter:
    """Return the adapter of a provider that a client named; raises `BadRequest`.

    `place` is the key of the config that names it.
    """
    if name in adapters.NAMES:
        return adapters.get_adapter(name)
    raise BadRequest(
        f"Unknown provider{quoted(name)}{_in_config(place)}"
        f"{did_you_mean(name, adapters.NAMES) or '.'}",
        code="unknown_provider",
        param="x-portkey-config" if place else "x-portkey-provider",
        legacy="Invalid provider passed",
    )


def virtual_key_in_model(model: Any) -> str:
    """Return the virtual key of a model `@slug/model` or `@slug`, "" for any other model.

    >>> virtual_key_in_model("@up/gpt-image-1"), virtual_key_in_model("gpt-image-1")
    ('up', '')
    """
    slug = model.partition("/")[0] if isinstance(model, str) else ""
    return slug[1:] if slug.startswith("@") else ""


def _build_target(config: Config, chosen: ResolvedCredential, context: ResolveContext) -> Target:
    headers = context.headers
    base_url, private = _origin(config, chosen, context)
    header_names = headers.get("x-portkey-forward-headers", "")
    names = header_names.split(",") if header_names else config.forward_headers
    if len(names) > MAX_FORWARDED_HEADERS:
        raise BadRequest(
            f"At most {MAX_FORWARDED_HEADERS} headers may be forwarded.",
            code="invalid_forward_header",
            param="x-portkey-forward-headers",
        )
    passed = forward_headers(names, headers, context.settings.api_keys) if names else {}
    if passed and chosen.operator_credential:
        check_beside_stored_key(passed, chosen.adapter.reserved_headers)
    missing = chosen.adapter.missing_credentials(chosen.credentials)
    if missing and not _custom_host(config, chosen, headers) and "authorization" not in passed:
        raise BadRequest(
            f"The provider {chosen.adapter.id} needs {missing}. Send it as "
            "'Authorization: Bearer <key>' or in the provider's x-portkey-* headers, add it to the "
            "config that names the provider, or use a virtual key.",
            status=401,
            type="authentication_error",
            code="provider_key_needed",
        )
    return Target(
        adapter=chosen.adapter,
        credentials=chosen.credentials,
        base_url=base_url.rstrip("/"),
        allow_private_network=private,
        override_params=_with_whole_numbers(config.override_params),
        default_params=_with_whole_numbers(config.default_params),
        drop_params=config.drop_params,
        request_timeout=read_milliseconds(headers, "x-portkey-request-timeout", MAX_TIMEOUT_MS)
        or config.request_timeout,
        forwarded_headers=passed,
        cache=config.cache,
        retry=config.retry,
        breaker=config.cb_config,
        unsupported_policy=read_policy(headers)
        or UnsupportedPolicy(config.unsupported or context.settings.images.unsupported),
        config_path=config.config_path,
        virtual_key=config.virtual_key or "",
        operator_credential=chosen.operator_credential,
        set_by_caller=_is_set_by_caller(chosen, passed, headers),
    )


def _with_whole_numbers(params: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a config's parameters with `2.0` written as `2`; targets share what has none."""
    found = whole_numbers(params)
    return {**params, **found} if found else params


def _is_set_by_caller(
    chosen: ResolvedCredential, passed: Mapping[str, str], headers: Mapping[str, str]
) -> bool:
    """Return whether a failure may come from what the request itself set, and not the config."""
    if headers.get("x-portkey-request-timeout") or headers.get("x-portkey-custom-host"):
        return True
    named_by_caller = "x-portkey-forward-headers" in headers
    if passed and (lasting_headers(passed) if named_by_caller else credential_headers(passed)):
        return True
    own = chosen.credentials
    return not chosen.operator_credential and bool(own.api_key or own.options)


def _custom_host(config: Config, chosen: ResolvedCredential, headers: Mapping[str, str]) -> str:
    """Return the custom host: the header's, else the config's, else the virtual key's."""
    return headers.get("x-portkey-custom-host") or config.custom_host or chosen.custom_host


def _origin(
    config: Config, chosen: ResolvedCredential, context: ResolveContext
) -> tuple[str, bool]:
    """Return the base URL, and whether it may be a private address."""
    headers, trusted = context.headers, context.settings.trusted_custom_hosts
    host = _custom_host(config, chosen, headers)
    if not host:
        return _provider_base_url(chosen), False
    by_caller = headers.get("x-portkey-custom-host") or (
        config.custom_host and not context.config_is_saved
    )
    paired_by_caller = by_caller or (config.custom_host and not chosen.named_by_operator)
    if chosen.operator_credential and paired_by_caller:
        raise BadRequest(
            _NOT_THE_CALLERS_HOST if by_caller else _NOT_THE_CONFIGS_HOST,
            code="custom_host_with_stored_key",
            param="x-portkey-custom-host" if by_caller else "x-portkey-virtual-key",
            legacy="Invalid custom host",
        )
    if not by_caller:
        return host, True
    url = parse_custom_host(host, trusted)
    return str(url), is_trusted(url.host or "", url.port, trusted)


def _provider_base_url(chosen: ResolvedCredential) -> str:
    try:
        return chosen.adapter.resolve_base_url(chosen.credentials)
    except ImageError as error:
        raise BadRequest(error.message, code=error.code, param=error.param) from None


def to_bad_request(subject: str, error: ConfigError) -> BadRequest:
    """Return the error response for a `ConfigError`; Portkey's list has all its errors."""
    errors = [f"path: {_portkey_path(each.path)}, message: {each.message}" for each in error.errors]
    return invalid_config(
        f"Invalid {subject}: {error.full_message}", param=error.path, errors=errors
    )


def _portkey_path(path: str) -> str:
    """Return a path in Portkey's notation.

    >>> _portkey_path("targets[0].cache.mode")
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
    """Return the error for an invalid config, with Portkey's message in `legacy`."""
    param = param or "x-portkey-config"
    return BadRequest(message, code="invalid_config", param=param, legacy=legacy, errors=errors)
