"""The settings in force, and all that is made of them: what a request began with, it ends with."""

from __future__ import annotations

from aiohttp import web

from proxy.http.allowed_hosts import AllowedHosts
from proxy.routing.resolver import Resolver
from proxy.settings.loader import Settings


class SettingsSnapshot:
    """One reading of the settings, and what is made of it. It is never changed, only replaced.

    Whatever is remembered of requests as they came lies here as well: it ends with what it came of.
    """

    __slots__ = ("allowed_hosts", "resolver", "response_digests", "settings")

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.resolver = Resolver(settings)
        self.allowed_hosts = AllowedHosts(settings.server)
        self.response_digests: dict[bytes, bytes] = {}
        """From the digest of a request as it came to that of what its answer is made of."""


SNAPSHOT: web.RequestKey[SettingsSnapshot] = web.RequestKey("snapshot")
"""The settings snapshot that a request began with. Set by the access middleware."""
