"""Where the gateway listens: which sockets it makes, and that nobody who knocks is lost."""

from __future__ import annotations

import asyncio
import os
import socket
import stat
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from proxy.listening import CannotListenError, Listener, closed, listeners, opened
from proxy.sections import Server, Timeouts
from proxy.settings import SettingsError, parse
from proxy.tls import Tls
from tests.certificates import Authority

KNOCKING = 200
ASKED = b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a place for a socket, whose path is short enough wherever the tests run."""
    monkeypatch.chdir(tmp_path)
    return Path("easel.sock")


def made(path: Path, **more: Any) -> Listener:
    [listener] = listeners(Server(host="none", socket=str(path), **more))
    return listener


def refused(path: Path) -> str:
    with pytest.raises(CannotListenError) as caught:
        made(path)
    return str(caught.value)


# Unix sockets.


@pytest.mark.parametrize(("mode", "bits"), [("660", 0o660), ("0600", 0o600), ("666", 0o666)])
def test_a_socket_has_the_mode_that_is_set(path: Path, mode: str, bits: int) -> None:
    with closing(made(path, socket_mode=mode)):
        assert stat.S_IMODE(path.stat().st_mode) == bits
        assert stat.S_ISSOCK(path.stat().st_mode)


def test_a_socket_is_gone_when_it_is_closed(path: Path) -> None:
    made(path).close()
    assert not path.exists()


def test_what_a_dead_process_has_left_is_replaced(path: Path) -> None:
    left = made(path)
    left.socket.close()
    with closing(made(path)), socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))


def test_a_socket_that_answers_is_left_alone(path: Path) -> None:
    with closing(made(path)):
        assert "another process listens there" in refused(path)
        assert path.exists()


def test_a_socket_that_has_too_much_to_do_is_left_alone(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as busy, socket.socket(socket.AF_UNIX) as first:
        busy.bind(str(path))
        busy.listen(0)
        first.connect(str(path))
        assert "another process listens there" in refused(path)


@pytest.mark.parametrize("kind", ["file", "folder", "link"])
def test_what_is_no_socket_is_left_alone(path: Path, kind: str) -> None:
    if kind == "file":
        path.touch()
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to("nowhere")
    assert "there is something that is no socket" in refused(path)
    assert os.path.lexists(path)


def test_a_folder_that_is_missing_is_named(path: Path) -> None:
    assert "there is no folder nowhere" in refused("nowhere" / path)


def test_anothers_socket_is_not_removed(path: Path) -> None:
    ours = made(path)
    path.rename("elsewhere")
    with closing(made(path)):
        ours.close()
        assert path.exists()


def test_tcp_is_closed_where_the_socket_cannot_be_made(path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(CannotListenError):
        listeners(Server(port=port, socket=str("nowhere" / path)))
    socket.create_server(("127.0.0.1", port)).close()


# TCP.


def test_every_address_of_a_name_has_the_same_port() -> None:
    found = listeners(Server(host="", port=0))
    try:
        assert len({it.socket.getsockname()[1] for it in found}) == 1
        assert {it.socket.family for it in found} >= {socket.AF_INET}
    finally:
        for listener in found:
            listener.close()


def test_a_port_is_shared_only_where_both_want_it() -> None:
    [first] = listeners(Server(port=0), reuse_port=True)
    port = first.socket.getsockname()[1]
    with closing(first):
        with pytest.raises(CannotListenError, match=f"127.0.0.1:{port}: Address already in use"):
            listeners(Server(port=port))
        [second] = listeners(Server(port=port), reuse_port=True)
        second.close()


# What settings say.


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("server:\n  host: none\n", "2: server.host: may be none only where"),
        ("server:\n  port: 1\n  socket_mode: 660\n", "3: server.socket_mode: must be"),
        ("server:\n  socket_mode: '999'\n", "2: server.socket_mode: must be three octal digits"),
        (f"server:\n  socket: /{'x' * 107}\n", "2: server.socket: must be a path of at most 107"),
        ('server:\n  socket: "a\\nb"\n', "2: server.socket: must be a path"),
        ("server:\n  drain_seconds: 5\n  shutdown_seconds: 4\n", "2: server.drain_seconds: must"),
        ("server:\n  trusted_proxies: [me]\n", "2: server.trusted_proxies: must be addresses"),
        ("server:\n  trusted_proxies: [10.0.0.1/8]\n", "2: server.trusted_proxies: must be"),
    ],
)
def test_what_cannot_be_is_told_by_its_line(text: str, told: str) -> None:
    with pytest.raises(SettingsError) as caught:
        parse(text, file="my.yaml", environ={})
    assert str(caught.value).startswith(f"my.yaml:{told}")


def test_an_empty_variable_names_no_socket() -> None:
    for environ in ({}, {"EASEL_SOCKET": ""}):
        found = parse("server: {socket: '${EASEL_SOCKET:-}'}", environ=environ)
        assert found.server.socket == ""
        assert [it.is_unix for it in listeners_of(found.server)] == [False]


def listeners_of(server: Server) -> Iterator[Listener]:
    for listener in listeners(Server(port=0, socket=server.socket)):
        with closing(listener):
            yield listener


# Closing.


@asynccontextmanager
async def serving() -> AsyncIterator[web.AppRunner]:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(text="here")

    app = web.Application()
    app.router.add_get("/", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        yield runner
    finally:
        await runner.cleanup()


def knocking(listener: Listener, count: int) -> list[socket.socket]:
    """Ask on many connections, none of which anybody has taken yet."""
    clients = [socket.socket(listener.socket.family) for _ in range(count)]
    for client in clients:
        client.settimeout(10)
        client.connect(listener.socket.getsockname())
        client.sendall(ASKED)
    return clients


def answer_to(client: socket.socket) -> bytes:
    with client:
        return b"".join(iter(lambda: client.recv(1 << 16), b""))


@pytest.mark.parametrize("by", ["tcp", "unix"])
async def test_who_has_knocked_is_answered_though_the_door_is_closed(path: Path, by: str) -> None:
    unix = Server(host="none", socket=str(path))
    [listener] = listeners(unix if by == "unix" else Server(port=0))
    place = listener.socket.getsockname()
    async with serving() as runner:
        clients = knocking(listener, KNOCKING)
        await closed(await opened(runner, [listener], None, Timeouts()))
        answers = await asyncio.to_thread(lambda: list(map(answer_to, clients)))
        assert [it.endswith(b"here") for it in answers] == [True] * KNOCKING
        with socket.socket(listener_family(by)) as late, pytest.raises(OSError):  # noqa: PT011 - refused, or no file
            late.connect(place)


def listener_family(by: str) -> int:
    return socket.AF_UNIX if by == "unix" else socket.AF_INET


async def test_what_others_listen_on_too_is_left_to_them(path: Path) -> None:
    listener = made(path)
    ours = Listener(listener.socket.dup(), shared=True)
    with closing(listener):
        async with serving() as first:
            await closed(await opened(first, [ours], None, Timeouts()))
        async with serving() as second:
            [client] = knocking(listener, 1)
            doors = await opened(second, [listener], None, Timeouts())
            assert (await asyncio.to_thread(answer_to, client)).endswith(b"here")
            await closed(doors)


async def test_a_port_that_others_listen_on_too_loses_nobody() -> None:
    [first] = listeners(Server(port=0), reuse_port=True)
    [second] = listeners(Server(port=first.socket.getsockname()[1]), reuse_port=True)
    async with serving() as one, serving() as other:
        clients = knocking(first, KNOCKING)
        doors = await opened(other, [second], None, Timeouts())
        await closed(await opened(one, [first], None, Timeouts()))
        clients += await asyncio.to_thread(knocking, second, KNOCKING)
        answers = await asyncio.to_thread(lambda: list(map(answer_to, clients)))
        assert [it.endswith(b"here") for it in answers] == [True] * 2 * KNOCKING
        await closed(doors)


async def test_a_handshake_has_as_long_as_a_head(tmp_path: Path) -> None:
    pair = Authority(tmp_path).sign("server")
    [listener] = listeners(Server(port=0))
    async with serving() as runner:
        tls = Tls(str(pair.certificate), str(pair.key))
        doors = await opened(runner, [listener], tls, Timeouts(head=0.2))
        with socket.create_connection(listener.socket.getsockname()) as silent:
            silent.settimeout(10)
            started = time.monotonic()
            assert await asyncio.to_thread(silent.recv, 1) == b""
            assert time.monotonic() - started < 5
        await closed(doors)
