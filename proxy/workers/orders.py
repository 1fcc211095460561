"""What a worker is told to serve: the last good text of the settings, and what stands over it.

A worker reads no file: one that begins later than the others serves what they serve, whatever the
file has become.
"""

from __future__ import annotations

from dataclasses import replace

import msgspec

from proxy.settings import Settings, SettingsError, parse
from proxy.yaml_source import Problem

BEGIN, LISTENING, FAILED, SETTINGS, ALL = "begin", "listening", "failed", "settings", "all"
"""What workers call: for their orders, when they listen, why they cannot. `settings` is what the
supervisor calls, with new orders. `all` is for asking all workers: `[name, payload]`, answered by
a list."""

_LOCKED = "must not become empty while the gateway runs: nobody could call it"


class Orders(msgspec.Struct, frozen=True, kw_only=True):
    """The text of a settings file, the file's name, and where to listen.

    `unix` is the number of the unix socket that listens, which a worker inherits.
    `log` is what `log.format: auto` means here. `local_key` is the digest of the generated gateway
    key, for settings that have none.
    """

    text: str
    file: str
    host: str
    port: int
    socket: str = ""
    unix: int | None = None
    log: str = "json"
    local_key: bytes = b""

    def settings(self) -> Settings:
        """Give what is to be served; raises `SettingsError`."""
        found = parse(self.text, file=self.file)
        place = {"host": self.host, "port": self.port, "socket": self.socket}
        server = msgspec.structs.replace(found.server, **place)
        keys = found.api_keys or ({self.local_key: "local"} if self.local_key else {})
        log = found.log.in_style(self.log)
        return replace(found, server=server, api_keys=keys, log=log)

    @property
    def inherited(self) -> tuple[int, ...]:
        """The sockets that a worker inherits."""
        return () if self.unix is None else (self.unix,)

    def anew(self, text: str) -> Orders:
        """Give orders of a text that was read again; raises `SettingsError`."""
        made = msgspec.structs.replace(self, text=text)
        if not made.settings().api_keys:
            raise SettingsError([Problem(self.file, 0, "api_keys", _LOCKED)])
        return made

    def __repr__(self) -> str:
        """Leave the text out: it may hold keys."""
        return f"Orders(file={self.file!r})"


def written(orders: Orders) -> bytes:
    """Write orders, for a line."""
    return msgspec.msgpack.encode(orders)


def read(data: bytes) -> Orders:
    """Read what `written` wrote."""
    return msgspec.msgpack.decode(data, type=Orders)
