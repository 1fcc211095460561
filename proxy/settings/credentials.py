"""Credentials, hosts and configs, held against what the providers declare."""

from __future__ import annotations

import re
from collections.abc import Mapping

from yarl import URL

import adapters
from adapters.contract import Adapter, Credentials
from proxy.settings import routing_config
from proxy.settings.routing_config import Config, ConfigError, Faults
from proxy.settings.suggest import nearest

NOT_SENDABLE = "must be printable ASCII, without spaces or line breaks"
"""What is wrong with a key that is not `sendable`."""


def sendable(key: str) -> bool:
    """Tell whether a key can stand in a header."""
    return re.fullmatch(r"[!-~]{0,8192}", key) is not None


def credentials_for(
    adapter: Adapter,
    api_key: str,
    raw: Mapping[str, str],
    beside: frozenset[str] = routing_config.KEYS,
    *,
    by_operator: bool = False,
) -> Credentials:
    """Hold options against what an adapter declares, aliases resolved; raises `ConfigError`.

    `beside` are the other keys that may stand where the options stand, for hints. `by_operator`:
    they stand in a virtual key of the settings.
    """
    names = {name: it for it in adapter.options for name in (it.name, *it.aliases)}
    options: dict[str, str] = {}
    faults = Faults()
    for key, value in raw.items():
        option = names.get(key)
        if option is None:
            hint = nearest(key, beside | names.keys())
            faults.add(key, f"is not an option of {adapter.id}{hint}")
        elif option.operator and not by_operator:
            faults.add(key, "can only be set in a virtual key of the gateway's settings")
        elif option.name in options:
            faults.add(key, "is given twice, under two names")
        elif not re.fullmatch(option.pattern, value):
            faults.add(key, f"must have the form {option.pattern}")
        else:
            options[option.name] = value
    if not sendable(api_key):
        faults.add("api_key", NOT_SENDABLE)
    faults.raise_any()
    return Credentials(api_key, options)


def checked_host(host: str) -> str:
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


def check_config(config: Config, stored: Mapping[str, Adapter], slugs: frozenset[str]) -> None:
    """Hold a config against the providers that it names; raises `ConfigError`.

    `stored` are the virtual keys' adapters; `slugs` are all names of virtual keys, those with
    problems of their own included.
    """
    faults = Faults()
    for leaf in config.leaves:
        place = leaf.index.removeprefix("config").removeprefix(".")
        with faults.noted(place and f"{place}."):
            checked_host(leaf.custom_host or "")
        with faults.noted(place and f"{place}."):
            _check_provider(leaf, stored, slugs)
    faults.raise_any()


def _check_provider(config: Config, stored: Mapping[str, Adapter], slugs: frozenset[str]) -> None:
    provider = config.provider or ""
    slug = config.virtual_key or (provider[1:] if provider.startswith("@") else "")
    if slug and slug not in slugs:
        key = "virtual_key" if config.virtual_key else "provider"
        raise ConfigError(key, f"is not one of virtual_keys{nearest(slug, slugs)}")
    if slug in stored:
        _check_beside(config, stored[slug])
    elif provider and not slug:
        credentials_for(named(provider), config.api_key or "", config.options)
    elif not slug:
        _check_unnamed(config)


def _check_beside(config: Config, adapter: Adapter) -> None:
    """Check what stands in a config beside a virtual key; raises `ConfigError`."""
    faults = Faults()
    if config.api_key:
        faults.add("api_key", "must be left out: the virtual key holds its own")
    if config.provider and not config.provider.startswith("@"):
        with faults.noted():
            if named(config.provider) is not adapter:
                faults.add("provider", f"is not that of the virtual key, {adapter.id}")
    with faults.noted():
        credentials_for(adapter, "", config.options)
    faults.raise_any()


def _check_unnamed(config: Config) -> None:
    """Check a config whose provider the request will name: it may hold no credential."""
    declared = [option for name in adapters.PROVIDERS for option in adapters.adapter(name).options]
    known = {name for option in declared for name in (option.name, *option.aliases)}
    faults = Faults()
    for key in (key for key in config.options if key not in known):
        faults.add(
            key, "is not an option of any provider" + nearest(key, routing_config.KEYS | known)
        )
    faults.raise_any()
    if config.api_key or config.options:
        raise ConfigError("", "holds a credential, but names no provider for it")


def named(provider: str) -> Adapter:
    """Give the adapter of a provider by the name in a file; raises `ConfigError`."""
    if provider in adapters.NAMES:
        return adapters.adapter(provider)
    hint = nearest(provider, adapters.NAMES) or "."
    raise ConfigError("provider", f"is not a provider{hint} `easel providers` lists them.")
