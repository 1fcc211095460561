"""The settings snapshot of a request, which keeps it from its start to its end."""

from __future__ import annotations

from aiohttp import web

from proxy.http.allowed_hosts import AllowedHosts
from proxy.routing.resolver import Resolver
from proxy.settings.loader import Settings


class SettingsSnapshot:
    """One version of the settings and the objects built from it. Never changed, only replaced.

    It also holds the look-up from requests to responses, which is valid for this version only.
    """

    __slots__ = ("allowed_hosts", "resolver", "response_digests", "settings")

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.resolver = Resolver(settings)
        self.allowed_hosts = AllowedHosts(settings.server)
        self.response_digests: dict[bytes, bytes] = {}
        """Digest of a raw request -> digest of its cached response."""


SNAPSHOT: web.RequestKey[SettingsSnapshot] = web.RequestKey("snapshot")
"""The settings snapshot that a request began with. Set by the access middleware."""
