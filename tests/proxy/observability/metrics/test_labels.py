"""Every label is of a fixed set, whatever a caller or a provider says."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

import adapters
from adapters.contract import Adapter
from adapters.errors import BadParam, ImageError, ProviderError, Refusal
from proxy.errors import (
    BadRequest,
    BlobStoreFailed,
    GatewayError,
    Overloaded,
    RequestTimeout,
    Unauthorized,
    UpstreamFailed,
)
from proxy.observability.metrics.labels import (
    ATTEMPT_RESULTS,
    NONE,
    OTHER,
    OUTCOMES,
    error_outcome,
    model_family,
)
from tests.support.metrics import families_of

EVERY = [adapters.get_adapter(name) for name in adapters.PROVIDERS]


@given(st.sampled_from(EVERY), st.text(max_size=40))
def test_no_name_of_a_model_makes_a_family_of_its_own(adapter: Adapter, model: str) -> None:
    assert model_family(adapter, model) in families_of(adapter.id)


def test_a_model_that_is_known_is_never_other() -> None:
    for adapter in map(adapters.get_adapter, adapters.PROVIDERS):
        assert OTHER not in {model_family(adapter, model) for model in adapter.models}, adapter.id


def test_a_version_belongs_to_its_family_and_a_strangers_name_to_none() -> None:
    it = adapters.get_adapter("openai")
    assert model_family(it, "dall-e-3-of-next-week") == model_family(it, "dall-e-3") == "dall-e-3"
    assert (model_family(it, "my-own"), model_family(it, "")) == (OTHER, NONE)


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (BadParam("size", "No."), "client_error"),
        (BadRequest("No."), "client_error"),
        (GatewayError("Loop.", status=508, type="invalid_request_error"), "client_error"),
        (Unauthorized("Who?"), "unauthorized"),
        (Refusal("No."), "refused"),
        (ProviderError("Slowly.", provider_status=429, status=429), "rate_limited"),
        (Overloaded("Later."), "overloaded"),
        (RequestTimeout("Late."), "timeout"),
        (GatewayError("Still.", status=504, code="still_working"), "timeout"),
        (ProviderError("Late.", provider_status=504, status=504), "timeout"),
        (UpstreamFailed("Gone."), "provider_error"),
        (ProviderError("Down.", provider_status=503, status=503), "provider_error"),
        (ProviderError("Whose key?", provider_status=401, status=401), "provider_error"),
        (BlobStoreFailed("Full."), "gateway_error"),
        (GatewayError("A bug."), "gateway_error"),
    ],
)
def test_every_failure_has_its_outcome(error: ImageError, outcome: str) -> None:
    assert error_outcome(error) == outcome
    assert outcome in OUTCOMES
    assert outcome in ATTEMPT_RESULTS
