"""Asks a running gateway how it is, as a container's health check does."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
from contextlib import closing
from urllib.parse import urlsplit

from proxy.http.allowed_hosts import is_loopback

LIVENESS_PATH, READINESS_PATH = "/healthz", "/readyz"
_MAX_RESPONSE_BYTES = 65_536


class HealthCheckError(Exception):
    """The gateway does not answer, or says no; the message says which."""


class _UnixSocketConnection(http.client.HTTPConnection):
    """Speaks HTTP over a unix socket."""

    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        """Connect to the socket instead of a port."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def check(address: str, path: str, *, seconds: float) -> str:
    """Ask a gateway at a URL or a unix socket; gives its status, raises `UnwellError`.

    What begins with `http://` or `https://` is a URL, all else the path of a socket.
    """
    try:
        with closing(_connection(address, seconds)) as connection:
            connection.request("GET", path)
            response = connection.getresponse()
            status = _status(response.read(_MAX_RESPONSE_BYTES))
    except (OSError, ValueError, http.client.HTTPException) as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise HealthCheckError(f"{address} does not answer: {reason}") from error
    if response.status != http.client.OK:
        raise HealthCheckError(f"{address} answers {response.status} {status}".rstrip())
    return status


def _connection(address: str, seconds: float) -> http.client.HTTPConnection:
    """Make a connection that is not open yet."""
    if not address.startswith(("http://", "https://")):
        return _UnixSocketConnection(address, seconds)
    parts = urlsplit(address)
    host = parts.hostname or ""
    if parts.scheme == "http":
        return http.client.HTTPConnection(host, parts.port, timeout=seconds)
    context = ssl.create_default_context()
    if is_loopback(host):
        # Its certificate is for the name that clients know; nothing secret is sent or believed.
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return http.client.HTTPSConnection(host, parts.port, timeout=seconds, context=context)


def _status(body: bytes) -> str:
    try:
        return str(json.loads(body)["status"])
    except (ValueError, KeyError, TypeError):
        return ""
