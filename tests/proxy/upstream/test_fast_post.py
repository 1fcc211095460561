"""A short request in one write is the one that a client session sends, and is answered alike."""

from __future__ import annotations

import datetime as dt
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import ip_address
from pathlib import Path

import aiohttp.connector
import pytest
from aiohttp import ClientConnectorError, ClientError, web
from aiohttp.test_utils import TestServer
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from yarl import URL

from proxy.settings.schema import Timeouts
from proxy.upstream.connector import SHORT, Dialer, Door

HEADERS = {"accept": "*/*", "accept-encoding": "identity", "user-agent": "easel", "x-a": "1"}
HEADERS |= {"content-type": "application/json", "authorization": "Bearer k"}
Seen = list[tuple[str, dict[str, str], bytes]]


@asynccontextmanager
async def server(seen: Seen, context: ssl.SSLContext | None = None) -> AsyncIterator[URL]:
    """Run a server that notes what comes, and answers 201 with a header and a body."""

    async def answer(request: web.Request) -> web.Response:
        headers = {name.lower(): value for name, value in request.headers.items()}
        seen.append((request.raw_path, headers, await request.read()))
        return web.Response(status=201, body=b"made", headers={"x-b": "2"})

    app = web.Application()
    app.router.add_post("/{any:.*}", answer)
    running = TestServer(app)
    await running.start_server(ssl=context)
    try:
        scheme = "https" if context else "http"
        yield URL(f"{scheme}://127.0.0.1:{running.port}/v1/x%20y?a=%2f", encoded=True)
    finally:
        await running.close()


@asynccontextmanager
async def opened(timeouts: Timeouts | None = None) -> AsyncIterator[Door]:
    async with Dialer(timeouts or Timeouts()) as dialer:
        yield dialer.door(private=True)


async def test_both_ways_send_the_same_and_understand_the_same() -> None:
    seen: Seen = []
    async with server(seen) as url, opened() as door:
        ours = await door.request("POST", url, HEADERS, b"{}")
        theirs = await door.session.request("POST", url, headers=HEADERS, data=b"{}")
        assert seen[0] == seen[1]
        for response in (ours, theirs):
            got = response.status, response.headers["x-b"], await response.read()
            assert got == (201, "2", b"made")


async def test_a_connection_is_used_again_by_both_ways() -> None:
    async with server([]) as url, opened() as door:
        for body in (b"{}", b"x" * (SHORT + 1), b"{}"):
            await (await door.request("POST", url, HEADERS, body)).read()
        pool = door.session.connector
        assert isinstance(pool, aiohttp.TCPConnector)
        assert [len(it) for it in pool._conns.values()] == [1]


@pytest.mark.parametrize("value", ["a\r\nx-evil: 1", "a\nb", "a\x00", "\x7f"])
async def test_a_header_that_would_be_another_line_is_not_sent(value: str) -> None:
    seen: Seen = []
    async with server(seen) as url, opened() as door:
        with pytest.raises(ValueError):  # noqa: PT011 - it says nothing of what it refused
            await door.request("POST", url, {"x": value}, b"{}")
    assert not seen


async def test_bytes_that_are_no_text_leave_as_they_came() -> None:
    seen: Seen = []
    async with server(seen) as url, opened() as door:
        (await door.request("POST", url, {"x": "\udcff\udcfe"}, b"{}")).release()
    assert seen[0][1]["x"] == "\udcff\udcfe"


async def test_a_port_that_nobody_listens_at_is_told_as_a_session_tells_it() -> None:
    async with opened() as door:
        with pytest.raises(ClientConnectorError):
            await door.request("POST", URL("http://127.0.0.1:9/"), HEADERS, b"{}")


def certificate(folder: Path) -> Path:
    """Make a certificate for 127.0.0.1, and its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "easel test")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    file = folder / "server.pem"
    file.write_bytes(
        made.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return file


async def test_a_certificate_is_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = certificate(tmp_path)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(file)
    seen: Seen = []
    async with server(seen, context) as url:
        async with opened() as door:
            with pytest.raises(ClientError, match="certificate"):
                await door.request("POST", url, HEADERS, b"{}")
        trusting = ssl.create_default_context(cafile=str(file))
        monkeypatch.setattr(aiohttp.connector, "_SSL_CONTEXT_VERIFIED", trusting)
        async with opened() as door:
            response = await door.request("POST", url, HEADERS, b"{}")
            assert (response.status, len(seen)) == (201, 1)
            response.release()
