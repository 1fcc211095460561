"""Which failures cause a fallback to the next target."""

from __future__ import annotations

import pytest

from adapters import get_adapter
from adapters.contract import Credentials
from adapters.errors import BadParam, ImageError, ProviderError, refusal
from proxy.errors import RequestTimeout, UpstreamFailed
from proxy.routing.fallback import TargetFailure, failure_status, should_fall_back
from proxy.routing.plan import Target
from proxy.settings.routing_config import Strategy


def provider(status: int, client: int = 502) -> ProviderError:
    return ProviderError("m", provider_status=status, status=client)


@pytest.mark.parametrize(
    ("error", "codes", "next_on_refusal", "expected"),
    [
        (provider(500), None, False, True),
        (provider(200), None, False, True),
        (UpstreamFailed("m"), None, False, True),
        (RequestTimeout("m"), None, False, True),
        (BadParam("size", "m"), None, False, True),
        (refusal("m"), None, False, False),
        (refusal("m"), None, True, True),
        (refusal("m"), {400}, False, True),
        (refusal("m"), {429}, False, False),
        (refusal("m"), {429}, True, True),
        (provider(500), {429}, False, False),
        (provider(429, 429), {429}, False, True),
        (provider(500), {500}, False, True),
        (provider(500), {502}, False, True),
        (RequestTimeout("m"), {408}, False, True),
        (UpstreamFailed("m"), {429, 500}, False, False),
    ],
)
def test_what_falls(
    error: ImageError,
    codes: set[int] | None,
    next_on_refusal: bool,  # noqa: FBT001 - a case's value
    expected: bool,  # noqa: FBT001 - the same
) -> None:
    statuses = frozenset(codes) if codes else None
    strategy = Strategy("fallback", on_status_codes=statuses, on_refusal=next_on_refusal)
    assert should_fall_back(error, strategy) is expected


def test_what_a_target_said_is_told_in_short() -> None:
    long = ProviderError("m" * 600, code="c" * 5000, provider_status=500)
    target = Target(get_adapter("openai"), Credentials(), "https://x.test")
    said = TargetFailure.from_error(target, long, 500)
    assert (len(said.message), len(said.code or "")) == (200, 64)


def test_a_failure_is_judged_by_the_providers_own_status_where_it_sent_one() -> None:
    assert failure_status(provider(429, client=400)) == 429
    assert failure_status(provider(200, client=502)) == failure_status(UpstreamFailed("m")) == 502
