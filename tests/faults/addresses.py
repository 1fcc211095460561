"""Places where no conversation begins."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from socket import socket

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509 import (
    CertificateBuilder,
    IPAddress,
    Name,
    NameAttribute,
    SubjectAlternativeName,
    random_serial_number,
)
from cryptography.x509.oid import NameOID

from tests.faults.wire import Line
from tests.support.rsa_key import rsa_key

_TOO_LONG = ".".join(["a" * 63] * 5)
"""No resolver asks anyone for a name that has more than 253 characters."""


@asynccontextmanager
async def listening(
    serve: asyncio.streams._ClientConnectedCallback,  # noqa: SLF001 - the type of what is served
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[str]:
    """Listen on a port of this machine; gives the address."""
    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls, backlog=512)
    try:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


async def _resets(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    # So that it is always after the request has gone, which is lost with it.
    await asyncio.sleep(0.05)
    Line(reader, writer).reset()


async def _is_plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    del reader
    writer.write(b"HTTP/1.1 400 It\r\ncontent-length: 0\r\n\r\n")
    writer.close()


def _own_signed(folder: Path) -> ssl.SSLContext:
    """Make a certificate for this machine that nobody else has signed."""
    name, key, now = Name([NameAttribute(NameOID.COMMON_NAME, "own")]), rsa_key(), datetime.now(UTC)
    here = SubjectAlternativeName([IPAddress(ip_address("127.0.0.1"))])
    made = (
        CertificateBuilder(name, name, key.public_key(), random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(here, critical=False)
        .sign(key, SHA256())
    )
    place, key_place = folder / "own.pem", folder / "own.key"
    place.write_bytes(made.public_bytes(Encoding.PEM))
    key_place.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(place, key_place)
    return context


@asynccontextmanager
async def addresses(folder: Path) -> AsyncIterator[dict[str, str]]:
    """Open all of them; gives their URLs by name."""
    async with AsyncExitStack() as stack:
        unheard = stack.enter_context(socket())
        unheard.bind(("127.0.0.1", 0))
        resets = await stack.enter_async_context(listening(_resets))
        plain = await stack.enter_async_context(listening(_is_plain))
        own = await stack.enter_async_context(listening(_resets, _own_signed(folder)))
        yield {
            "refused": f"http://127.0.0.1:{unheard.getsockname()[1]}",
            "unknown": f"http://{_TOO_LONG}",
            "resets": f"http://{resets}",
            "plain": f"https://{plain}",
            "own-signed": f"https://{own}",
        }
