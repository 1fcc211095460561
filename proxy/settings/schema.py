"""The sections of a settings file with fixed keys: their types, defaults and checks."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from importlib.util import find_spec
from ipaddress import ip_network

import msgspec

from proxy.settings.checks import check_choice, check_range
from proxy.settings.redis_url import parse_redis_url
from proxy.settings.routing_config import UNSUPPORTED_POLICIES

_MB = 1024 * 1024
_MIN_SIGNING_KEY = 32
_MAX_PORT = 65_535
AUTO, MAX_WORKERS = "auto", 64
WORKERS_RULE = f"{AUTO}, or a number from 1 to {MAX_WORKERS}"
"""The rule for `server.workers`."""
_BASE_URL = re.compile(r"https?://[^\s/?#@]+(/[^\s?#]*)?")
_HOST = re.compile(r"[A-Za-z0-9_.-]{1,253}|[0-9A-Fa-f:.]{2,45}")
_MODE = re.compile(r"0?[0-7]{3}")
_MAX_SOCKET_PATH_BYTES = 107
"""The size of `sun_path`, less its null byte (unix(7))."""
_PREFIX = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_MAX_SERVICE_NAME = 255
_MAX_COUNTS = {
    "attempts": 1000,
    "body_ratio": 10_000,
    "prompt_characters": 4096 * _MB,
    "values": 10_000_000,
    "params": 1_000_000,
    "images": 1000,
    "jobs": 1_000_000,
    "caller_jobs": 1_000_000,
}
"""Maximum values of the limits that are not in bytes."""
_BUCKET = re.compile(r"(s3|gs|az)://[A-Za-z0-9._-]+(/[A-Za-z0-9._/-]*)?")


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A section of the settings file with fixed keys."""

    def cross_field_errors(self) -> Iterator[tuple[str, str]]:
        """Yield conflicts between values that are valid on their own: the key and a message."""
        yield from ()


HOST_NONE = "none"
"""The value of `server.host` to listen on the Unix socket only."""
PEER_UNIX = "unix"
"""The entry of `server.trusted_proxies` for peers on the Unix socket."""


_ORIGIN = re.compile(r"https?://[a-z0-9.-]{1,253}(:[0-9]{1,5})?|\*|null")
"""An origin as browsers write it: scheme and host in lower case, no path."""


class Server(Section, frozen=True):
    """Listen addresses, host names, workers and shutdown.

    `workers` is the number of processes, `auto` for one per core. `watch`: whether the settings
    file is reloaded when it changes. `trusted_proxies` are the peers whose `X-Forwarded-*` headers
    are used. `cors_origins` are the origins of web pages that may call the gateway from a browser.
    `drain_seconds` is a part of `shutdown_seconds`.
    """

    host: str = "127.0.0.1"
    port: int = 8787
    workers: int | str = 1
    socket: str = ""
    socket_mode: str = "660"
    tls_certificate: str = ""
    tls_key: str = ""
    tls_client_ca: str = ""
    public_url: str = ""
    allowed_hosts: tuple[str, ...] = ()
    trusted_proxies: tuple[str, ...] = ()
    cors_origins: tuple[str, ...] = ()
    drain_seconds: float = 0.0
    shutdown_seconds: float = 180.0
    watch: str | bool = "auto"

    def __post_init__(self) -> None:
        """Validate the values."""
        check_range("port", self.port, 0, _MAX_PORT)
        if not is_worker_count(self.workers):
            raise ValueError(f"`workers` must be {WORKERS_RULE}")
        if len(os.fsencode(self.socket)) > _MAX_SOCKET_PATH_BYTES or not self.socket.isprintable():
            raise ValueError(f"`socket` must be a path of at most {_MAX_SOCKET_PATH_BYTES} bytes")
        if not _MODE.fullmatch(self.socket_mode):
            raise ValueError('`socket_mode` must be three octal digits in quotes, such as "660"')
        if not all(map(_is_proxy, self.trusted_proxies)):
            raise ValueError(
                "`trusted_proxies` must be addresses, networks such as 10.0.0.0/8, or the word unix"
            )
        if not all(map(_ORIGIN.fullmatch, self.cors_origins)):
            raise ValueError(
                "`cors_origins` must be origins such as https://app.example.com, without a path, "
                'or "*" for every page'
            )
        check_range("drain_seconds", self.drain_seconds, 0, 3600)
        _check_base_url("public_url", self.public_url)
        if not all(map(_HOST.fullmatch, self.allowed_hosts)):
            raise ValueError("`allowed_hosts` must be names or addresses, without scheme or port")
        check_range("shutdown_seconds", self.shutdown_seconds, 0, 3600)
        # YAML parses on and off as true and false.
        if not isinstance(self.watch, bool):
            check_choice("watch", self.watch, ("auto", "on", "off"))
        if self.watch in (True, "on") and not has_watchfiles():
            raise ValueError("`watch` needs a package: pip install 'easel-gateway[reload]'")

    @property
    def watches_settings(self) -> bool:
        """Whether the settings file is watched for changes."""
        return self.watch not in (False, "off") and has_watchfiles()

    def cross_field_errors(self) -> Iterator[tuple[str, str]]:
        """Check values against each other, and that the TLS files can be loaded."""
        if self.host == HOST_NONE and not self.socket:
            yield "host", "may be none only if server.socket is set"
        if self.drain_seconds > self.shutdown_seconds:
            yield "drain_seconds", "must not exceed shutdown_seconds, of which it is a part"
        if self.tls_certificate or self.tls_key or self.tls_client_ca:
            from proxy.settings import tls  # noqa: PLC0415 - most gateways have no TLS

            yield from tls.tls_file_errors(self.tls_certificate, self.tls_key, self.tls_client_ca)


class Limits(Section, frozen=True):
    """Limits on what clients and providers can make the gateway store or do.

    `jobs` is the number of concurrent jobs, `caller_jobs` that of one caller, `images` the
    maximum `n` of a request. `body_ratio` is the maximum compression ratio of a request body.
    `header_bytes` is for all headers of a request, `idle_bytes` for the connections without a
    request in progress.
    `values` are the JSON keys and values of its body, metadata and inline config, `params` the
    parameters of its body.
    """

    body_bytes: int = 32 * _MB
    bodies_bytes: int = 256 * _MB
    body_ratio: int = 100
    header_bytes: int = 40 * 1024
    idle_bytes: int = 128 * _MB
    values: int = 10_000
    params: int = 1000
    prompt_characters: int = 32_000
    images: int = 10
    reply_bytes: int = 256 * _MB
    image_bytes: int = 64 * _MB
    attempts: int = 30
    jobs: int = 1000
    caller_jobs: int = 500

    def __post_init__(self) -> None:
        """Validate the values."""
        for name, most in _MAX_COUNTS.items():
            check_range(name, getattr(self, name), 1, most)
        for name in (name for name in self.__struct_fields__ if name.endswith("_bytes")):
            check_range(name, getattr(self, name), 1024, 4096 * _MB)


class Timeouts(Section, frozen=True):
    """Timeouts in seconds.

    For providers: to `connect`, between two reads of a reply (`idle`), and for a whole call
    (`total`). For clients: to send the `head` and the `body` of a request, without reading anything
    of a response (`unread`), and between two requests on a connection (`keepalive`).
    """

    connect: float = 10.0
    idle: float = 300.0
    total: float = 900.0
    head: float = 30.0
    body: float = 60.0
    unread: float = 60.0
    keepalive: float = 620.0

    def __post_init__(self) -> None:
        """Validate the values."""
        for name in self.__struct_fields__:
            check_range(name, getattr(self, name), 0.01, 86_400)


class Cache(Section, frozen=True):
    """Size limits of the response cache.

    `memory_bytes` is for the index, `disk_bytes` for the images in the blob store, `answer_bytes`
    for one response and for one image. `ready_bytes` is for whole serialized responses in memory.
    """

    memory_bytes: int = 32 * _MB
    ready_bytes: int = 64 * _MB
    disk_bytes: int = 2048 * _MB
    answer_bytes: int = 32 * _MB

    def __post_init__(self) -> None:
        """Validate the values."""
        check_range("memory_bytes", self.memory_bytes, 0, 1024 * 1024 * _MB)
        check_range("ready_bytes", self.ready_bytes, 0, 1024 * 1024 * _MB)
        check_range("disk_bytes", self.disk_bytes, 0, 1024 * 1024 * 1024 * _MB)
        check_range("answer_bytes", self.answer_bytes, 0, 4096 * _MB)


class Blobs(Section, frozen=True):
    """Storage of images that are delivered as URLs: place, lifetime, size, signing key.

    `store` is a directory, by default `blobs` in the state directory, or the URL of a bucket.
    """

    store: str = ""
    lifetime_seconds: int = 3600
    disk_bytes: int = 10 * 1024 * _MB
    persist_urls: bool = False
    signing_key: str = ""
    s3_endpoint: str = ""

    def __post_init__(self) -> None:
        """Validate the values."""
        if "://" in self.store and not _BUCKET.fullmatch(self.store):
            raise ValueError("`store` must be a directory, or s3://, gs:// or az://bucket/prefix")
        check_range("lifetime_seconds", self.lifetime_seconds, 60, 31_536_000)
        check_range("disk_bytes", self.disk_bytes, _MB, 1024 * 1024 * 1024 * _MB)
        if self.signing_key and len(self.signing_key) < _MIN_SIGNING_KEY:
            raise ValueError(f"`signing_key` must be at least {_MIN_SIGNING_KEY} characters long")
        _check_base_url("s3_endpoint", self.s3_endpoint)

    def __repr__(self) -> str:
        """Return a text without the signing key."""
        return f"Blobs(store={self.store!r})"


class Redis(Section, frozen=True):
    """The Redis or Valkey with the state that nodes share; its keys begin with `prefix`.

    `timeout_seconds` is the longest that a request waits for it. `limits` applies to shared limits
    while Redis is unavailable: each node counts on its own (`open`), or requests are refused
    (`closed`).
    """

    url: str = ""
    sentinel_password: str = ""
    timeout_seconds: float = 1.0
    prefix: str = "easel"
    limits: str = "open"

    def __post_init__(self) -> None:
        """Validate the values."""
        if self.url:
            parse_redis_url(self.url)
            if find_spec("redis") is None:
                raise ValueError("`url` needs a package: pip install 'easel-gateway[redis]'")
        check_range("timeout_seconds", self.timeout_seconds, 0.05, 10)
        if not _PREFIX.fullmatch(self.prefix):
            raise ValueError("`prefix` must be 1 to 64 letters, digits, '.', '_' and '-'")
        check_choice("limits", self.limits, ("open", "closed"))

    def __repr__(self) -> str:
        """Return a text without the passwords."""
        return f"Redis(prefix={self.prefix!r})"


class Images(Section, frozen=True):
    """How unsupported parameters and missing images are handled.

    `comment_seconds` is the longest silence between two events before a comment is sent.
    """

    unsupported: str = "adapt"
    incomplete: str = "deliver"
    comment_seconds: float = 15.0

    def __post_init__(self) -> None:
        """Validate the values."""
        check_choice("unsupported", self.unsupported, UNSUPPORTED_POLICIES)
        check_choice("incomplete", self.incomplete, ("deliver", "fail"))
        check_range("comment_seconds", self.comment_seconds, 0.01, 3600)


class Jobs(Section, frozen=True):
    """Jobs whose client has disconnected, and the memory and disk for job results.

    `wait_seconds` is how long a client waits before it gets a 202 and has to ask again; 0: no
    limit.
    """

    on_disconnect: str = "finish"
    result_ttl_seconds: float = 300.0
    wait_seconds: float = 0.0
    memory_bytes: int = 256 * _MB
    disk_bytes: int = 4096 * _MB

    def __post_init__(self) -> None:
        """Validate the values."""
        check_choice("on_disconnect", self.on_disconnect, ("finish", "cancel"))
        check_range("result_ttl_seconds", self.result_ttl_seconds, 0, 86_400)
        check_range("wait_seconds", self.wait_seconds, 0, 86_400)
        check_range("memory_bytes", self.memory_bytes, _MB, 1024 * 1024 * _MB)
        check_range("disk_bytes", self.disk_bytes, 0, 1024 * 1024 * _MB)


class Log(Section, frozen=True):
    """The access log: its format, and its `file` (standard output without one).

    `prompts`: whether lines contain the beginning of the prompt. `level` is that of the process
    log, on standard error: the lowest level that is written.
    """

    format: str = "auto"
    file: str = ""
    prompts: bool = False
    level: str = "info"

    def __post_init__(self) -> None:
        """Validate the values."""
        check_choice("format", self.format, ("auto", "json", "text", "none"))
        check_choice("level", self.level, ("debug", "info", "warning", "error"))

    def resolve_auto(self, auto_format: str) -> Log:
        """Return it with `auto` resolved: JSON in a file, else `auto_format`."""
        if self.format != "auto":
            return self
        return msgspec.structs.replace(self, format="json" if self.file else auto_format)


class Metrics(Section, frozen=True):
    """Who may read GET /metrics."""

    access: str = "loopback"

    def __post_init__(self) -> None:
        """Validate the values."""
        check_choice("access", self.access, ("loopback", "key", "open"))


class Tracing(Section, frozen=True):
    """Export of spans by OTLP, and the trace headers that are sent to providers.

    `endpoint` turns tracing on. So does `enabled`, with the endpoint from the environment.
    """

    enabled: bool = False
    endpoint: str = ""
    sample: float = 1.0
    propagate: str = "trace"
    service_name: str = ""

    def __post_init__(self) -> None:
        """Validate the values."""
        _check_base_url("endpoint", self.endpoint)
        check_range("sample", self.sample, 0, 1)
        check_choice("propagate", self.propagate, ("none", "trace", "all"))
        if len(self.service_name) > _MAX_SERVICE_NAME or not self.service_name.isprintable():
            raise ValueError(
                f"`service_name` must be printable and at most {_MAX_SERVICE_NAME} characters long"
            )
        if self.is_on and not _installed("opentelemetry.exporter.otlp.proto.http"):
            name = "endpoint" if self.endpoint else "enabled"
            raise ValueError(f"`{name}` needs a package: pip install 'easel-gateway[otel]'")

    @property
    def is_on(self) -> bool:
        """Whether tracing is on."""
        return self.enabled or bool(self.endpoint)


def is_worker_count(value: int | str) -> bool:
    """Return whether a value is a valid number of workers; it may be a string."""
    return value == AUTO or str(value) in map(str, range(1, MAX_WORKERS + 1))


SECTIONS: dict[str, type[Section]] = {
    "server": Server,
    "limits": Limits,
    "timeouts": Timeouts,
    "cache": Cache,
    "blobs": Blobs,
    "redis": Redis,
    "images": Images,
    "jobs": Jobs,
    "log": Log,
    "metrics": Metrics,
    "tracing": Tracing,
}
"""The sections with fixed keys."""

RENAMED = {
    "limits.pictures": "limits.images",
    "limits.picture_bytes": "limits.image_bytes",
    "jobs.park_seconds": "jobs.result_ttl_seconds",
}
"""Former names of settings, which are an error, and the present names."""


def _installed(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:  # A parent package is missing.
        return False


def has_watchfiles() -> bool:
    """Return whether the package that watches files is installed."""
    return find_spec("watchfiles") is not None


def _is_proxy(text: str) -> bool:
    try:
        ip_network(text)
    except ValueError:
        return text == PEER_UNIX
    return "%" not in text


def _check_base_url(name: str, value: str) -> None:
    if value and not _BASE_URL.fullmatch(value):
        raise ValueError(f"`{name}` must be a URL such as https://host/path")
