"""Addresses at which no HTTP exchange can begin."""

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

from tests.faults.wire import Connection
from tests.support.rsa_key import rsa_key

_TOO_LONG_NAME = ".".join(["a" * 63] * 5)
"""Longer than 253 characters, so resolvers reject it without a query."""


@asynccontextmanager
async def listening(
    serve: asyncio.streams._ClientConnectedCallback,  # noqa: SLF001 - the type that asyncio expects
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[str]:
    """Listen on a local port; yield the address."""
    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls, backlog=512)
    try:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


async def _reset_connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    # Wait so that the request is always sent first and lost with the connection.
    await asyncio.sleep(0.05)
    Connection(reader, writer).reset()


async def _answer_plain_http(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    del reader
    writer.write(b"HTTP/1.1 400 It\r\ncontent-length: 0\r\n\r\n")
    writer.close()


def _self_signed_context(folder: Path) -> ssl.SSLContext:
    """Return a TLS context with a self-signed certificate for 127.0.0.1."""
    name, key, now = Name([NameAttribute(NameOID.COMMON_NAME, "own")]), rsa_key(), datetime.now(UTC)
    here = SubjectAlternativeName([IPAddress(ip_address("127.0.0.1"))])
    certificate = (
        CertificateBuilder(name, name, key.public_key(), random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(here, critical=False)
        .sign(key, SHA256())
    )
    certificate_file, key_file = folder / "self-signed.pem", folder / "self-signed.key"
    certificate_file.write_bytes(certificate.public_bytes(Encoding.PEM))
    key_file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate_file, key_file)
    return context


@asynccontextmanager
async def addresses(folder: Path) -> AsyncIterator[dict[str, str]]:
    """Open all addresses; yield their URLs by name."""
    async with AsyncExitStack() as stack:
        closed_port = stack.enter_context(socket())
        closed_port.bind(("127.0.0.1", 0))
        reset_after_request = await stack.enter_async_context(listening(_reset_connection))
        plain = await stack.enter_async_context(listening(_answer_plain_http))
        self_signed = await stack.enter_async_context(
            listening(_reset_connection, _self_signed_context(folder))
        )
        yield {
            "refused": f"http://127.0.0.1:{closed_port.getsockname()[1]}",
            "unknown": f"http://{_TOO_LONG_NAME}",
            "resets": f"http://{reset_after_request}",
            "plain": f"https://{plain}",
            "self-signed": f"https://{self_signed}",
        }
