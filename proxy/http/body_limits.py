"""Large bodies of requests: all that are held at once, within bounds."""

from __future__ import annotations

from proxy.errors import Overloaded

LARGE = 64 * 1024
"""Bytes up to which a body is not counted: as many as there are jobs have room."""


class Bodies:
    """Counts the bytes of all large bodies that are held, `most` at once.

    A compressed body may have `ratio` times the size of what came.
    """

    def __init__(self, most: int, ratio: int = 100) -> None:
        self.held = 0
        self.most = most
        self.ratio = ratio


class Held:
    """What one body takes, until nobody holds this any more: a request, and its job's, do."""

    __slots__ = ("_bodies", "_size")

    def __init__(self, bodies: Bodies) -> None:
        self._bodies = bodies
        self._size = 0

    def grow(self, size: int) -> None:
        """Count so many bytes in all; raises `Overloaded` where there is no room for them."""
        bodies, more = self._bodies, size - self._size
        if bodies.held + more > bodies.most:
            raise Overloaded(
                "The bodies of all requests take as much memory as they may "
                "(`limits.bodies_bytes`). Ask again in a while."
            )
        bodies.held += more
        self._size = size

    def __del__(self) -> None:
        self._bodies.held -= self._size
