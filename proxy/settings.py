"""The operator's YAML and environment, turned into frozen values; validated whole before use.

Every error names file, line and key. Nothing here knows a provider: a virtual key's options are
held against its adapter's own declarations.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import Any

import msgspec
from yarl import URL

import adapters
from adapters.contract import Adapter, Credentials
from proxy import configs
from proxy.configs import Config, ConfigError, nearest
from proxy.yaml_source import Path, Problem, Source

_MB = 1024 * 1024
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_SLUG = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")
_MIN_KEY = 16


class SettingsError(Exception):
    """Settings cannot be used; `problems` says all that is wrong with them."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = problems


class _Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A section of the file whose keys are all numbers or words of ours."""


class Server(_Section, frozen=True):
    """Where the gateway listens, and how it stops."""

    host: str = "127.0.0.1"
    port: int = 8787
    shutdown_seconds: float = 180.0

    def __post_init__(self) -> None:
        """Hold the values against what is possible."""
        _within("port", self.port, 0, 65_535)
        _within("shutdown_seconds", self.shutdown_seconds, 0, 3600)


class Limits(_Section, frozen=True):
    """The most that a stranger can make the gateway hold, in bytes."""

    body_bytes: int = 32 * _MB
    header_bytes: int = 40 * 1024
    reply_bytes: int = 256 * _MB
    picture_bytes: int = 64 * _MB

    def __post_init__(self) -> None:
        """Hold the values against what is possible."""
        for name in self.__struct_fields__:
            _within(name, getattr(self, name), 1024, 4096 * _MB)


class Timeouts(_Section, frozen=True):
    """Seconds: to connect, between two pieces of a reply, and for one picture in all."""

    connect: float = 10.0
    idle: float = 300.0
    total: float = 900.0

    def __post_init__(self) -> None:
        """Hold the values against what is possible."""
        for name in self.__struct_fields__:
            _within(name, getattr(self, name), 0.01, 86_400)


class Cache(_Section, frozen=True):
    """Room for kept answers, in bytes of memory: in all, and for one answer."""

    memory_bytes: int = 256 * _MB
    answer_bytes: int = 32 * _MB

    def __post_init__(self) -> None:
        """Hold the values against what is possible."""
        _within("memory_bytes", self.memory_bytes, 0, 1024 * 1024 * _MB)
        _within("answer_bytes", self.answer_bytes, 0, 4096 * _MB)


class Log(_Section, frozen=True):
    """How the line of each request is written."""

    format: str = "auto"

    def __post_init__(self) -> None:
        """Hold the values against what is possible."""
        if self.format not in ("auto", "json", "text", "none"):
            raise ValueError("`format` must be one of: auto, json, text, none")


@dataclass(frozen=True, slots=True, repr=False)
class VirtualKey:
    """A stored provider credential. `custom_host` is the operator's choice of origin."""

    slug: str
    adapter: Adapter
    credentials: Credentials
    custom_host: str = ""


@dataclass(frozen=True, slots=True, repr=False)
class Settings:
    """All that the operator chose. `api_keys` maps a key's SHA-256 digest to its name."""

    server: Server = field(default_factory=Server)
    limits: Limits = field(default_factory=Limits)
    timeouts: Timeouts = field(default_factory=Timeouts)
    cache: Cache = field(default_factory=Cache)
    log: Log = field(default_factory=Log)
    api_keys: Mapping[bytes, str] = field(default_factory=dict)
    virtual_keys: Mapping[str, VirtualKey] = field(default_factory=dict)
    configs: Mapping[str, Config] = field(default_factory=dict)
    trusted_custom_hosts: frozenset[str] = frozenset()
    state_dir: str = ".easel"


def embedded(environ: Mapping[str, str] | None = None) -> Settings:
    """Give the settings that hold without a file: this machine only, the demo provider."""
    demo = adapters.adapter(adapters.DEMO)
    environ = os.environ if environ is None else environ
    return Settings(
        virtual_keys={demo.id: VirtualKey(demo.id, demo, Credentials())},
        trusted_custom_hosts=_csv(environ.get("TRUSTED_CUSTOM_HOSTS", "")),
    )


_SECTIONS: dict[str, type[_Section]] = {
    "server": Server,
    "limits": Limits,
    "timeouts": Timeouts,
    "cache": Cache,
    "log": Log,
}
KEYS = frozenset(_SECTIONS) | {
    "api_keys",
    "virtual_keys",
    "configs",
    "trusted_custom_hosts",
    "state_dir",
}
"""Every key at the top of a settings file."""
VIRTUAL_KEY_KEYS = frozenset({"provider", "api_key", "custom_host"})
"""The keys of a virtual key beside its provider's own options."""


def digest(key: str) -> bytes:
    """Give the digest by which a gateway key is known."""
    return hashlib.sha256(key.encode()).digest()


def load(file: str, environ: Mapping[str, str] | None = None) -> Settings:
    """Read and check a settings file; raises `SettingsError` with everything that is wrong."""
    try:
        text = FilePath(file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "is not UTF-8 text"
        raise SettingsError([Problem(file, 0, "", reason)]) from None
    return parse(text, file=file, environ=environ)


def parse(
    text: str, *, file: str = "settings", environ: Mapping[str, str] | None = None
) -> Settings:
    """Read and check the text of a settings file; raises `SettingsError`."""
    environ = os.environ if environ is None else environ
    source = Source(text, file, environ)
    problems = source.problems
    data = source.data
    if not isinstance(data, dict):
        raise SettingsError(
            [Problem(file, 1, "", "must be a mapping of keys to values"), *problems]
        )
    problems += [
        source.problem((key,), "is not a setting" + nearest(key, KEYS))
        for key in data
        if key not in KEYS
    ]
    reader = _Reader(source, problems)
    settings = Settings(
        **reader.sections(),
        api_keys=reader.api_keys(),
        virtual_keys=(virtual_keys := reader.virtual_keys()),
        configs=reader.configs(virtual_keys),
        trusted_custom_hosts=reader.trusted_hosts() | _csv(environ.get("TRUSTED_CUSTOM_HOSTS", "")),
        state_dir=reader.text("state_dir", ".easel"),
    )
    if problems:
        raise SettingsError(sorted(problems, key=lambda problem: problem.line))
    return settings


class _Reader:
    """Reads one section after the other, collecting problems instead of stopping at the first."""

    def __init__(self, source: Source, problems: list[Problem]) -> None:
        self.source = source
        self.problems = problems

    def wrong(self, path: Path, message: str) -> None:
        self.problems.append(self.source.problem(path, message))

    def sections(self) -> dict[str, Any]:
        return {name: self.section(name, kind) for name, kind in _SECTIONS.items()}

    def section(self, name: str, kind: type[_Section]) -> _Section:
        """Read a section; whatever is wrong in it is left at its default after being noted."""
        raw = self.source.data.get(name)
        if raw is None:
            return kind()
        if not isinstance(raw, dict):
            self.wrong((name,), "must be a mapping")
            return kind()
        good: dict[str, Any] = {}
        for key, value in raw.items():
            if key not in kind.__struct_fields__:
                known = frozenset(kind.__struct_fields__)
                self.wrong((name, key), "is not a setting" + nearest(key, known))
                continue
            try:
                msgspec.convert({key: value}, kind, strict=False)
            except msgspec.ValidationError as error:
                self.wrong((name, key), str(error).partition(" - at")[0])
            else:
                good[key] = value
        return msgspec.convert(good, kind, strict=False)

    def text(self, name: str, default: str) -> str:
        value = self.source.data.get(name, default)
        if isinstance(value, str) and value:
            return value
        self.wrong((name,), "must be a text that is not empty")
        return default

    def entries(self, name: str) -> Iterator[tuple[str, dict[str, Any], Path]]:
        """Walk the named mappings of a section."""
        raw = self.source.data.get(name) or {}
        if not isinstance(raw, dict):
            self.wrong((name,), "must be a mapping of names to mappings")
            return
        for key, entry in raw.items():
            path = (name, key)
            if not _SLUG.fullmatch(key):
                self.wrong(path, "a name has letters, digits, '.', '_' and '-' only")
            elif not isinstance(entry, dict):
                self.wrong(path, "must be a mapping")
            else:
                yield key, entry, path

    def api_keys(self) -> dict[bytes, str]:
        keys: dict[bytes, str] = {}
        for name, entry, path in self.entries("api_keys"):
            for key in entry.keys() - {"key"}:
                self.wrong((*path, key), "is not a setting" + nearest(key, {"key"}))
            found = self.key_digest(entry.get("key"), path)
            if found in keys:
                self.wrong(path, f"has the same key as {keys[found]}")
            elif found:
                keys[found] = name
        return keys

    def key_digest(self, key: Any, path: Path) -> bytes:
        if not isinstance(key, str):
            self.wrong(path, "needs 'key': a text, or sha256:… of it (easel keys new makes one)")
            return b""
        if _DIGEST.fullmatch(key):
            return bytes.fromhex(key.removeprefix("sha256:"))
        if key.startswith("sha256:"):
            self.wrong((*path, "key"), "sha256: must be followed by 64 lower-case hex digits")
        elif key and len(key) < _MIN_KEY:
            self.wrong((*path, "key"), f"must be at least {_MIN_KEY} characters long")
        elif key:
            return digest(key)
        return b""

    def virtual_keys(self) -> dict[str, VirtualKey]:
        return {
            slug: found
            for slug, entry, path in self.entries("virtual_keys")
            if (found := self.virtual_key(slug, entry, path))
        }

    def virtual_key(self, slug: str, entry: dict[str, Any], path: Path) -> VirtualKey | None:
        adapter = self.provider(entry.get("provider"), path)
        if adapter is None:
            return None
        for key, value in entry.items():
            if not isinstance(value, str):
                self.wrong((*path, key), "must be a text (put it in quotes)")
                return None
        raw = {key: value for key, value in entry.items() if key not in VIRTUAL_KEY_KEYS}
        host = entry.get("custom_host", "")
        try:
            checked_host(host)
            credentials = credentials_for(adapter, entry.get("api_key", ""), raw)
        except ConfigError as error:
            self.wrong((*path, error.path), error.message)
            return None
        if not host and (lack := adapter.lacks(credentials)):
            self.wrong(path, f"lacks {lack}")
        return VirtualKey(slug, adapter, credentials, host)

    def provider(self, name: Any, path: Path) -> Adapter | None:
        if isinstance(name, str) and name in adapters.NAMES:
            return adapters.adapter(name)
        hint = nearest(name, adapters.NAMES) if isinstance(name, str) else ""
        said = f"{name!r} is not a provider" if isinstance(name, str) else "needs 'provider'"
        self.wrong((*path, "provider"), f"{said}{hint}; `easel providers` lists them")
        return None

    def configs(self, virtual_keys: Mapping[str, VirtualKey]) -> dict[str, Config]:
        found: dict[str, Config] = {}
        for name, entry, path in self.entries("configs"):
            try:
                found[name] = self.config(entry, virtual_keys)
            except ConfigError as error:
                self.wrong((*path, *_steps(error.path)), error.message)
        return found

    def config(self, entry: dict[str, Any], virtual_keys: Mapping[str, VirtualKey]) -> Config:
        config = configs.parse(entry)
        slug = config.virtual_key or (config.provider or "").partition("@")[2]
        if slug and slug not in virtual_keys:
            key = "virtual_key" if config.virtual_key else "provider"
            hint = nearest(slug, frozenset(virtual_keys))
            raise ConfigError(key, f"{slug!r} is not in virtual_keys{hint}")
        if config.provider and not slug:
            if config.provider not in adapters.NAMES:
                hint = nearest(config.provider, adapters.NAMES)
                raise ConfigError("provider", f"{config.provider!r} is not a provider{hint}")
            chosen = adapters.adapter(config.provider)
            credentials_for(chosen, config.api_key or "", config.options)
        checked_host(config.custom_host or "")
        return config

    def trusted_hosts(self) -> frozenset[str]:
        raw = self.source.data.get("trusted_custom_hosts") or []
        if not isinstance(raw, list) or not all(isinstance(host, str) for host in raw):
            self.wrong(("trusted_custom_hosts",), "must be a list of host names")
            return frozenset()
        return frozenset(host.strip().lower() for host in raw)


def credentials_for(adapter: Adapter, api_key: str, raw: Mapping[str, str]) -> Credentials:
    """Hold options against what an adapter declares, aliases resolved; raises `ConfigError`."""
    names = {name: it for it in adapter.options for name in (it.name, *it.aliases)}
    options: dict[str, str] = {}
    for key, value in raw.items():
        option = names.get(key)
        if option is None:
            hint = nearest(key, VIRTUAL_KEY_KEYS | names.keys())
            raise ConfigError(key, f"is not an option of {adapter.id}{hint}")
        if not re.fullmatch(option.pattern, value):
            raise ConfigError(key, f"is not of the form {option.pattern}")
        options[option.name] = value
    if not re.fullmatch(r"[!-~]{0,8192}", api_key):
        raise ConfigError("api_key", "must be printable ASCII without spaces")
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


def _steps(path: str) -> Path:
    """Split `targets[0].cache` into its steps.

    >>> _steps("targets[0].cache")
    ('targets', 0, 'cache')
    """
    found = re.findall(r"([^.\[\]]+)|\[(\d+)\]", path)
    return tuple(name or int(number) for name, number in found)


def _csv(text: str) -> frozenset[str]:
    return frozenset(host.strip().lower() for host in text.split(",") if host.strip())


def _within(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise ValueError(f"`{name}` must be {low} to {high}")
