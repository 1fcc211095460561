"""What all workers know together: the supervisor has it in memory, workers ask over their lines.

It outlives the supervisor in a file of the state folder, for its owner's eyes only.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from proxy.settings.state_dir import ensure_private_dir
from proxy.state.memory import MemoryStore
from proxy.state.ops import Op, StoreClosed, StoreUnavailable
from proxy.workers.rpc import RpcConnection, RpcError

_LOG = logging.getLogger("easel")

EXECUTE = "ask"
"""What workers call."""
_FILE = "hub"
_TIMEOUT_SECONDS = 2.0
"""The most that a request waits for the supervisor."""

_OPS = msgspec.msgpack.Decoder(list[Op])


class StateServer:
    """The supervisor's side."""

    def __init__(self, memory: MemoryStore | None = None) -> None:
        self.memory = MemoryStore() if memory is None else memory

    def execute(self, payload: bytes) -> bytes:
        """Answer a worker, at once."""
        return msgspec.msgpack.encode(self.memory.execute_now(_OPS.decode(payload)))

    def restore(self, state_dir: str) -> None:
        """Take over what an earlier supervisor saved, if that is any use; it is there no more."""
        path = _path(state_dir)
        try:
            data = path.read_bytes()
            path.unlink()
            self.memory.restore(data)
        except FileNotFoundError:
            return
        except (OSError, ValueError) as error:
            _LOG.warning("%s is no use: %s", path, _describe(error))

    def save(self, state_dir: str) -> None:
        """Leave it to the next supervisor."""
        if not self.memory.size:
            return
        path = _path(state_dir)
        new = path.with_suffix(".new")
        try:
            ensure_private_dir(path.parent)
            new.unlink(missing_ok=True)
            handle = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(handle, "wb") as file:
                file.write(self.memory.dump())
            new.replace(path)
        except OSError as error:
            _LOG.warning("what workers share is not kept in %s: %s", path, _describe(error))


def _path(state_dir: str) -> Path:
    return Path(state_dir).expanduser() / _FILE


def _describe(error: Exception) -> str:
    return getattr(error, "strerror", None) or type(error).__name__


class RpcStateStore:
    """A worker's side: answers as `proxy.state.ops.Shared` promises."""

    def __init__(self, connection: RpcConnection) -> None:
        self._connection = connection
        self._unavailable = False

    async def execute(self, *ops: Op) -> Sequence[Any]:
        """Answer operations in order; raises `SharedAway`."""
        try:
            reply = await self._connection.call(
                EXECUTE, msgspec.msgpack.encode(ops), _TIMEOUT_SECONDS
            )
        except RpcError as error:
            if not self._unavailable:
                self._unavailable = True
                _LOG.error("the supervisor is away: what workers share is done without: %s", error)  # noqa: TRY400 - no traceback needed
            raise (StoreClosed if self._connection.closed.is_set() else StoreUnavailable) from None
        if self._unavailable:
            self._unavailable = False
            _LOG.warning("the supervisor is back")
        results: list[Any] = msgspec.msgpack.decode(reply)
        return results
