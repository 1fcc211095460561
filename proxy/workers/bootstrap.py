"""The bootstrap config: what the supervisor sends to a worker when it starts.

It holds the last valid text of the settings file, and options that override it. A worker does not
read the file itself, so a worker that starts later serves with the same settings as the others,
even if the file has changed.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TypeVar

import msgspec

from proxy.reload.restart_only import apply_hot
from proxy.settings.loader import Settings, SettingsError, parse
from proxy.settings.yaml_file import Problem

BEGIN, LISTENING, FAILED = "begin", "listening", "failed"
"""Calls of a worker: fetch the bootstrap config, report that it listens, report why it cannot."""
SETTINGS, REJECTED = "settings", "rejected"
"""Calls of the supervisor: apply an updated config, report that the settings file is invalid."""

_NO_KEYS = (
    "is empty: a running gateway that was started with API keys does not generate one. Keep at "
    "least one key, or restart the gateway"
)


class BootstrapConfig(msgspec.Struct, frozen=True, kw_only=True):
    """The text and the name of the settings file, and where to listen.

    `initial_text` is the text with which the gateway started. Settings that need a restart keep the
    values they have there, also in workers that start later. `unix_fd` is the file descriptor of
    the listening Unix socket, which a worker inherits. `cache_folder` is the folder of the workers'
    cached images, below `cache` in the blob store. `log_format` is what `log.format: auto` means
    here. `local_key_digest` is the digest of the generated gateway key, for settings without keys.
    `files` are the files that the settings refer to.
    """

    text: str
    file: str
    initial_text: str = ""
    host: str
    port: int
    socket: str = ""
    unix_fd: int | None = None
    cache_folder: str = ""
    log_format: str = "json"
    log_level: str = "info"
    local_key_digest: bytes = b""
    files: tuple[str, ...] = ()

    def settings(self) -> Settings:
        """Return the settings to serve with; raises `SettingsError`."""
        current = initial = parse(self.initial_text or self.text, file=self.file)
        if self.initial_text and self.initial_text != self.text:
            current = apply_hot(initial, parse(self.text, file=self.file))
        address = {"host": self.host, "port": self.port, "socket": self.socket}
        server = msgspec.structs.replace(current.server, **address)
        keys = current.api_keys or (
            {self.local_key_digest: "local"} if self.local_key_digest else {}
        )
        log = current.log.resolve_auto(self.log_format)
        return replace(current, server=server, api_keys=keys, log=log, file_settings=initial)

    @property
    def inherited_fds(self) -> tuple[int, ...]:
        """The file descriptors that a worker inherits."""
        return () if self.unix_fd is None else (self.unix_fd,)

    def with_text(self, text: str) -> BootstrapConfig:
        """Return the config for a new text of the settings file; raises `SettingsError`."""
        updated = msgspec.structs.replace(
            self, text=text, initial_text=self.initial_text or self.text
        )
        settings = updated.settings()
        if not settings.api_keys:
            raise SettingsError([Problem(self.file, 0, "api_keys", _NO_KEYS)])
        return msgspec.structs.replace(
            updated, files=settings.referenced_files, log_level=settings.log.level
        )

    def __repr__(self) -> str:
        """Leave the text out: it may hold keys."""
        return f"BootstrapConfig(file={self.file!r})"


class ConfigRejected(msgspec.Struct, frozen=True):
    """The problems of an invalid settings file. With `should_log`, the worker logs them."""

    problems: list[Problem]
    should_log: bool = False


class ConfigUpdate(msgspec.Struct, frozen=True):
    """A new config for a running worker. With `should_log`, the worker logs the reload."""

    config: BootstrapConfig
    should_log: bool = False


def encode(message: BootstrapConfig | ConfigUpdate | ConfigRejected) -> bytes:
    """Return a message as bytes, for an RPC call."""
    return msgspec.msgpack.encode(message)


T = TypeVar("T", BootstrapConfig, ConfigUpdate, ConfigRejected)


def decode(data: bytes, kind: type[T]) -> T:
    """Return the message that `encode` encoded."""
    return msgspec.msgpack.decode(data, type=kind)
