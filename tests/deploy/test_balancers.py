"""What deploy/ says to nginx and to HAProxy, with both, in front of real gateways."""

from __future__ import annotations

import asyncio
import base64
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import aiohttp
import orjson
import pytest
from aiohttp import web

from proxy.context import DRAINING
from tests.deploy.balancers import HAPROXY_FILE, Balancer, Run, haproxy, nginx, with_nodes
from tests.deploy.tools import program, run_tool
from tests.support.gateway import (
    ANSWER,
    OURS,
    PATH,
    Gateway,
    Provider,
    Reply,
    gateway,
    gateway_to,
    json_reply,
    provider,
)

UP = {"virtual_key": "up"}
BALANCERS = pytest.mark.parametrize("run", [nginx, haproxy])


def address(url: str) -> str:
    """Return `host:port` of a URL."""
    return url.removeprefix("http://")


@asynccontextmanager
async def behind(
    run: Run, folder: Path, reply: Reply | None = None
) -> AsyncIterator[tuple[Gateway, Provider, Balancer]]:
    """Run a provider, a gateway and a load balancer; the gateway's URL is the load balancer's."""
    async with gateway_to(reply) as (ours, fake):
        with run(folder, [address(ours.url)]) as balancer:
            ours.url = balancer.url
            yield ours, fake, balancer


def lines(balancer: Balancer) -> list[str]:
    """Return the request lines of a load balancer's log."""
    return [it for it in balancer.log.read_text().splitlines() if " GET " in it]


def free_port() -> int:
    """Return an unused port."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        port: int = bound.getsockname()[1]
        return port


def test_the_file_of_haproxy_is_good_as_it_stands(tmp_path: Path) -> None:
    # Only the names of the nodes are not to be found here; nginx's file is checked at each start.
    file = tmp_path / "haproxy.cfg"
    file.write_text(with_nodes(HAPROXY_FILE.read_text(), ["127.0.0.1:1", "127.0.0.1:2"]))
    assert "WARNING" not in run_tool(program("haproxy", "haproxy"), "-c", "-f", file)


@BALANCERS
async def test_a_picture_of_megabytes_comes_as_it_was_made(run: Run, tmp_path: Path) -> None:
    picture = base64.b64encode(bytes(range(256)) * 18_000).decode()
    made = {"created": 1, "data": [{"b64_json": picture}]}

    async def reply(request: web.Request) -> web.Response:
        del request
        return json_reply(made)

    async with behind(run, tmp_path, reply) as (ours, _, _):
        got = await ours.draw(**UP)
        assert (got.status, got.body) == (200, orjson.dumps(made))


@BALANCERS
async def test_an_inline_config_of_32_kb_fits_into_a_header(run: Run, tmp_path: Path) -> None:
    async with behind(run, tmp_path) as (ours, _, _):
        config = orjson.dumps({"virtual_key": "up", "metadata": {"_user": "x" * 32_000}}).decode()
        assert (await ours.draw(config=config)).status == 200


@BALANCERS
async def test_an_event_comes_while_the_next_is_being_made(run: Run, tmp_path: Path) -> None:
    heard = asyncio.Event()
    event = b'event: image_generation.%s\ndata: {"type":"image_generation.%s","b64_json":""}\n\n'

    async def reply(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        await response.write(event % (b"partial_image", b"partial_image"))
        await heard.wait()
        await response.write(event % (b"completed", b"completed"))
        return response

    async with behind(run, tmp_path, reply) as (ours, _, _), asyncio.timeout(20):
        named = {**OURS, "x-portkey-virtual-key": "up"}
        asked = {"prompt": "a cube", "stream": True, "partial_images": 1}
        async with ours.session.post(ours.url + PATH, json=asked, headers=named) as got:
            assert b"partial_image" in await got.content.readuntil(b"\n\n")
            heard.set()
            assert b"completed" in await got.content.read()


@BALANCERS
async def test_a_node_that_is_gone_costs_no_request(run: Run, tmp_path: Path) -> None:
    async with gateway_to() as (ours, fake):
        with run(tmp_path, [f"127.0.0.1:{free_port()}", address(ours.url)]) as balancer:
            ours.url = balancer.url
            got = [await ours.draw(str(number), **UP) for number in range(6)]
        assert ([it.status for it in got], len(fake.requests)) == ([200] * 6, 6)


@BALANCERS
async def test_what_a_node_has_been_sent_is_never_sent_again(run: Run, tmp_path: Path) -> None:
    """A node that dies over a request may have ordered the picture: only its client may ask."""

    async def die(request: web.Request) -> web.StreamResponse:
        if request.method == "POST":
            await request.read()
            assert request.transport
            request.transport.close()
        return json_reply(ANSWER)

    async with provider(die) as one, provider(die) as other, aiohttp.ClientSession() as session:
        with run(tmp_path, [address(one.url), address(other.url)]) as balancer:
            asked = {"prompt": "a cube"}
            async with session.post(balancer.url + PATH, json=asked) as got:
                assert got.status == 502
        posts = [it for it in (*one.requests, *other.requests) if it.method == "POST"]
        assert len(posts) == 1


@BALANCERS
async def test_a_client_cannot_say_where_it_comes_from(run: Run, tmp_path: Path) -> None:
    async with provider() as fake, aiohttp.ClientSession() as session:
        with run(tmp_path, [address(fake.url)]) as balancer:
            forged = {"x-forwarded-for": "203.0.113.9", "x-forwarded-proto": "https"}
            async with session.get(balancer.url + "/asked", headers=forged) as got:
                assert got.status == 200
        seen = next(it for it in fake.requests if it.path == "/asked")
        assert seen.headers.getall("x-forwarded-for") == ["127.0.0.1"]
        assert seen.headers.getall("x-forwarded-proto") == ["http"]
        assert seen.headers["x-forwarded-host"] == address(balancer.url)


@BALANCERS
async def test_a_body_of_more_than_32_mb_is_refused_before_a_node_has_it(
    run: Run, tmp_path: Path
) -> None:
    async with behind(run, tmp_path) as (ours, _, _):
        reader, writer = await asyncio.open_connection(*address(ours.url).split(":"))
        head = f"POST {PATH} HTTP/1.1\r\nhost: easel\r\ncontent-length: {(32 << 20) + 1}\r\n\r\n"
        writer.write(head.encode())
        async with asyncio.timeout(20):
            assert b" 413 " in await reader.readline()
        writer.close()
        assert "413" not in ours.log.getvalue()


@BALANCERS
async def test_metrics_are_not_for_the_world(run: Run, tmp_path: Path) -> None:
    async with provider() as fake, aiohttp.ClientSession() as session:
        with run(tmp_path, [address(fake.url)]) as balancer:
            async with session.get(balancer.url + "/metrics") as got:
                assert got.status == 404
        assert [it.path for it in fake.requests if it.path == "/metrics"] == []


@BALANCERS
async def test_the_log_holds_no_url(run: Run, tmp_path: Path) -> None:
    async with behind(run, tmp_path) as (ours, _, balancer):
        await ours.ask(method="GET", path="/v1/images/blobs/sekret?signature=sekret")
        await ours.draw(**UP, trace_id="trace-of-the-first")
        async with asyncio.timeout(20):
            while "trace-of-the-first" not in balancer.log.read_text():  # noqa: ASYNC110 - a file
                await asyncio.sleep(0.05)
        assert "sekret" not in balancer.log.read_text()


async def test_nginx_logs_no_url_of_what_fails_either(tmp_path: Path) -> None:
    with nginx(tmp_path, [f"127.0.0.1:{free_port()}"]) as balancer:
        async with (
            aiohttp.ClientSession() as session,
            session.get(balancer.url + "/v1/images/blobs/sekret?sig=sekret") as got,
            asyncio.timeout(20),
        ):
            assert got.status == 502
            while " 502 " not in balancer.log.read_text():  # noqa: ASYNC110 - a file
                await asyncio.sleep(0.05)
    assert "sekret" not in (tmp_path / "error.log").read_text() + balancer.log.read_text()


async def test_haproxy_asks_a_node_that_is_stopping_for_nothing_new(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        nodes = [await stack.enter_async_context(gateway()) for _ in range(2)]
        nodes[0].app[DRAINING].append(True)
        with haproxy(tmp_path, [address(it.url) for it in nodes]) as balancer:
            session = await stack.enter_async_context(aiohttp.ClientSession())
            async with asyncio.timeout(30):
                # In turns, as long as both are asked; it notices within four seconds.
                while [it.split()[5] for it in lines(balancer)[-4:]] != ["easel/easel-2"] * 4:
                    async with session.get(balancer.url + "/v1/models", headers=OURS) as got:
                        assert got.status == 200
