"""Settings: parses and validates the operator's YAML and environment before anything starts.

Every error names file, line and key. No provider is known here: the options of a virtual key are
validated against what its adapter declares.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path as FilePath
from typing import Any

import msgspec
import yaml

import adapters
from adapters.contract import IN_PROCESS, Adapter, Credentials
from proxy.settings.credentials import (
    NOT_HEADER_SAFE,
    adapter_by_name,
    check_config,
    credentials_for,
    is_header_safe,
    validate_host,
)
from proxy.settings.paths import Path, format_path, parse_path
from proxy.settings.prices import Prices, bundled_prices, load_prices
from proxy.settings.routing_config import (
    Config,
    ErrorCollector,
    describe_validation_error,
    parse_config,
)
from proxy.settings.schema import (
    RENAMED,
    SECTIONS,
    Blobs,
    Cache,
    Images,
    Jobs,
    Limits,
    Log,
    Metrics,
    Redis,
    Section,
    Server,
    Timeouts,
    Tracing,
)
from proxy.settings.suggest import did_you_mean
from proxy.settings.yaml_file import Problem, YamlFile

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
NAME_RULE = "at most 128 letters, digits, '.', '_' and '-', a letter or digit first"
"""The rule of `is_name` for the names of API keys, virtual keys and configs."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")
_HOST = re.compile(r"(\*\.)?[a-z0-9_-]+(\.[a-z0-9_-]+)*")
_WITH_PORT = re.compile(r"(\[[0-9a-f:.]+\]|[^\[\]:]+):([0-9]{1,5})")
_MIN_KEY_LENGTH = 16
_VERSION_DIGITS = 12
_TRUSTED = "TRUSTED_CUSTOM_HOSTS"

_BAD_PRICES = "must be the path of a readable YAML file of prices"
_NO_PRICES = "the price table inside the package is missing or damaged: reinstall Easel"
_NOT_A_HOST = (
    "must be a host name, an address or *.domain, perhaps with a port, without scheme or path"
)


class SettingsError(Exception):
    """The settings are invalid; `problems` are all errors in them."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = problems


@dataclass(frozen=True, slots=True, repr=False)
class VirtualKey:
    """A stored provider credential. `custom_host` is an origin that the operator set.

    `models` are listed in `GET /v1/models` in place of the adapter's.
    """

    slug: str
    adapter: Adapter
    credentials: Credentials
    custom_host: str = ""
    models: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class DefaultConfig:
    """The saved config for requests with an API key that do not name a config.

    With `allow_override` false a request must not name one.
    """

    config: str
    allow_override: bool = True


@dataclass(frozen=True, slots=True, repr=False)
class Settings:
    """All settings.

    `api_keys` maps the SHA-256 digest of a key to its name, `default_configs` that name to its
    config, and `coalescing_keys` are the names of those whose identical requests share a job.
    `sandbox` is whether the built-in provider may be used: by that setting, or because
    a virtual key or a config names it. `price_table` is read from the file `prices`, or is the
    table inside the package. `file` is the path of the settings file, "" without one, and
    `version` a digest of its
    text before references are expanded. `file_settings` are the settings of the file alone, if the
    command line or a generated key changed them. `config_hashes` holds a hash of each config's
    text, because compiled conditions do not compare equal.
    """

    server: Server = field(default_factory=Server)
    limits: Limits = field(default_factory=Limits)
    timeouts: Timeouts = field(default_factory=Timeouts)
    cache: Cache = field(default_factory=Cache)
    blobs: Blobs = field(default_factory=Blobs)
    redis: Redis = field(default_factory=Redis)
    images: Images = field(default_factory=Images)
    jobs: Jobs = field(default_factory=Jobs)
    log: Log = field(default_factory=Log)
    tracing: Tracing = field(default_factory=Tracing)
    metrics: Metrics = field(default_factory=Metrics)
    api_keys: Mapping[bytes, str] = field(default_factory=dict)
    default_configs: Mapping[str, DefaultConfig] = field(default_factory=dict)
    coalescing_keys: frozenset[str] = frozenset()
    virtual_keys: Mapping[str, VirtualKey] = field(default_factory=dict)
    sandbox: bool = False
    configs: Mapping[str, Config] = field(default_factory=dict)
    trusted_custom_hosts: frozenset[str] = frozenset()
    state_dir: str = ".easel"
    prices: str = ""
    price_table: Prices = field(default_factory=bundled_prices)
    file: str = ""
    version: str = ""
    file_settings: Settings | None = None
    config_hashes: Mapping[str, int] = field(default_factory=dict)

    @property
    def referenced_files(self) -> tuple[str, ...]:
        """The paths of other files that are read with the settings."""
        return (self.prices,) if self.prices else ()


def default_settings(environ: Mapping[str, str] | None = None) -> Settings:
    """Return the settings without a file: this machine only, with the sandbox provider."""
    return parse(default_settings_text(), environ=environ)


def default_settings_text() -> str:
    """Return the YAML of the default settings."""
    demo = adapters.get_adapter(adapters.DEMO).id
    return f"virtual_keys: {{{demo}: {{provider: {demo}}}}}"


TOP_LEVEL_KEYS = frozenset(SECTIONS) | {
    "api_keys",
    "virtual_keys",
    adapters.DEMO,
    "configs",
    "trusted_custom_hosts",
    "state_dir",
    "prices",
}
"""The keys at the top level of a settings file."""
API_KEY_KEYS = frozenset({"key", "config", "allow_config_override", "coalesce"})
"""The keys of an API key."""
VIRTUAL_KEY_KEYS = frozenset({"provider", "api_key", "custom_host", "models"})
"""The keys of a virtual key, other than its provider's own options."""


def key_digest(key: str) -> bytes:
    """Return the digest that identifies a gateway key, which may be any bytes in a header."""
    return hashlib.sha256(key.encode(errors="surrogateescape")).digest()


def load(file: str, environ: Mapping[str, str] | None = None) -> Settings:
    """Read and parse a settings file; raises `SettingsError` with all errors."""
    return parse(read_settings_text(file), file=file, environ=environ)


def read_settings_text(file: str) -> str:
    """Return the text of a settings file; raises `SettingsError` if it cannot be read."""
    try:
        return FilePath(file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "is not UTF-8 text"
        raise SettingsError([Problem(file, 0, "", reason)]) from None


def settings_version(text: str) -> str:
    """Return a short digest of the text of a settings file."""
    return hashlib.sha256(text.encode()).hexdigest()[:_VERSION_DIGITS]


def parse(
    text: str, *, file: str = "settings", environ: Mapping[str, str] | None = None
) -> Settings:
    """Parse the text of a settings file; raises `SettingsError` with all errors."""
    environ = os.environ if environ is None else environ
    yaml_file = YamlFile(text, file, environ)
    if not isinstance(yaml_file.data, dict):
        yaml_file.data = {}
        yaml_file.add_problem((), "must be a mapping of keys to values")
    parser = _SettingsParser(yaml_file)
    parser.check_known((), yaml_file.data, TOP_LEVEL_KEYS)
    settings = Settings(
        **parser.sections(),
        api_keys=parser.api_keys(),
        default_configs=parser.default_configs(),
        coalescing_keys=parser.coalescing(),
        virtual_keys=(virtual_keys := parser.virtual_keys()),
        configs=(configs := parser.configs(virtual_keys)),
        sandbox=parser.sandbox(virtual_keys, configs),
        trusted_custom_hosts=parser.trusted_hosts(environ.get(_TRUSTED, "")),
        state_dir=parser.text("state_dir", ".easel"),
        prices=(found := parser.prices())[0],
        price_table=found[1],
        file=file,
        version=settings_version(text),
        config_hashes=parser.hashes("configs"),
    )
    if yaml_file.problems:
        raise SettingsError(sorted(yaml_file.problems, key=lambda problem: problem.line))
    return settings


class _SettingsParser:
    """Parses section by section and collects problems instead of stopping at the first."""

    def __init__(self, yaml_file: YamlFile) -> None:
        self.file = yaml_file
        self.add_problem = yaml_file.add_problem

    def check_known(self, path: Path, keys: Iterable[str], known: frozenset[str]) -> None:
        """Report the keys that are not in `known`."""
        for key in keys:
            if key in known:
                continue
            new_name = RENAMED.get(format_path((*path, key)))
            hint = f"; it was renamed to {new_name}" if new_name else did_you_mean(key, known)
            self.add_problem((*path, key), f"is not a setting{hint}")

    def get(self, name: str, default: Any) -> Any:
        """Return the value of a top-level key; the default if it is missing or null."""
        found = self.file.data.get(name)
        return default if found is None else found

    def sections(self) -> dict[str, Any]:
        return {name: self.section(name, kind) for name, kind in SECTIONS.items()}

    def section(self, name: str, kind: type[Section]) -> Section:
        """Parse a section; each invalid value is reported and left at its default."""
        raw = self.get(name, {})
        if not isinstance(raw, dict):
            self.add_problem((name,), "must be a mapping of keys to values")
            return kind()
        known = frozenset(kind.__struct_fields__)
        self.check_known((name,), raw, known)
        good: dict[str, Any] = {}
        for key in filter(known.__contains__, raw):
            try:
                msgspec.convert({key: raw[key]}, kind, strict=False)
            except msgspec.ValidationError as error:
                self.add_problem((name, key), describe_validation_error(error)[1])
            else:
                good[key] = raw[key]
        section = msgspec.convert(good, kind, strict=False)
        for key, message in section.cross_field_errors():
            self.add_problem((name, key), message)
        return section

    def text(self, name: str, default: str) -> str:
        value = self.get(name, default)
        if isinstance(value, str) and value:
            return value
        self.add_problem((name,), "must be a string that is not empty")
        return default

    def sandbox(
        self, virtual_keys: Mapping[str, VirtualKey], configs: Mapping[str, Config]
    ) -> bool:
        """Return whether the settings name the built-in provider, anywhere."""
        value = self.get(adapters.DEMO, default=False)
        if not isinstance(value, bool):
            self.add_problem((adapters.DEMO,), "must be true or false")
        named = {leaf.provider for config in configs.values() for leaf in config.leaves}
        named |= {it.adapter.id for it in virtual_keys.values()}
        return value is True or any(
            adapters.get_adapter(name).base_url == IN_PROCESS
            for name in named
            if name in adapters.NAMES
        )

    def prices(self) -> tuple[str, Prices]:
        """Return the path of the price table, "" if none is set, and the table.

        It is read here so that a broken table stops the start, not a request that has been paid.
        """
        is_named = self.get("prices", None) is not None
        file = self.text("prices", "") if is_named else ""
        try:
            return file, load_prices(file) if is_named else bundled_prices()
        except (OSError, ValueError, yaml.YAMLError):
            self.add_problem(("prices",), _BAD_PRICES if is_named else _NO_PRICES)
        return file, {}

    def entries(self, name: str) -> Iterator[tuple[str, dict[str, Any], Path]]:
        """Yield the entries of a section of named mappings: name, mapping, path."""
        raw = self.get(name, {})
        if not isinstance(raw, dict):
            self.add_problem((name,), "must be a mapping of names to mappings")
            return
        for key, entry in raw.items():
            path = (name, key)
            if not is_name(key):
                self.add_problem(path, f"a name has {NAME_RULE}")
            elif not isinstance(entry, dict):
                self.add_problem(path, "must be a mapping of keys to values")
            else:
                yield key, entry, path

    def hashes(self, name: str) -> dict[str, int]:
        """Return a hash of each entry of a section; equal texts have equal hashes in a process."""
        raw = self.get(name, {})
        entries = raw.items() if isinstance(raw, dict) else ()
        return {key: hash(repr(entry)) for key, entry in entries}

    def api_keys(self) -> dict[bytes, str]:
        keys: dict[bytes, str] = {}
        for name, entry, path in self.entries("api_keys"):
            self.check_known(path, entry, API_KEY_KEYS)
            found = self.api_key_digest(entry.get("key"), path)
            if found in keys:
                self.add_problem(path, f"has the same key as {keys[found]}")
            elif found:
                keys[found] = name
        return keys

    def default_configs(self) -> dict[str, DefaultConfig]:
        """Parse the default config of each API key."""
        saved = self.get("configs", {})
        names = frozenset(saved if isinstance(saved, dict) else ())
        found: dict[str, DefaultConfig] = {}
        raw = self.get("api_keys", {})
        entries = raw.items() if isinstance(raw, dict) else ()
        for name, entry in ((name, it) for name, it in entries if isinstance(it, dict)):
            path: Path = ("api_keys", name)
            config, override = entry.get("config"), entry.get("allow_config_override", True)
            if not isinstance(override, bool):
                self.add_problem((*path, "allow_config_override"), "must be true or false")
            elif config is None and not override:
                self.add_problem((*path, "allow_config_override"), "needs 'config'")
            elif config is None:
                continue
            elif not isinstance(config, str) or config not in names:
                hint = did_you_mean(config, names) if isinstance(config, str) else ""
                self.add_problem((*path, "config"), f"is not a key of configs{hint}")
            else:
                found[name] = DefaultConfig(config, override)
        return found

    def api_key_digest(self, key: Any, path: Path) -> bytes:
        """Return the digest of an API key, empty after reporting a problem."""
        if key is None:
            self.add_problem(path, "needs 'key': `easel keys new` makes one")
        elif not isinstance(key, str):
            self.add_problem((*path, "key"), "must be a string (put it in quotes)")
        elif _DIGEST.fullmatch(key):
            return bytes.fromhex(key.removeprefix("sha256:"))
        elif key.lower().startswith("sha256:"):
            self.add_problem((*path, "key"), "sha256: must be followed by 64 lower-case hex digits")
        elif len(key) < _MIN_KEY_LENGTH:
            self.add_problem((*path, "key"), f"must be at least {_MIN_KEY_LENGTH} characters long")
        elif not is_header_safe(key):
            self.add_problem((*path, "key"), NOT_HEADER_SAFE)
        else:
            return key_digest(key)
        return b""

    def virtual_keys(self) -> dict[str, VirtualKey]:
        return {
            slug: found
            for slug, entry, path in self.entries("virtual_keys")
            if (found := self.virtual_key(slug, entry, path))
        }

    def virtual_key(self, slug: str, entry: dict[str, Any], path: Path) -> VirtualKey | None:
        texts = {key: value for key, value in entry.items() if isinstance(value, str)}
        for key in entry:
            if key not in texts and key != "models":
                self.add_problem((*path, key), "must be a string (put it in quotes)")
        adapter = self.provider(entry.get("provider"), path)
        if adapter is None:
            return None
        raw = {key: value for key, value in texts.items() if key not in VIRTUAL_KEY_KEYS}
        host, credentials = texts.get("custom_host", ""), Credentials()
        errors = ErrorCollector()
        with errors.collect():
            validate_host(host)
        with errors.collect():
            credentials = credentials_for(
                adapter, texts.get("api_key", ""), raw, VIRTUAL_KEY_KEYS, by_operator=True
            )
        self.add_errors(errors, path)
        if not host and (lack := adapter.missing_credentials(credentials)):
            self.add_problem(path, f"lacks {lack}")
        return VirtualKey(slug, adapter, credentials, host, self.models(entry, path))

    def models(self, entry: dict[str, Any], path: Path) -> tuple[str, ...]:
        """Parse the list of models that a virtual key serves."""
        names = entry.get("models", [])
        if isinstance(names, list) and all(isinstance(it, str) and it for it in names):
            return tuple(names)
        self.add_problem((*path, "models"), "must be a list of model names")
        return ()

    def coalescing(self) -> frozenset[str]:
        """Return the names of the API keys whose identical concurrent requests share one job."""
        found = set[str]()
        raw = self.get("api_keys", {})
        entries = raw.items() if isinstance(raw, dict) else ()
        for name, entry in ((name, it) for name, it in entries if isinstance(it, dict)):
            value = entry.get("coalesce", False)
            if not isinstance(value, bool):
                self.add_problem(("api_keys", name, "coalesce"), "must be true or false")
            elif value:
                found.add(name)
        return frozenset(found)

    def provider(self, name: Any, path: Path) -> Adapter | None:
        if name is None:
            self.add_problem(path, "needs 'provider'; `easel providers` lists them")
        adapter, errors = None, ErrorCollector()
        with errors.collect():
            adapter = adapter_by_name(name) if isinstance(name, str) else None
        self.add_errors(errors, path)
        return adapter

    def configs(self, virtual_keys: Mapping[str, VirtualKey]) -> dict[str, Config]:
        found: dict[str, Config] = {}
        stored = {slug: virtual_key.adapter for slug, virtual_key in virtual_keys.items()}
        names = self.get("virtual_keys", {})
        slugs = frozenset(names if isinstance(names, dict) else ())
        for name, entry, path in self.entries("configs"):
            errors = ErrorCollector()
            with errors.collect():
                found[name] = parse_config(entry)
                check_config(found[name], stored, slugs)
            self.add_errors(errors, path)
        return found

    def add_errors(self, errors: ErrorCollector, path: Path) -> None:
        """Report collected errors, each at its own path."""
        for error in errors.errors:
            self.add_problem((*path, *parse_path(error.path)), error.message)

    def trusted_hosts(self, from_environment: str) -> frozenset[str]:
        """Parse the list in the file and the one in the environment; both apply."""
        raw = self.get("trusted_custom_hosts", [])
        if not isinstance(raw, list):
            self.add_problem(("trusted_custom_hosts",), "must be a list of host names")
            raw = []
        more = [text for text in from_environment.split(",") if text.strip()]
        for i, text in enumerate(raw):
            if not _normalize_host(text):
                self.add_problem(("trusted_custom_hosts", i), _NOT_A_HOST)
        if not all(map(_normalize_host, more)):
            self.file.problems.append(Problem("environment", 0, _TRUSTED, _NOT_A_HOST))
        return frozenset(map(_normalize_host, [*raw, *more]))


def is_name(text: str) -> bool:
    """Return whether a text is a valid name for an API key, a virtual key or a config."""
    return _NAME.fullmatch(text) is not None


def _normalize_host(text: object) -> str:
    """Return a trusted host in the form that is compared, or "" if it is not a valid host."""
    host = text.strip().lower() if isinstance(text, str) else ""
    with suppress(ValueError):
        return ip_address(host).compressed
    if found := _WITH_PORT.fullmatch(host):
        name = _normalize_host(found[1].strip("[]"))
        return f"{f'[{name}]' if ':' in name else name}:{int(found[2])}" if name else ""
    return host if _HOST.fullmatch(host) else ""
