"""Reservation of the workers' address."""

from __future__ import annotations

import socket

import pytest

from proxy.server.listeners import CannotListenError
from proxy.settings.schema import Server
from proxy.workers.port import reserve_port


def listening(port: int, *, shared: bool) -> socket.socket:
    return socket.create_server(("127.0.0.1", port), reuse_port=shared)


def test_a_free_port_is_found_and_can_be_shared() -> None:
    with reserve_port(Server(host="127.0.0.1", port=0)) as port:
        with listening(port, shared=True), listening(port, shared=True):
            pass
        with pytest.raises(OSError, match="in use"):
            socket.create_server(("127.0.0.1", port), reuse_port=False).close()


@pytest.mark.parametrize("shared", [True, False])
def test_an_address_with_a_listener_is_not_free(*, shared: bool) -> None:
    with listening(0, shared=shared) as other:
        port = other.getsockname()[1]
        with (
            pytest.raises(CannotListenError, match="Address already in use"),
            reserve_port(Server(host="127.0.0.1", port=port)),
        ):
            pass


def test_two_gateways_do_not_share_a_port() -> None:
    with (
        reserve_port(Server(host="127.0.0.1", port=0)) as port,
        listening(port, shared=True),
        pytest.raises(CannotListenError),
        reserve_port(Server(host="127.0.0.1", port=port)),
    ):
        pass


def test_closing_connections_do_not_block_the_address() -> None:
    with listening(0, shared=False) as other:
        port = other.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)):
            other.accept()[0].close()  # This side closes first, and lingers.
    with reserve_port(Server(host="127.0.0.1", port=port)) as held:
        assert held == port


@pytest.mark.parametrize("host", ["", "localhost"])
def test_all_addresses_of_a_name_are_reserved(host: str) -> None:
    with reserve_port(Server(host=host, port=0)) as port:
        assert port


@pytest.mark.parametrize("host", ["192.0.2.1", "a..b", "no.such.host.invalid"])
def test_a_foreign_address_is_a_readable_error(host: str) -> None:
    with pytest.raises(CannotListenError, match=r"[a-z]"), reserve_port(Server(host=host, port=0)):
        pass


def test_errors_inside_the_reservation_are_not_mapped() -> None:
    with pytest.raises(OSError, match="disk"), reserve_port(Server(host="127.0.0.1", port=0)):
        raise OSError("disk")
