"""The attacker's clients.

They start requests at a fixed pace, so that what is measured is the gateway and not the CPU of the
load generator.
"""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from urllib.parse import urlsplit

import aiohttp
from processes import OTHER_KEY

IMAGES = "/v1/images/generations"
VIRTUAL_KEY = {"x-portkey-virtual-key": "attack"}
_HEADERS = {"x-portkey-api-key": OTHER_KEY, "content-type": "application/json"}
CUT, HELD = "cut", "held"
_READ_BYTES, _RECEIVE_BUFFER, _STATUS_BYTES = 65536, 4096, 64
_PEEK_SECONDS = 0.1


class Attacker:
    """The attacker's clients. `results` counts what they got."""

    def __init__(self, session: aiohttp.ClientSession, urls: Sequence[str]) -> None:
        self._session = session
        self._urls = urls
        self.results: Counter[str] = Counter()

    async def flood(
        self, send: Callable[[int], Awaitable[str]], *, rate: float, at_once: int
    ) -> None:
        """Call `send` `rate` times per second, at most `at_once` at the same time, until cancelled.

        `send` gets a number and returns a result.
        """
        running: set[asyncio.Task[None]] = set()
        number = 0
        async with asyncio.TaskGroup() as tasks:
            while True:
                if len(running) < at_once:
                    task = tasks.create_task(self._count(send(number)))
                    running.add(task)
                    task.add_done_callback(running.discard)
                    number += 1
                await asyncio.sleep(1 / rate)

    async def _count(self, sending: Awaitable[str]) -> None:
        result = HELD
        try:
            result = await sending
        except (aiohttp.ClientError, OSError):
            result = CUT
        finally:
            self.results[result] += 1

    def url(self, number: int) -> str:
        """Return the gateway of a request."""
        return self._urls[number % len(self._urls)]

    async def post(self, number: int, body: bytes, headers: Mapping[str, str] = VIRTUAL_KEY) -> str:
        """Request images and read the response; return its status."""
        url = self.url(number) + IMAGES
        async with self._session.post(url, data=body, headers={**_HEADERS, **headers}) as got:
            await got.read()
            return str(got.status)

    async def send(self, number: int, *pieces: bytes) -> str:
        """Send bytes until the gateway closes the connection; return the status of its response.

        A successful response is the beginning: what counts is how the connection ends.
        """
        address = urlsplit(self.url(number))
        reader, writer = await asyncio.open_connection(address.hostname, address.port)
        try:
            with suppress(ConnectionError):
                for piece in pieces:
                    writer.write(piece)
                    await writer.drain()
            response = await reader.read(_READ_BYTES)
            while await reader.read(_READ_BYTES):
                pass
        finally:
            writer.close()
        status = response.split()[1].decode() if response else CUT
        return CUT if status.startswith("2") else status

    async def trickle(self, number: int, start: bytes, piece: bytes) -> str:
        """Send a piece each second, until the gateway closes the connection."""
        address = urlsplit(self.url(number))
        reader, writer = await asyncio.open_connection(address.hostname, address.port)
        reading = asyncio.ensure_future(reader.read(_READ_BYTES))
        try:
            writer.write(start)
            while not reading.done():
                await asyncio.wait({reading}, timeout=1)
                writer.write(piece)
            response = await reading
        finally:
            reading.cancel()
            writer.close()
        return response.split()[1].decode() if response else CUT

    async def post_unread(self, number: int, body: bytes) -> str:
        """Request images and never read a successful response; return the status of another one."""
        address = urlsplit(self.url(number))
        head = f"POST {IMAGES} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {len(body)}\r\n"
        head += "".join(f"{name}: {value}\r\n" for name, value in (_HEADERS | VIRTUAL_KEY).items())
        loop = asyncio.get_running_loop()
        with socket.socket() as client:
            client.setblocking(False)  # noqa: FBT003 - the standard library's own
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
            await loop.sock_connect(client, (address.hostname, address.port))
            await loop.sock_sendall(client, f"{head}\r\n".encode() + body)
            while True:
                await asyncio.sleep(_PEEK_SECONDS)
                status = _peek_status(client)
                if status is not None and not status.startswith("2"):
                    return status


def _peek_status(client: socket.socket) -> str | None:
    """Return the status of a response without reading it; None if there is none yet."""
    try:
        start = client.recv(_STATUS_BYTES, socket.MSG_PEEK)
    except BlockingIOError:
        return None
    return start.split()[1].decode() if start else CUT
