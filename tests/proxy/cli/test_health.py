"""`easel health`: checking a running gateway."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from aiohttp import web
from click.testing import CliRunner, Result
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from proxy.app import make_app
from proxy.cli.main import main
from proxy.context import DRAINING
from proxy.settings.loader import parse
from tests.support.gateway import SETTINGS, gateway, json_reply, provider


async def health(*arguments: str) -> Result:
    """Run the command in a thread, while the loop serves."""
    return await asyncio.to_thread(CliRunner().invoke, main, ["health", *arguments])


@asynccontextmanager
async def served_at(folder: Path, context: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    """Serve a gateway on a Unix socket, or with TLS on a port; yield its address."""
    runner = web.AppRunner(make_app(parse(SETTINGS + f"state_dir: {folder}\n")))
    await runner.setup()
    place = str(folder / "easel.sock")
    if context is None:
        await web.UnixSite(runner, place).start()
    else:
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
        place = f"https://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield place
    finally:
        await runner.cleanup()


def certificate(folder: Path, name: str) -> ssl.SSLContext:
    """Return a server context with a self-signed certificate for a name."""
    key = ec.generate_private_key(ec.SECP256R1())
    who = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(who)
        .issuer_name(who)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    form = serialization.Encoding.PEM
    private = key.private_bytes(
        form, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    file = folder / "both.pem"
    file.write_bytes(private + made.public_bytes(form))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    return context


async def test_a_gateway_that_answers_is_well() -> None:
    async with gateway() as ours:
        told = await health("--url", ours.url)
        assert (told.exit_code, told.stdout) == (0, "ok\n")


async def test_one_that_is_stopping_is_alive_and_not_ready() -> None:
    async with gateway() as ours:
        assert (await health("--url", ours.url, "--ready")).exit_code == 0
        ours.app[DRAINING].append(True)
        assert (await health("--url", ours.url)).exit_code == 0
        told = await health("--url", ours.url, "--ready")
        assert (told.exit_code, told.stdout) == (1, "")
        assert "503 stopping" in told.stderr


async def test_the_place_may_stand_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    async with gateway() as ours:
        monkeypatch.setenv("EASEL_HEALTH_URL", ours.url)
        assert (await health()).exit_code == 0


async def test_a_unix_socket_is_asked_as_well(tmp_path: Path) -> None:
    async with served_at(tmp_path) as place:
        assert (await health("--socket", place)).exit_code == 0
    told = await health("--socket", str(tmp_path / "none.sock"))
    assert told.exit_code == 1
    assert "No such file" in told.stderr


async def test_the_name_in_a_certificate_does_not_matter_on_this_machine(tmp_path: Path) -> None:
    async with served_at(tmp_path, certificate(tmp_path, "easel.example")) as place:
        assert (await health("--url", place)).exit_code == 0


async def test_nobody_there_is_told_so() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        told = await health("--url", f"http://127.0.0.1:{bound.getsockname()[1]}")
    assert told.exit_code == 1
    assert "Connection refused" in told.stderr


async def test_one_that_takes_connections_and_answers_nothing_is_not_well() -> None:
    with socket.create_server(("127.0.0.1", 0)) as stuck:
        port = stuck.getsockname()[1]
        told = await health("--url", f"http://127.0.0.1:{port}", "--seconds", "0.2")
    assert told.exit_code == 1


@pytest.mark.parametrize("place", ["http://127.0.0.1:port", "https://[::1"])
async def test_what_is_no_url_fails_with_a_sentence(place: str) -> None:
    told = await health("--url", place)
    assert (told.exit_code, told.stderr[:7]) == (1, "easel: ")


async def test_another_server_s_answer_is_no_health() -> None:
    async def other(request: web.Request) -> web.StreamResponse:
        del request
        return json_reply(["not", "ours"], status=404)

    async with provider(other) as fake:
        told = await health("--url", fake.url)
        assert (told.exit_code, told.stderr) == (1, f"easel: {fake.url} responded with 404.\n")
