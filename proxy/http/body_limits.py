"""The memory limit for request bodies, shared by all requests (`limits.bodies_bytes`).

A body counts by its bytes and by the values that it becomes, with metadata and inline config.
"""

from __future__ import annotations

from proxy.errors import Overloaded

RESERVE_ABOVE = 64 * 1024
"""Bodies above this size are counted while they arrive, smaller ones once they have arrived."""


class BodyMemory:
    """Counts the memory of all request bodies, at most `limit` bytes.

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

    @property
    def is_large(self) -> bool:
        """Whether an idle connection should not keep what this was reserved for."""
        return self._size > RESERVE_ABOVE

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
