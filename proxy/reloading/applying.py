"""Holds the settings in force for an application, and puts others in their place."""

from __future__ import annotations

from proxy.reloading.current import Current
from proxy.settings import Settings


class Reloading:
    """What is in force: `current` is replaced as one, between two requests."""

    def __init__(self, settings: Settings) -> None:
        self.current = Current(settings)
