"""The shared state store of all workers: the supervisor holds it, workers use it by RPC.

It survives a restart of the supervisor in a file in `state_dir`, readable only by its owner.
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
from proxy.state.ops import TURN_SECONDS, Op, StoreBusy, StoreClosed, StoreUnavailable
from proxy.workers.rpc import RpcConnection, RpcError, RpcTimeout

_LOG = logging.getLogger("easel")

EXECUTE = "execute"
"""Call to the supervisor: execute operations on the store."""
_FILE = "hub"
_OPS = msgspec.msgpack.Decoder(list[Op])


class StateServer:
    """The supervisor's side: executes operations for workers."""

    def __init__(self, memory: MemoryStore | None = None) -> None:
        self.memory = MemoryStore() if memory is None else memory

    def execute(self, payload: bytes) -> bytes:
        """Execute the encoded operations of a worker; return the encoded results."""
        return msgspec.msgpack.encode(self.memory.execute_now(_OPS.decode(payload)))

    def restore(self, state_dir: str) -> None:
        """Load and delete the file that an earlier supervisor saved, if it is valid."""
        path = _path(state_dir)
        try:
            data = path.read_bytes()
            path.unlink()
            self.memory.restore(data)
        except FileNotFoundError:
            return
        except (OSError, ValueError) as error:
            _LOG.warning("cannot restore shared state from %s: %s", path, _describe(error))

    def save(self, state_dir: str) -> None:
        """Save the state for the next supervisor."""
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
            _LOG.warning("cannot save shared state to %s: %s", path, _describe(error))


def _path(state_dir: str) -> Path:
    return Path(state_dir).expanduser() / _FILE


def _describe(error: Exception) -> str:
    return getattr(error, "strerror", None) or type(error).__name__


class RpcStateStore:
    """A worker's side: a `StateStore` that calls the supervisor."""

    def __init__(self, connection: RpcConnection) -> None:
        self._connection = connection
        self._unavailable = False

    async def execute(self, *ops: Op) -> Sequence[Any]:
        """Execute operations in order; raises `StoreUnavailable`.

        A supervisor that is connected has its turn for them: to continue without it would be to
        start a job that another worker runs already.
        """
        try:
            reply = await self._connection.call(EXECUTE, msgspec.msgpack.encode(ops), TURN_SECONDS)
        except RpcError as error:
            if not self._unavailable:
                self._unavailable = True
                _LOG.error("supervisor unavailable: %s", error)  # noqa: TRY400 - no traceback needed
            raise self._unavailable_error(error) from None
        if self._unavailable:
            self._unavailable = False
            _LOG.warning("supervisor available again")
        results: list[Any] = msgspec.msgpack.decode(reply)
        return results

    def _unavailable_error(self, error: RpcError) -> StoreUnavailable:
        if self._connection.closed.is_set():
            return StoreClosed()
        return StoreBusy() if isinstance(error, RpcTimeout) else StoreUnavailable()
