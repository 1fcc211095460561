"""What a worker is told to serve: the last good text of the settings, and what stands over it.

A worker reads no file: one that begins later than the others serves what they serve, whatever the
file has become.
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
SETTINGS, REJECTED = "settings", "refused"
"""Calls of the supervisor: apply an updated config, report that the settings file is invalid."""

_NO_KEYS = "must not become empty while the gateway runs: nobody could call it"


class BootstrapConfig(msgspec.Struct, frozen=True, kw_only=True):
    """The text of a settings file, the file's name, and where to listen.

    `first` is the text with which the gateway began: what waits for a restart is what it says, also
    for a worker that begins later. `unix` is the number of the unix socket that listens, which a
    worker inherits. `cache` is the folder of the pictures that workers keep together, below `cache`
    in the store.
    `log` is what `log.format: auto` means here. `local_key` is the digest of the generated gateway
    key, for settings that have none. `files` are those that the settings name.
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
    local_key_digest: bytes = b""
    files: tuple[str, ...] = ()

    def settings(self) -> Settings:
        """Give what is to be served; raises `SettingsError`."""
        current = initial = parse(self.initial_text or self.text, file=self.file)
        if self.initial_text and self.initial_text != self.text:
            current = apply_hot(initial, parse(self.text, file=self.file))
        place = {"host": self.host, "port": self.port, "socket": self.socket}
        server = msgspec.structs.replace(current.server, **place)
        keys = current.api_keys or (
            {self.local_key_digest: "local"} if self.local_key_digest else {}
        )
        log = current.log.resolve_auto(self.log_format)
        return replace(current, server=server, api_keys=keys, log=log, as_read=initial)

    @property
    def inherited_fds(self) -> tuple[int, ...]:
        """The sockets that a worker inherits."""
        return () if self.unix_fd is None else (self.unix_fd,)

    def with_text(self, text: str) -> BootstrapConfig:
        """Give orders of a text that was read again; raises `SettingsError`."""
        updated = msgspec.structs.replace(self, text=text, first=self.initial_text or self.text)
        settings = updated.settings()
        if not settings.api_keys:
            raise SettingsError([Problem(self.file, 0, "api_keys", _NO_KEYS)])
        return msgspec.structs.replace(updated, files=settings.referenced_files)

    def __repr__(self) -> str:
        """Leave the text out: it may hold keys."""
        return f"Orders(file={self.file!r})"


class ConfigRejected(msgspec.Struct, frozen=True):
    """Why a settings file cannot be taken. `aloud`: whoever hears it tells the operator."""

    problems: list[Problem]
    should_log: bool = False


class ConfigUpdate(msgspec.Struct, frozen=True):
    """Other orders for a worker that runs. `aloud` as of a refusal."""

    config: BootstrapConfig
    should_log: bool = False


def encode(message: BootstrapConfig | ConfigUpdate | ConfigRejected) -> bytes:
    """Write something for a line."""
    return msgspec.msgpack.encode(message)


T = TypeVar("T", BootstrapConfig, ConfigUpdate, ConfigRejected)


def decode(data: bytes, kind: type[T]) -> T:
    """Read what `written` wrote."""
    return msgspec.msgpack.decode(data, type=kind)
