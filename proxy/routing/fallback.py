"""When a failure falls through to the next target, and what is told of those that failed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

from adapters.errors import ImageError, ProviderError, Refusal
from proxy.http.status import OK
from proxy.routing.plan import Target
from proxy.settings.routing_config import Strategy

_MAX_MESSAGE_LENGTH, _MAX_CODE_LENGTH = 200, 64
"""Characters of a failure's message and code that are told again, for each target."""


def should_fall_back(error: ImageError, strategy: Strategy) -> bool:
    """Tell whether a failure falls through.

    With `on_status_codes` only those statuses do, the provider's own or the one the client would
    get. Without them everything does but a refusal: the next provider may be stricter or laxer by
    design, so that has to be asked for (`on_refusal: next`, or its status in `on_status_codes`).
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
    """How one target failed, for the client."""

    index: str
    provider: str
    status: int
    code: str | None
    message: str

    @classmethod
    def from_error(cls, target: Target, error: ImageError, status: int) -> Self:
        """Note how a target failed."""
        code = error.code and error.code[:_MAX_CODE_LENGTH]
        message = error.message[:_MAX_MESSAGE_LENGTH]
        return cls(target.config_path, target.adapter.id, status, code, message)

    def to_json(self) -> dict[str, Any]:
        """Give it as it stands in the client's answer, under `attempts`."""
        return {name: getattr(self, name) for name in self.__slots__}


def failure_status(error: ImageError) -> int:
    """Give the status by which a failure is judged: the provider's own where it sent one."""
    if isinstance(error, ProviderError) and error.provider_status != OK:
        return error.provider_status
    return error.status
