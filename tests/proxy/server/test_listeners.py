"""Which sockets the gateway makes, and what it leaves alone."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from proxy.server.listeners import CannotListenError, Listener, open_listeners
from proxy.settings.loader import SettingsError, parse
from proxy.settings.schema import Server


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a socket path that is short enough wherever the tests run."""
    monkeypatch.chdir(tmp_path)
    return Path("easel.sock")


def made(path: Path, **more: Any) -> Listener:
    [listener] = open_listeners(Server(host="none", socket=str(path), **more))
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
        assert "another process is listening on it" in refused(path)
        assert path.exists()


def test_a_socket_that_has_too_much_to_do_is_left_alone(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as busy, socket.socket(socket.AF_UNIX) as first:
        busy.bind(str(path))
        busy.listen(0)
        first.connect(str(path))
        assert "another process is listening on it" in refused(path)


@pytest.mark.parametrize("kind", ["file", "folder", "link"])
def test_what_is_no_socket_is_left_alone(path: Path, kind: str) -> None:
    if kind == "file":
        path.touch()
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to("nowhere")
    assert "the path exists and is not a socket" in refused(path)
    assert os.path.lexists(path)


def test_a_folder_that_is_missing_is_named(path: Path) -> None:
    assert "the folder nowhere does not exist" in refused("nowhere" / path)


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
        open_listeners(Server(port=port, socket=str("nowhere" / path)))
    socket.create_server(("127.0.0.1", port)).close()


# TCP.


def test_every_address_of_a_name_has_the_same_port() -> None:
    found = open_listeners(Server(host="", port=0))
    try:
        assert len({it.socket.getsockname()[1] for it in found}) == 1
        assert {it.socket.family for it in found} >= {socket.AF_INET}
    finally:
        for listener in found:
            listener.close()


def test_a_port_is_shared_only_where_both_want_it() -> None:
    [first] = open_listeners(Server(port=0), reuse_port=True)
    port = first.socket.getsockname()[1]
    with closing(first):
        with pytest.raises(CannotListenError, match=f"127.0.0.1:{port}: Address already in use"):
            open_listeners(Server(port=port))
        [second] = open_listeners(Server(port=port), reuse_port=True)
        second.close()


# What settings say.


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("server:\n  host: none\n", "2: server.host: may be none only if"),
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
    for listener in open_listeners(Server(port=0, socket=server.socket)):
        with closing(listener):
            yield listener


# Closing.
