"""Credentials, hosts and configs, held against what the providers declare."""

from __future__ import annotations

import re
from collections.abc import Mapping

from yarl import URL

import adapters
from adapters.contract import Adapter, Credentials
from proxy.settings import routing_config
from proxy.settings.routing_config import Config, ConfigError, ErrorCollector
from proxy.settings.suggest import did_you_mean

NOT_HEADER_SAFE = "must be printable ASCII, without spaces or line breaks"
"""What is wrong with a key that is not `sendable`."""


def is_header_safe(key: str) -> bool:
    """Tell whether a key can stand in a header."""
    return re.fullmatch(r"[!-~]{0,8192}", key) is not None


def credentials_for(
    adapter: Adapter,
    api_key: str,
    raw: Mapping[str, str],
    known_keys: frozenset[str] = routing_config.CONFIG_KEYS,
    *,
    by_operator: bool = False,
) -> Credentials:
    """Hold options against what an adapter declares, aliases resolved; raises `ConfigError`.

    `beside` are the other keys that may stand where the options stand, for hints. `by_operator`:
    they stand in a virtual key of the settings.
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
            errors.add(key, "can only be set in a virtual key of the gateway's settings")
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
    """Give a custom host back if it is an absolute http(s) URL; raises `ConfigError`."""
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
    """Hold a config against the providers that it names; raises `ConfigError`.

    `stored` are the virtual keys' adapters; `slugs` are all names of virtual keys, those with
    problems of their own included.
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
        raise ConfigError(key, f"is not one of virtual_keys{did_you_mean(slug, virtual_keys)}")
    if slug in adapters_by_key:
        _check_with_virtual_key(config, adapters_by_key[slug])
    elif provider and not slug:
        credentials_for(adapter_by_name(provider), config.api_key or "", config.options)
    elif not slug:
        _check_without_provider(config)


def _check_with_virtual_key(config: Config, adapter: Adapter) -> None:
    """Check what stands in a config beside a virtual key; raises `ConfigError`."""
    errors = ErrorCollector()
    if config.api_key:
        errors.add("api_key", "must be left out: the virtual key holds its own")
    if config.provider and not config.provider.startswith("@"):
        with errors.collect():
            if adapter_by_name(config.provider) is not adapter:
                errors.add("provider", f"is not that of the virtual key, {adapter.id}")
    with errors.collect():
        credentials_for(adapter, "", config.options)
    errors.raise_errors()


def _check_without_provider(config: Config) -> None:
    """Check a config whose provider the request will name: it may hold no credential."""
    declared = [
        option for name in adapters.PROVIDERS for option in adapters.get_adapter(name).options
    ]
    known = {name for option in declared for name in (option.name, *option.aliases)}
    errors = ErrorCollector()
    for key in (key for key in config.options if key not in known):
        errors.add(
            key,
            "is not an option of any provider"
            + did_you_mean(key, routing_config.CONFIG_KEYS | known),
        )
    errors.raise_errors()
    if config.api_key or config.options:
        raise ConfigError("", "holds a credential, but names no provider for it")


def adapter_by_name(provider: str) -> Adapter:
    """Give the adapter of a provider by the name in a file; raises `ConfigError`."""
    if provider in adapters.NAMES:
        return adapters.get_adapter(provider)
    hint = did_you_mean(provider, adapters.NAMES) or "."
    raise ConfigError("provider", f"is not a provider{hint} `easel providers` lists them.")
