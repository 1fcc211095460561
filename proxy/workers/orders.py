"""What a worker is told to serve: the last good text of the settings, and what stands over it.

A worker reads no file: one that begins later than the others serves what they serve, whatever the
file has become.
"""

from __future__ import annotations

from dataclasses import replace

import msgspec

from proxy.reloading.restarting import at_once
from proxy.sections import Log
from proxy.settings import Settings, SettingsError, parse
from proxy.yaml_source import Problem

BEGIN, LISTENING, FAILED, ALL = "begin", "listening", "failed", "all"
SETTINGS, REFUSED = "settings", "refused"
"""What workers call: for their orders, when they listen, why they cannot. `settings` and
`refused` are what the supervisor calls, with new orders, and with what is wrong with a file; both
are answered by a line for the operator. `all` is for asking all workers: `[name, payload]`,
answered by a list."""

_LOCKED = "must not become empty while the gateway runs: nobody could call it"


class Orders(msgspec.Struct, frozen=True, kw_only=True):
    """The text of a settings file, the file's name, and where to listen.

    `first` is the text with which the gateway began: what waits for a restart is what it says, also
    for a worker that begins later.
    `unix` is the number of the unix socket that listens, which a worker inherits. `cache` is the
    folder of the pictures that workers keep together, below `cache` in the store.
    `log` is what `log.format: auto` means here. `local_key` is the digest of the generated gateway
    key, for settings that have none.
    """

    text: str
    file: str
    first: str = ""
    host: str
    port: int
    socket: str = ""
    unix: int | None = None
    cache: str = ""
    log: str = "json"
    local_key: bytes = b""

    def settings(self) -> Settings:
        """Give what is to be served; raises `SettingsError`."""
        found = first = parse(self.first or self.text, file=self.file)
        if self.first and self.first != self.text:
            found = at_once(first, parse(self.text, file=self.file))
        place = {"host": self.host, "port": self.port, "socket": self.socket}
        server = msgspec.structs.replace(found.server, **place)
        keys = found.api_keys or ({self.local_key: "local"} if self.local_key else {})
        log = Log(format=self.log) if found.log.format == "auto" else found.log
        return replace(found, server=server, api_keys=keys, log=log, as_read=first)

    @property
    def inherited(self) -> tuple[int, ...]:
        """The sockets that a worker inherits."""
        return () if self.unix is None else (self.unix,)

    def anew(self, text: str) -> tuple[Orders, Settings]:
        """Give orders of a text that was read again, and what they come to.

        Raises `SettingsError`.
        """
        if not text.strip():
            raise SettingsError([Problem(self.file, 0, "", "is empty")])
        made = msgspec.structs.replace(self, text=text, first=self.first or self.text)
        settings = made.settings()
        if not settings.api_keys:
            raise SettingsError([Problem(self.file, 0, "api_keys", _LOCKED)])
        return made, settings

    def __repr__(self) -> str:
        """Leave the text out: it may hold keys."""
        return f"Orders(file={self.file!r})"


def written(orders: Orders) -> bytes:
    """Write orders, for a line."""
    return msgspec.msgpack.encode(orders)


def read(data: bytes) -> Orders:
    """Read what `written` wrote."""
    return msgspec.msgpack.decode(data, type=Orders)
