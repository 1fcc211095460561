"""Which failures cause a fallback to the next target, and how failed targets are reported."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

from adapters.errors import ImageError, ProviderError, Refusal
from proxy.http.status import OK
from proxy.routing.plan import Target
from proxy.settings.routing_config import Strategy

_MAX_MESSAGE_LENGTH, _MAX_CODE_LENGTH = 200, 64
"""Maximum characters of message and code in each target's report."""


def should_fall_back(error: ImageError, strategy: Strategy) -> bool:
    """Return whether a failure causes a fallback to the next target.

    With `on_status_codes` only those statuses do: the provider's, or the one that the client would
    get. Without it every failure does, except a refusal of the prompt: the next provider may be
    stricter or more permissive, so that needs `on_refusal: next`, or its status in
    `on_status_codes`.
    """
    if strategy.on_status_codes is not None:
        statuses = {error.status}
        if isinstance(error, ProviderError) and error.provider_status != OK:
            statuses.add(error.provider_status)
        if isinstance(error, Refusal) and strategy.on_refusal:
            return True
        return bool(statuses & strategy.on_status_codes)
    return strategy.on_refusal or not isinstance(error, Refusal)


@dataclass(frozen=True, slots=True)
class TargetFailure:
    """The failure of one target, as reported to the client."""

    index: str
    provider: str
    status: int
    code: str | None
    message: str

    @classmethod
    def from_error(cls, target: Target, error: ImageError, status: int) -> Self:
        """Return the failure of a target, with message and code shortened."""
        code = error.code and error.code[:_MAX_CODE_LENGTH]
        message = error.message[:_MAX_MESSAGE_LENGTH]
        return cls(target.config_path, target.adapter.id, status, code, message)

    def to_json(self) -> dict[str, Any]:
        """Return its JSON in `attempts` of the response."""
        return {name: getattr(self, name) for name in self.__slots__}


def failure_status(error: ImageError) -> int:
    """Return the status that decides: the provider's, if it sent one."""
    if isinstance(error, ProviderError) and error.provider_status != OK:
        return error.provider_status
    return error.status
