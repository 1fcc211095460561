"""The memory limit for large request bodies, shared by all requests (`limits.bodies_bytes`)."""

from __future__ import annotations

from proxy.errors import Overloaded

RESERVE_ABOVE = 64 * 1024
"""Bodies up to this many bytes are not counted: the limit on jobs bounds them."""


class BodyMemory:
    """Counts the bytes of all large request bodies in memory, at most `limit`.

    A compressed body may decompress to at most `max_ratio` times its compressed size.
    """

    def __init__(self, limit: int, max_ratio: int = 100) -> None:
        self.reserved = 0
        self.limit = limit
        self.max_ratio = max_ratio


class BodyReservation:
    """The bytes reserved for one body, until the last reference to this object is gone.

    The request holds one, and so does its job.
    """

    __slots__ = ("_memory", "_size")

    def __init__(self, memory: BodyMemory) -> None:
        self._memory = memory
        self._size = 0

    def grow(self, size: int) -> None:
        """Reserve `size` bytes in all; raise `Overloaded` if that exceeds the limit."""
        memory, more = self._memory, size - self._size
        if memory.reserved + more > memory.limit:
            raise Overloaded(
                "The request bodies in progress fill the memory that they may use "
                "(`limits.bodies_bytes`). Retry in a few seconds."
            )
        memory.reserved += more
        self._size = size

    def __del__(self) -> None:
        self._memory.reserved -= self._size
