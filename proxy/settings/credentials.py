"""Validation of credentials, hosts and configs against what the adapters declare."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache

from yarl import URL

import adapters
from adapters.contract import Adapter, Credentials
from proxy.settings.routing_config import CONFIG_KEYS, Config, ConfigError, ErrorCollector
from proxy.settings.suggest import did_you_mean

NOT_HEADER_SAFE = "must be printable ASCII, without spaces or line breaks"
"""The error message for a key that is not `is_header_safe`."""


def is_header_safe(key: str) -> bool:
    """Return whether a key can be sent as a header's value."""
    return re.fullmatch(r"[!-~]{0,8192}", key) is not None


def credentials_for(
    adapter: Adapter,
    api_key: str,
    raw: Mapping[str, str],
    known_keys: frozenset[str] = CONFIG_KEYS,
    *,
    by_operator: bool = False,
) -> Credentials:
    """Validate a provider's options and resolve their aliases; raises `ConfigError`.

    `known_keys` are the other keys of the same mapping, for suggestions. `by_operator`: the options
    come from a virtual key of the settings.
    """
    names = {name: it for it in adapter.options for name in (it.name, *it.aliases)}
    options: dict[str, str] = {}
    errors = ErrorCollector()
    for key, value in raw.items():
        option = names.get(key)
        if option is None:
            hint = did_you_mean(key, known_keys | names.keys())
            errors.add(key, f"is not an option of {adapter.id}{hint}")
        elif option.operator_only and not by_operator:
            errors.add(key, "can only be set in a virtual key in the gateway's settings")
        elif option.name in options:
            errors.add(key, "is given twice, under two names")
        elif not re.fullmatch(option.pattern, value):
            errors.add(key, f"must have the form {option.pattern}")
        else:
            options[option.name] = value
    if not is_header_safe(api_key):
        errors.add("api_key", NOT_HEADER_SAFE)
    errors.raise_errors()
    return Credentials(api_key, options)


def validate_host(host: str) -> str:
    """Return a custom host unchanged; raises `ConfigError` unless it is an absolute http(s) URL."""
    if not host:
        return host
    try:
        url = URL(host)
        usable = url.scheme in ("http", "https") and bool(url.host) and url.port != 0
    except ValueError:
        usable = False
        url = URL()
    if not usable or url.user or url.password or url.query_string or url.fragment:
        raise ConfigError("custom_host", "must be a URL such as https://images.example.com/v1")
    return host


def check_config(
    config: Config, adapters_by_key: Mapping[str, Adapter], virtual_keys: frozenset[str]
) -> None:
    """Validate a config against the providers that it names; raises `ConfigError`.

    `adapters_by_key` maps virtual keys to their adapters. `virtual_keys` are the names of all
    virtual keys, including those that are invalid themselves.
    """
    errors = ErrorCollector()
    for leaf in config.leaves:
        place = leaf.config_path.removeprefix("config").removeprefix(".")
        with errors.collect(place and f"{place}."):
            validate_host(leaf.custom_host or "")
        with errors.collect(place and f"{place}."):
            _check_provider(leaf, adapters_by_key, virtual_keys)
    errors.raise_errors()


def _check_provider(
    config: Config, adapters_by_key: Mapping[str, Adapter], virtual_keys: frozenset[str]
) -> None:
    provider = config.provider or ""
    slug = config.virtual_key or (provider[1:] if provider.startswith("@") else "")
    if slug and slug not in virtual_keys:
        key = "virtual_key" if config.virtual_key else "provider"
        raise ConfigError(key, f"is not a key of virtual_keys{did_you_mean(slug, virtual_keys)}")
    if slug in adapters_by_key:
        _check_with_virtual_key(config, adapters_by_key[slug])
    elif provider and not slug:
        credentials_for(adapter_by_name(provider), config.api_key or "", config.options)
    elif not slug:
        _check_without_provider(config)


def _check_with_virtual_key(config: Config, adapter: Adapter) -> None:
    """Validate a config that names a virtual key; raises `ConfigError`."""
    errors = ErrorCollector()
    if config.api_key:
        errors.add("api_key", "must be left out: the virtual key has its own")
    if config.provider and not config.provider.startswith("@"):
        with errors.collect():
            if adapter_by_name(config.provider) is not adapter:
                errors.add(
                    "provider", f"differs from the provider of the virtual key, {adapter.id}"
                )
    with errors.collect():
        credentials_for(adapter, "", config.options)
    errors.raise_errors()


def _check_without_provider(config: Config) -> None:
    """Validate a config whose provider the request will name: it may hold no credential."""
    check_option_names(config)
    if config.api_key or config.options:
        raise ConfigError("", "has a credential, but no provider")


def check_option_names(config: Config) -> None:
    """Check that a config's other keys are options of any provider; raises `ConfigError`."""
    if not config.options:
        return
    known = _option_names()
    errors = ErrorCollector()
    for key in (key for key in config.options if key not in known):
        hint = did_you_mean(key, CONFIG_KEYS | known)
        errors.add(key, f"is not a key of a config, nor an option of any provider{hint}")
    errors.raise_errors()


@cache
def _option_names() -> frozenset[str]:
    declared = [
        option for name in adapters.PROVIDERS for option in adapters.get_adapter(name).options
    ]
    return frozenset(name for option in declared for name in (option.name, *option.aliases))


def adapter_by_name(provider: str) -> Adapter:
    """Return the adapter of a provider, by id or alias; raises `ConfigError`."""
    if provider in adapters.NAMES:
        return adapters.get_adapter(provider)
    hint = did_you_mean(provider, adapters.NAMES) or "."
    raise ConfigError(
        "provider", f"is not a known provider{hint} Run `easel providers` for the list."
    )
