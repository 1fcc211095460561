"""The gateway as a process, by its other doors: its unix socket, and TLS."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import httpx
import orjson
import pytest
from openai import AsyncOpenAI
from yarl import URL

from tests.support.certificates import Authority
from tests.support.gateway import B64, KEY, OURS, PATH, SETTINGS, provider
from tests.support.process_log import messages
from tests.support.providers import HeldProvider
from tests.support.single_gateway import (
    BOX,
    SANDBOX,
    Running,
    led_to,
    running,
    slow_provider,
    started,
)
from tests.support.slow_clients import (
    PICTURE,
    TIMES,
    body_for_ever,
    headers_for_ever,
    read_to_its_end,
    trickled,
)
from tests.support.waiting import until

ROOT = Path(__file__).parents[2]
PROVIDERS_KEY = "sk-the-providers-own-key"
SIDECAR = ("--config", str(ROOT / "config/sidecar.yaml"))
ONLY_SOCKET = "server: {host: none, socket: easel.sock}\n"


@pytest.fixture
def short() -> Iterator[Path]:
    """Give a folder with a short path: that of a socket has at most 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="easel") as folder:
        yield Path(folder)


@asynccontextmanager
async def by_socket(
    folder: Path, settings: str = SANDBOX, place: str = ONLY_SOCKET
) -> AsyncIterator[Running]:
    """Start a gateway that has no port."""
    file = folder / "easel.yaml"
    file.write_text(SETTINGS + place + settings)
    connector = aiohttp.UnixConnector(str(folder / "easel.sock"))
    async with (
        started(folder, "--config", str(file)) as (process, _),
        aiohttp.ClientSession(connector=connector) as session,
    ):
        yield Running("http://localhost", process, session)


@dataclass
class Secured:
    """The settings for TLS, and who signs."""

    authority: Authority
    settings: str


def secured(folder: Path, *, mutual: bool = False) -> Secured:
    """Make a certificate, and the settings that name it."""
    authority = Authority(folder)
    pair = authority.sign("server")
    files = [f"tls_certificate: {pair.certificate}", f"tls_key: {pair.key}"]
    if mutual:
        files.append(f"tls_client_ca: {authority.certificate}")
    return Secured(authority, f"server: {{{', '.join(files)}}}\n")


@asynccontextmanager
async def by_tls(folder: Path, settings: str = SANDBOX) -> AsyncIterator[tuple[Running, Authority]]:
    """Start a gateway that speaks TLS, and a client that trusts it."""
    made = secured(folder)
    async with running(folder, made.settings + settings) as easel:
        connector = aiohttp.TCPConnector(ssl=made.authority.trusting())
        async with aiohttp.ClientSession(connector=connector) as session:
            yield Running(easel.url, easel.process, session), made.authority


async def end(easel: Running) -> None:
    """Stop a gateway, which may complain of nothing."""
    easel.tell()
    status, _, err = await easel.end()
    assert (status, err) == (0, "")


# The unix socket.


def through(place: str) -> Any:
    """Make what OpenAI's SDK sends by a unix socket with."""
    return httpx.AsyncClient(transport=httpx.AsyncHTTPTransport(uds=place))


async def test_an_app_without_a_providers_key_gets_a_picture_by_the_sidecars_socket(
    short: Path,
) -> None:
    place = str(short / "sock")
    async with provider() as fake:
        environ = {
            "EASEL_KEY": KEY,
            "PROVIDER_API_KEY": PROVIDERS_KEY,
            "PROVIDER_BASE_URL": f"{fake.url}/v1",
            "EASEL_HOST": "none",
            "EASEL_SOCKET": place,
        }
        async with (
            started(short, *SIDECAR, **environ) as (_, said),
            AsyncOpenAI(base_url="http://easel/v1", api_key=KEY, http_client=through(place)) as app,
        ):
            assert place in said
            answer = await app.images.generate(prompt="a cube")
            assert answer.data
            assert answer.data[0].b64_json == B64
        [sent] = fake.requests
        assert sent.headers["authorization"] == f"Bearer {PROVIDERS_KEY}"
        assert KEY not in str(sent.headers)


async def test_without_a_socket_the_sidecar_listens_on_its_port_only(short: Path) -> None:
    environ = {"EASEL_KEY": KEY, "PROVIDER_API_KEY": PROVIDERS_KEY, "EASEL_PORT": "0"}
    async with started(short, *SIDECAR, **environ) as (_, said):
        assert " is listening on http://127.0.0.1:" in said


async def test_the_socket_stands_beside_the_port(short: Path) -> None:
    settings = SANDBOX + "server: {socket: easel.sock}\n"
    async with running(short, settings) as easel:
        assert await easel.ready() == 200
        connector = aiohttp.UnixConnector(str(short / "easel.sock"))
        async with aiohttp.ClientSession(connector=connector) as session:
            assert await Running("http://any.name", easel.process, session).ready() == 200
        await end(easel)
    assert not (short / "easel.sock").exists()


async def test_the_banner_says_how_to_get_a_picture_by_the_socket(short: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "proxy", "serve", "--host", "none", "--socket", "my sock"),
        cwd=short,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stdout
        said = (await process.stdout.readuntil(b"image.png\n\n")).decode()
        assert "http://127" not in said
        command = said[said.index("curl -sS ") :]
        await asyncio.to_thread(subprocess.run, ["/bin/sh", "-c", command], cwd=short, check=True)
        assert (short / "image.png").read_bytes().startswith(b"\x89PNG")
    finally:
        process.terminate()
        await process.communicate()


@pytest.mark.parametrize(("names", "status"), [("", 200), ("allowed_hosts: [mine.example]", 421)])
async def test_by_the_socket_any_name_is_good_unless_some_are_set(
    short: Path, names: str, status: int
) -> None:
    settings = ONLY_SOCKET.replace("}", f", {names}}}") if names else ONLY_SOCKET
    async with (
        by_socket(short, SANDBOX, settings) as easel,
        easel.session.get("http://other.example/healthz") as got,
    ):
        assert got.status == status


async def test_two_gateways_cannot_have_one_socket(short: Path) -> None:
    async with (
        by_socket(short) as easel,
        started(short, "--config", "easel.yaml") as (second, _),
    ):
        _, err = await second.communicate()
        assert second.returncode == 1
        assert err.decode().startswith(
            "easel: cannot listen on the unix socket easel.sock: another"
        )
        assert await easel.ready() == 200
        await end(easel)


async def test_a_killed_gateways_socket_is_taken_over(short: Path) -> None:
    async with by_socket(short) as easel:
        easel.tell(signal.SIGKILL)
        await easel.end()
    assert (short / "easel.sock").exists()
    async with by_socket(short) as easel:
        assert await easel.ready() == 200


async def knocked(place: str, seen: Counter[str]) -> None:
    """Order pictures on one connection after the other, until nobody is there."""
    async with aiohttp.ClientSession(
        connector=aiohttp.UnixConnector(place, force_close=True)
    ) as session:
        while True:
            asked = {"prompt": f"{id(session)}", "size": "64x64", "latency_ms": 20}
            try:
                async with session.post("http://easel" + PATH, json=asked, headers=BOX) as got:
                    seen["good" if b"b64_json" in await got.read() else str(got.status)] += 1
            except aiohttp.ClientConnectorError:
                return
            except aiohttp.ClientError as error:
                seen[type(error).__name__] += 1


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_a_stop_under_load_loses_nobody_who_got_in(short: Path, workers: str) -> None:
    file = short / "easel.yaml"
    file.write_text(SETTINGS + ONLY_SOCKET + SANDBOX + "jobs: {result_ttl_seconds: 1}\n")
    async with started(short, "--config", str(file), "--workers", workers) as (process, _):
        seen: Counter[str] = Counter()
        place = str(short / "easel.sock")
        clients = [asyncio.create_task(knocked(place, seen)) for _ in range(16)]
        await until(lambda: seen["good"] > 2 * len(clients))
        process.terminate()
        async with asyncio.timeout(60):
            await asyncio.gather(*clients)
        assert seen.keys() == {"good"}
        _, err = await process.communicate()
        assert (process.returncode, messages(err.decode())) == (0, "")


# TLS.


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=str)
async def test_the_port_speaks_tls_from_1_2_on(tmp_path: Path, version: ssl.TLSVersion) -> None:
    async with by_tls(tmp_path) as (easel, authority):
        assert easel.url.startswith("https://")
        trusting = authority.trusting()
        trusting.minimum_version = trusting.maximum_version = version
        async with easel.session.get(easel.url + "/healthz", ssl=trusting) as got:
            assert got.status == 200
        asked_for = {"prompt": "x", "size": "64x64", "response_format": "url"}
        async with easel.session.post(easel.url + PATH, json=asked_for, headers=BOX) as got:
            url = (await got.json())["data"][0]["url"]
        async with easel.session.get(url) as picture:
            assert url.startswith(easel.url)
            assert picture.status == 200
        await end(easel)


async def test_what_is_no_good_tls_gets_nowhere(tmp_path: Path) -> None:
    async with by_tls(tmp_path) as (easel, authority):
        old = authority.trusting()
        old.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
        with pytest.deprecated_call():
            old.maximum_version = ssl.TLSVersion.TLSv1_1
        with pytest.raises(aiohttp.ClientError):
            await easel.session.get(easel.url, ssl=old)
        with pytest.raises(aiohttp.ClientError):
            await easel.session.get(easel.url.replace("https", "http"))
        assert await easel.ready() == 200
        await end(easel)


async def test_a_client_needs_a_certificate_of_the_right_authority(tmp_path: Path) -> None:
    made = secured(tmp_path, mutual=True)
    client = made.authority.sign("client")
    (tmp_path / "other").mkdir()
    stranger = Authority(tmp_path / "other", "other").sign("stranger")
    async with running(tmp_path, made.settings + SANDBOX) as easel:
        for pair, status in ((client, 200), (stranger, 0), (None, 0)):
            trusting = made.authority.trusting(pair)
            try:
                async with easel.session.get(easel.url + "/healthz", ssl=trusting) as got:
                    assert got.status == status
            except aiohttp.ClientError:
                assert status == 0
        await end(easel)


async def test_sighup_takes_up_a_renewed_certificate_at_once(tmp_path: Path) -> None:
    async with by_tls(tmp_path) as (easel, authority):
        after = authority.sign("server")
        easel.tell(signal.SIGHUP)
        url, shown = URL(easel.url), 0
        async with asyncio.timeout(8):  # it looks by itself every ten seconds
            while shown != after.serial:
                trusting = authority.trusting()
                _, writer = await asyncio.open_connection(url.host, url.port, ssl=trusting)
                told = writer.get_extra_info("ssl_object").getpeercert()
                shown = int(told["serialNumber"], 16)
                writer.close()
                await writer.wait_closed()
                await asyncio.sleep(0.05)


# By any door.


DOORS: dict[str, Callable[[Path, str], Any]] = {"unix": by_socket, "tls": by_tls}


@asynccontextmanager
async def door(kind: str, folder: Path, settings: str) -> AsyncIterator[tuple[Running, Any]]:
    """Start a gateway; gives it, and how to connect to it."""
    if kind == "unix":
        async with by_socket(folder, settings) as easel:
            yield easel, lambda: asyncio.open_unix_connection(str(folder / "easel.sock"))
        return
    async with by_tls(folder, settings) as (easel, authority):
        url = URL(easel.url)
        trusting = authority.trusting()
        yield easel, lambda: asyncio.open_connection(url.host, url.port, ssl=trusting)


@pytest.mark.parametrize("kind", DOORS)
async def test_heads_and_bodies_that_trickle_are_cut(short: Path, kind: str) -> None:
    async with door(kind, short, SANDBOX + TIMES) as (easel, connect):
        for pieces, told in ((headers_for_ever(), b""), (body_for_ever(), b"HTTP/1.1 408")):
            reader, writer = await connect()
            trickling = asyncio.create_task(trickled(writer, pieces))
            async with asyncio.timeout(10):
                assert (await read_to_its_end(reader))[:12] == told
            trickling.cancel()
            writer.close()
        await end(easel)


def reading_slowly(folder: Path, easel: Running, trusting: ssl.SSLContext | None) -> socket.socket:
    """Order a picture, and take in nothing of it yet."""
    client = socket.socket(socket.AF_INET if trusting else socket.AF_UNIX)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.settimeout(20)
    if trusting:
        client.connect((URL(easel.url).host, URL(easel.url).port))
        client = trusting.wrap_socket(client, server_hostname="127.0.0.1")
    else:
        client.connect(str(folder / "easel.sock"))
    head = f"POST {PATH} HTTP/1.1\r\nhost: localhost\r\nx-portkey-api-key: {KEY}\r\n"
    head += "x-portkey-config: kept\r\ncontent-type: application/json\r\n"
    client.sendall(head.encode() + b'content-length: 14\r\n\r\n{"prompt":"x"}')
    return client


def all_of(client: socket.socket) -> bytes:
    found = b""
    with contextlib.suppress(OSError):
        while piece := client.recv(1 << 20):
            found += piece
    return found


@asynccontextmanager
async def slowly(
    kind: str, folder: Path, settings: str
) -> AsyncIterator[tuple[Running, socket.socket]]:
    """Start a gateway, and a client of it that orders a picture and does not read yet."""
    async with slow_provider(PICTURE) as fake:
        more = led_to(fake, settings + "configs: {kept: {virtual_key: box}}")
        if kind == "unix":
            async with by_socket(folder, more) as easel:
                with await asyncio.to_thread(reading_slowly, folder, easel, None) as client:
                    yield easel, client
            return
        async with by_tls(folder, more) as (easel, authority):
            trusting = authority.trusting()
            with await asyncio.to_thread(reading_slowly, folder, easel, trusting) as client:
                yield easel, client


@pytest.mark.parametrize("kind", DOORS)
async def test_a_client_that_never_reads_is_cut(short: Path, kind: str) -> None:
    async with slowly(kind, short, TIMES) as (easel, client):
        await asyncio.sleep(3.5)
        assert len(await asyncio.to_thread(all_of, client)) < len(PICTURE)
        again = {**OURS, "x-portkey-config": "kept", "x-stainless-retry-count": "1"}
        collecting = easel.session.post(easel.url + PATH, json={"prompt": "x"}, headers=again)
        async with collecting as got:
            assert await got.read() == PICTURE


@pytest.mark.parametrize("kind", DOORS)
async def test_a_stop_waits_for_an_answer_that_is_read_slowly(short: Path, kind: str) -> None:
    async with slowly(kind, short, "") as (easel, client):
        await asyncio.sleep(1.2)
        easel.tell()
        await asyncio.sleep(0.7)
        assert (await asyncio.to_thread(all_of, client)).endswith(PICTURE)
        assert (await easel.end())[::2] == (0, "")


@pytest.mark.parametrize("kind", DOORS)
async def test_what_idles_does_not_hold_up_the_end(short: Path, kind: str) -> None:
    async with door(kind, short, SANDBOX) as (easel, _):
        assert await easel.ready() == 200  # and the connection stays open
        await end(easel)


@pytest.mark.parametrize("kind", DOORS)
async def test_a_running_request_is_let_finish(short: Path, kind: str) -> None:
    held = HeldProvider()
    async with provider(held.reply) as fake, door(kind, short, led_to(fake)) as (easel, _):
        slow = easel.drawing(0)
        await until(lambda: held.calls)
        ending = asyncio.create_task(end(easel))
        await asyncio.sleep(0.05)  # The signal arrives before the answer does.
        held.release.set()
        await ending
        assert await slow == 200


# Draining.


async def test_while_it_drains_all_are_served_and_each_connection_is_closed(
    tmp_path: Path,
) -> None:
    async with running(tmp_path, SANDBOX + "server: {drain_seconds: 1.5}\n") as easel:
        assert await easel.ready() == 200
        easel.tell()

        async def is_draining() -> bool:
            return await easel.ready() == 503

        await until(is_draining)
        for _ in range(3):
            async with aiohttp.ClientSession() as stranger:
                for path, status in (("/readyz", 503), ("/healthz", 200)):
                    async with stranger.get(easel.url + path) as got:
                        assert (got.status, got.headers["connection"]) == (status, "close")
        assert await easel.drawing(0) == 200
        assert (await easel.end())[::2] == (0, "")
        async with aiohttp.ClientSession() as stranger:
            with pytest.raises(aiohttp.ClientConnectorError):
                await stranger.get(easel.url)


async def test_a_connection_that_was_kept_carries_one_request_more(tmp_path: Path) -> None:
    held = HeldProvider()
    async with provider(held.reply) as fake, running(tmp_path, led_to(fake)) as easel:
        reader, writer = await asyncio.open_connection(URL(easel.url).host, URL(easel.url).port)
        ask = b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n"
        writer.write(ask)
        await reader.readuntil(b"}")
        slow = easel.drawing(0)
        await until(lambda: held.calls)
        easel.tell()
        await until(easel.refuses_connections)
        writer.write(ask)
        last = (await asyncio.wait_for(reader.read(), 5)).lower()
        assert last.startswith(b"http/1.1 200")
        assert b"\r\nconnection: close\r\n" in last
        held.release.set()
        assert await slow == 200
        writer.close()


async def test_a_connection_without_a_request_yet_is_waited_for(tmp_path: Path) -> None:
    async with running(tmp_path) as easel:
        reader, writer = await asyncio.open_connection(URL(easel.url).host, URL(easel.url).port)
        assert await easel.ready() == 200  # so the earlier connection has been accepted
        easel.tell()
        # It is closed a second after the listener: a busy machine may take longer to look.
        with suppress(TimeoutError):
            async with asyncio.timeout(0.5):
                await until(easel.refuses_connections)
        writer.write(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n")
        assert (await reader.read()).startswith(b"HTTP/1.1 200")
        assert (await easel.end())[::2] == (0, "")
        writer.close()


async def test_the_line_says_who_came_by_the_socket(short: Path) -> None:
    settings = SANDBOX + "server: {host: none, socket: easel.sock, trusted_proxies: [unix]}\n"
    file = short / "easel.yaml"
    for text, client in ((ONLY_SOCKET + SANDBOX, "unix"), (settings, "198.51.100.7")):
        file.write_text(SETTINGS + text)
        connector = aiohttp.UnixConnector(str(short / "easel.sock"))
        async with (
            started(short, "--config", str(file)) as (process, _),
            aiohttp.ClientSession(connector=connector) as session,
        ):
            easel = Running("http://localhost", process, session)
            named = {"X-Forwarded-For": "198.51.100.7"}
            async with session.get("http://localhost/healthz", headers=named) as got:
                assert got.status == 200
            easel.tell()
            _, out, _ = await easel.end()
            [line] = [orjson.loads(it) for it in out.splitlines() if it.startswith("{")]
            assert line["client"] == client
