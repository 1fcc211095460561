"""`easel health`: checks a running gateway, for health checks of containers."""

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
    """The gateway does not respond, or is not healthy; the message says which."""


class _UnixSocketConnection(http.client.HTTPConnection):
    """An HTTP connection over a Unix socket."""

    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        """Connect to the socket."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def check(address: str, path: str, *, seconds: float) -> str:
    """Send GET `path` to a gateway and return its status; raises `HealthCheckError`.

    `address` is a URL that begins with `http://` or `https://`, or the path of a Unix socket.
    """
    try:
        with closing(_connection(address, seconds)) as connection:
            connection.request("GET", path)
            response = connection.getresponse()
            status = _status(response.read(_MAX_RESPONSE_BYTES))
    except (OSError, ValueError, http.client.HTTPException) as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise HealthCheckError(f"{address} does not respond: {reason}") from error
    if response.status != http.client.OK:
        raise HealthCheckError(f"{address} responded with {response.status} {status}".rstrip())
    return status


def _connection(address: str, seconds: float) -> http.client.HTTPConnection:
    """Return a connection that is not open yet."""
    if not address.startswith(("http://", "https://")):
        return _UnixSocketConnection(address, seconds)
    parts = urlsplit(address)
    host = parts.hostname or ""
    if parts.scheme == "http":
        return http.client.HTTPConnection(host, parts.port, timeout=seconds)
    context = ssl.create_default_context()
    if is_loopback(host):
        # The certificate is for the public name; nothing secret is sent or received.
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return http.client.HTTPSConnection(host, parts.port, timeout=seconds, context=context)


def _status(body: bytes) -> str:
    try:
        return str(json.loads(body)["status"])
    except (ValueError, KeyError, TypeError):
        return ""
