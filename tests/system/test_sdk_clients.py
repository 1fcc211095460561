"""The official SDKs, unmodified, against the running gateway: only the base URL is changed.

What every SDK must see is asserted once, for all four clients. `Portkey` is a wrapper around an
OpenAI SDK that it brings along, exceptions and all.
"""

from __future__ import annotations

import asyncio
import base64
import io
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from aiohttp import web
from openai import AsyncOpenAI, OpenAI
from PIL import Image
from portkey_ai import AsyncPortkey, createHeaders
from portkey_ai._vendor import openai as openai_in_portkey

from tests.support.gateway import (
    ANSWER,
    B64,
    KEY,
    always,
    gateway_to,
    json_reply,
)
from tests.support.gateway_process import serving
from tests.support.sdk_clients import (
    ASYNC,
    OPENAI,
    PORTKEY,
    UP,
    Client,
    draw,
    event,
    events,
    opened,
)

SETTINGS = f"""
api_keys: {{app: {{key: {KEY}}}}}
virtual_keys: {{sandbox: {{provider: sandbox}}}}
configs: {{pc-cached: {{virtual_key: sandbox, cache: {{mode: simple}}}}}}
"""


FAILURES = {
    400: "BadRequestError",
    401: "AuthenticationError",
    402: "APIStatusError",
    403: "PermissionDeniedError",
    404: "NotFoundError",
    409: "ConflictError",
    422: "UnprocessableEntityError",
    429: "RateLimitError",
    500: "InternalServerError",
    503: "InternalServerError",
}
"""A provider's status, and the class of exception that an SDK must raise for it."""


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A gateway in a process of its own."""
    folder: Path = tmp_path_factory.mktemp("gateway")
    (folder / "easel.yaml").write_text(SETTINGS)
    with serving(folder, "--config", "easel.yaml") as address:
        yield f"{address}/v1"


def to_the_sandbox(sdk: type) -> dict[str, Any]:
    """Name the provider as each SDK does; an OpenAI SDK that is told to does not retry."""
    if sdk in PORTKEY:
        return {"provider": "sandbox"}
    return {"default_headers": {"x-portkey-provider": "sandbox"}, "max_retries": 0}


@pytest.fixture(params=[*OPENAI, *PORTKEY], ids=lambda sdk: str(sdk.__name__))
async def client(request: pytest.FixtureRequest, url: str) -> AsyncIterator[Client]:
    """Each of the four clients, led to the sandbox."""
    async with opened(request.param, url, **to_the_sandbox(request.param)) as made:
        yield made


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep a developer's own HTTP proxy out of the way to 127.0.0.1."""
    monkeypatch.setenv("NO_PROXY", "*")


def fails_as(client: Client, name: str) -> pytest.RaisesExc[Any]:
    """Expect an exception of this name, of the client's own SDK, exactly."""
    home = openai if isinstance(client, OPENAI) else openai_in_portkey
    kind = getattr(home, name)
    return pytest.raises(kind, check=lambda error: type(error) is kind)


def picture(b64: str) -> Image.Image:
    """Decode a picture."""
    return Image.open(io.BytesIO(base64.b64decode(b64, validate=True)))


def portkey_headers(answer: Any) -> dict[str, str]:
    """Give an answer's x-portkey- headers, without that prefix, as Portkey's SDK shows them."""
    headers: dict[str, str] = answer.get_headers()
    return headers


# Pictures


async def test_a_picture_has_the_size_that_was_asked_for(client: Client) -> None:
    answer = await draw(client, size="192x128")
    drawn = picture(answer.data[0].b64_json)
    assert (drawn.format, drawn.size) == ("PNG", (192, 128))


async def test_a_picture_has_the_format_that_was_asked_for(client: Client) -> None:
    answer = await draw(client, output_format="webp", output_compression=50)
    assert picture(answer.data[0].b64_json).format == "WEBP"


async def test_a_url_answer_leads_to_the_picture(client: Client) -> None:
    (entry,) = (await draw(client, response_format="url")).data
    assert entry.b64_json is None
    async with httpx.AsyncClient() as browser:
        got = await browser.get(entry.url)
    assert (got.status_code, got.headers["content-type"]) == (200, "image/png")
    assert Image.open(io.BytesIO(got.content)).size == (64, 64)


async def test_three_pictures_are_three_different_ones(client: Client) -> None:
    answer = await draw(client, n=3)
    assert len({entry.b64_json for entry in answer.data}) == len(answer.data) == 3


async def test_an_answer_says_what_it_cost(client: Client) -> None:
    answer = await draw(client)
    usage = answer.usage if isinstance(client, OPENAI) else answer.model_extra["usage"]
    usage = usage if isinstance(usage, dict) else usage.model_dump()
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"] > 0


async def test_a_stream_comes_as_the_sdks_own_events(client: Client) -> None:
    first, second, last = await events(client, partial_images=2)
    assert [type(it).__name__ for it in (first, second)] == ["ImageGenPartialImageEvent"] * 2
    assert [first.partial_image_index, second.partial_image_index] == [0, 1]
    assert type(last).__name__ == "ImageGenCompletedEvent"
    assert last.usage.total_tokens > 0
    assert {picture(event.b64_json).size for event in (first, second, last)} == {(64, 64)}


async def test_a_stream_and_an_answer_show_the_same_picture(client: Client) -> None:
    (event,) = await events(client)
    assert event.b64_json == (await draw(client)).data[0].b64_json


async def test_models_are_listed(client: Client) -> None:
    listing: Any = client.models.list()
    listed = await listing if isinstance(client, ASYNC) else listing
    assert [model.id for model in listed.data] == ["@sandbox/sandbox-1"]


# Failures


async def test_a_status_is_raised_as_the_sdks_exception(client: Client) -> None:
    for status, name in FAILURES.items():
        with fails_as(client, name) as failure:
            await draw(client, extra_body={"status": status})
        assert failure.value.status_code == status
        assert failure.value.response.headers["x-portkey-trace-id"]


async def test_a_failure_carries_the_whole_error_object(client: Client) -> None:
    with fails_as(client, "RateLimitError") as failure:
        await draw(client, extra_body={"status": 429})
    error = failure.value
    assert error.body.keys() == {"message", "type", "param", "code"}
    assert (error.type, error.code) == ("rate_limit_error", "rate_limit_exceeded")
    assert error.response.headers["retry-after"] == "1"


async def test_a_failure_before_a_stream_is_raised_at_once(client: Client) -> None:
    with fails_as(client, "InternalServerError"):
        await draw(client, stream=True, extra_body={"status": 503})


async def test_a_bad_size_is_named(client: Client) -> None:
    with fails_as(client, "BadRequestError") as failure:
        await draw(client, size="9x9")
    assert (failure.value.code, failure.value.param) == ("invalid_value", "size")


async def test_a_refusal_is_told_by_its_code(client: Client) -> None:
    with fails_as(client, "BadRequestError") as failure:
        await draw(client, extra_body={"refuse": True})
    assert failure.value.code == "moderation_blocked"


async def test_an_unknown_provider_is_a_bad_request(client: Client) -> None:
    with fails_as(client, "BadRequestError") as failure:
        await draw(client, extra_headers={"x-portkey-provider": "sandbax"})
    assert (failure.value.code, failure.value.param) == ("unknown_provider", "x-portkey-provider")
    assert "did you mean sandbox?" in failure.value.body["message"]


@pytest.mark.parametrize("sdk", [*OPENAI, *PORTKEY])
async def test_a_wrong_gateway_key_is_an_authentication_error(sdk: type, url: str) -> None:
    options = to_the_sandbox(sdk) | {"api_key": "easel-another-key-0123456789"}
    async with opened(sdk, url, **options) as stranger:
        with fails_as(stranger, "AuthenticationError") as failure:
            await draw(stranger)
    assert failure.value.code == "invalid_api_key"


async def test_an_unknown_route_is_not_found(url: str) -> None:
    async with opened(AsyncOpenAI, url) as client:
        with fails_as(client, "NotFoundError") as failure:
            await client.embeddings.create(model="m", input="a cube")
    assert failure.value.code == "unknown_route"


async def test_a_client_that_waits_no_longer_gets_its_own_timeout(client: Client) -> None:
    with fails_as(client, "APITimeoutError"):
        await draw(client, size="1024x1024", timeout=0.1, extra_body={"latency_ms": 5000})


async def test_the_timeout_that_a_header_asks_for_is_a_408(client: Client) -> None:
    with fails_as(client, "APIStatusError") as failure:
        await draw(
            client,
            extra_headers={"x-portkey-request-timeout": "50"},
            extra_body={"latency_ms": 2000},
        )
    assert (failure.value.status_code, failure.value.type) == (408, "timeout_error")


async def test_an_answer_cut_before_anything_arrived_is_explained(client: Client) -> None:
    with fails_as(client, "InternalServerError") as failure:
        await draw(client, extra_body={"cut_after": 100})
    assert (failure.value.status_code, failure.value.code) == (502, "connection_lost")


async def test_an_answer_cut_under_way_is_a_connection_error(client: Client) -> None:
    # Portkey's SDK asks again, and is told what became of it.
    name = "APIConnectionError" if isinstance(client, OPENAI) else "InternalServerError"
    with fails_as(client, name):
        await draw(client, size="1024x1024", extra_body={"cut_after": 90_000})


async def test_a_stream_cut_under_way_does_not_look_whole(client: Client) -> None:
    # What Portkey's SDK brings along lets its HTTP client's own exception through.
    with pytest.raises((openai.APIConnectionError, httpx.TransportError)):
        await events(client, partial_images=2, extra_body={"cut_after": 6000})


# Naming the provider


async def test_a_model_name_and_the_gateway_key_are_enough(url: str) -> None:
    async with opened(AsyncOpenAI, url) as client:
        answer = await client.images.with_raw_response.generate(
            model="@sandbox/sandbox-1", prompt="a cube", size="64x64"
        )
    assert answer.headers["x-portkey-provider"] == "sandbox"
    assert picture(answer.parse().data[0].b64_json).size == (64, 64)


async def test_portkeys_headers_lead_openais_sdk(url: str) -> None:
    make: Any = createHeaders
    headers = make(virtual_key="sandbox", trace_id="page-7", metadata={"_user": "u1"})
    async with opened(AsyncOpenAI, url, default_headers=headers) as client:
        answer = await client.images.with_raw_response.generate(prompt="a cube", size="64x64")
    assert answer.headers["x-portkey-trace-id"] == "page-7"
    assert answer.headers["x-portkey-last-used-option-index"] == "config"


@pytest.mark.parametrize("sdk", PORTKEY)
@pytest.mark.parametrize(
    "options",
    [
        {"provider": "sandbox"},
        {"provider": "sandbox", "Authorization": "a-key-of-the-providers"},
        {"provider": "@sandbox"},
        {"virtual_key": "sandbox"},
        {"config": "pc-cached"},
        {"config": {"virtual_key": "sandbox"}},
        {"config": {"strategy": {"mode": "single"}, "targets": [{"provider": "@sandbox"}]}},
    ],
    ids=str,
)
async def test_portkeys_sdk_names_a_provider(sdk: type, options: Any, url: str) -> None:
    async with opened(sdk, url, **options) as client:
        answer = await draw(client)
    assert portkey_headers(answer)["provider"] == "sandbox"
    assert picture(answer.data[0].b64_json).size == (64, 64)


async def test_portkeys_sdk_overrides_a_parameter_by_config(url: str) -> None:
    config = {"provider": "sandbox", "override_params": {"size": "32x32"}}
    async with opened(AsyncPortkey, url, config=config) as client:
        answer = await draw(client, size="64x64")
    assert picture(answer.data[0].b64_json).size == (32, 32)


async def test_portkeys_sdk_is_told_where_a_config_is_wrong(url: str) -> None:
    config = {"provider": "sandbox", "cache": {"mode": "exact"}}
    async with opened(AsyncPortkey, url, config=config) as client:
        with fails_as(client, "BadRequestError") as failure:
            await draw(client)
    assert failure.value.code == "invalid_config"
    assert failure.value.param.startswith("cache")


# Asking for more than a picture


@pytest.mark.parametrize("sdk", PORTKEY)
async def test_a_trace_id_comes_back_to_portkeys_sdk(sdk: type, url: str) -> None:
    async with opened(sdk, url, provider="sandbox", trace_id="page-7") as client:
        assert portkey_headers(await draw(client))["trace-id"] == "page-7"


@pytest.mark.parametrize("sdk", PORTKEY)
async def test_portkeys_sdk_refreshes_the_cache(sdk: type, url: str) -> None:
    statuses = []
    for refresh in (False, False, True, False):
        options = {"config": "pc-cached", "cache_force_refresh": refresh}
        async with opened(sdk, url, cache_namespace=sdk.__name__, **options) as client:
            statuses.append(portkey_headers(await draw(client))["cache-status"])
    assert statuses == ["MISS", "HIT", "REFRESH", "HIT"]


async def test_metadata_of_portkeys_sdk_divides_the_cache(url: str) -> None:
    statuses = []
    for user in ("u1", "u2", "u1"):
        options = {"config": "pc-cached", "metadata": {"_user": user}}
        async with opened(AsyncPortkey, url, **options) as client:
            statuses.append(portkey_headers(await draw(client))["cache-status"])
    assert statuses == ["MISS", "MISS", "HIT"]


async def test_portkeys_sdk_bounds_the_time(url: str) -> None:
    async with opened(AsyncPortkey, url, provider="sandbox", request_timeout=50) as client:
        with fails_as(client, "APIStatusError") as failure:
            await draw(client, extra_body={"latency_ms": 2000})
    assert failure.value.status_code == 408


KEPT = {"x-easel-keepalive": "1"}


async def test_every_sdk_reads_what_was_begun_early(client: Client) -> None:
    late = {"extra_headers": KEPT, "extra_body": {"latency_ms": 1200}}
    refused = {"extra_headers": KEPT, "extra_body": {"latency_ms": 1200, "refuse": True}}
    drawn, (last,), failed, raised = await asyncio.gather(
        *(draw(client, **late), events(client, **late)),
        *(draw(client, **refused), events(client, **refused)),
        return_exceptions=True,
    )
    for b64 in (drawn.data[0].b64_json, last.b64_json):
        assert picture(b64).size == (64, 64)
    # No SDK raises what stands in a 200: documented as the price of keepalive.
    assert (failed.data, failed.error["code"]) == (None, "moderation_blocked")
    assert (type(raised).__name__, raised.code) == ("APIError", "moderation_blocked")


async def test_the_gateways_headers_can_be_read_raw(url: str) -> None:
    async with opened(OpenAI, url, **to_the_sandbox(OpenAI)) as client:
        generate = client.images.with_raw_response.generate
        answer = await asyncio.to_thread(generate, prompt="a cube", size="64x64")
    told = {name: value for name, value in answer.headers.items() if name.startswith("x-portkey-")}
    assert len(told.pop("x-portkey-trace-id")) > 16
    assert told == {
        "x-portkey-provider": "sandbox",
        "x-portkey-last-used-option-index": "config",
        "x-portkey-retry-attempt-count": "0",
        "x-portkey-cache-status": "DISABLED",
    }


# A provider that does as it is told


async def test_a_custom_host_gets_the_key_that_portkeys_sdk_sent() -> None:
    async with gateway_to(more="trusted_custom_hosts: [127.0.0.1]") as (ours, fake):
        options = {"custom_host": f"{fake.url}/v1", "Authorization": "a-key-of-the-callers"}
        async with opened(AsyncPortkey, f"{ours.url}/v1", provider="openai", **options) as client:
            answer = await draw(client, model="gpt-image-2")
    assert answer.data[0].b64_json == B64
    assert fake.requests[0].path == "/v1/images/generations"
    assert fake.requests[0].headers["authorization"] == "Bearer a-key-of-the-callers"


async def test_a_custom_host_that_is_not_trusted_is_refused_to_portkeys_sdk() -> None:
    async with gateway_to() as (ours, fake):
        options = {"custom_host": f"{fake.url}/v1", "Authorization": "a-key-of-the-callers"}
        async with opened(AsyncPortkey, f"{ours.url}/v1", provider="openai", **options) as client:
            with fails_as(client, "BadRequestError") as failure:
                await draw(client)
    assert (failure.value.code, fake.requests) == ("invalid_custom_host", [])


@pytest.mark.parametrize("sdk", [*OPENAI, *PORTKEY])
async def test_a_provider_sees_its_own_key_and_nothing_of_the_clients(sdk: type) -> None:
    options = {"virtual_key": "up"} if sdk in PORTKEY else UP
    async with gateway_to() as (ours, fake), opened(sdk, f"{ours.url}/v1", **options) as client:
        await draw(client, model="gpt-image-2")
    headers = fake.requests[0].headers
    assert headers["authorization"] == "Bearer test-key-0123456789"
    assert not [name for name in headers if name.lower().startswith(("x-portkey", "x-stainless"))]
    assert KEY not in str(headers)


async def test_fields_that_nobody_knows_pass_both_ways() -> None:
    reply = always({**ANSWER, "mood": "calm"})
    async with (
        gateway_to(reply) as (ours, fake),
        opened(AsyncOpenAI, f"{ours.url}/v1", **UP) as client,
    ):
        answer = await draw(client, extra_body={"wish": "calm"})
    assert fake.sent["wish"] == "calm"
    assert answer.model_extra == {"mood": "calm"}


async def test_the_providers_request_id_reaches_the_client() -> None:
    async with (
        gateway_to(always(ANSWER, x_request_id="req_7")) as (ours, _),
        opened(AsyncOpenAI, f"{ours.url}/v1", **UP) as client,
    ):
        assert (await draw(client))._request_id == "req_7"


async def test_an_event_of_megabytes_arrives_whole() -> None:
    async def streaming(request: web.Request) -> web.StreamResponse:
        del request
        return web.Response(body=event("completed", B64 * 40_000), content_type="text/event-stream")

    async with (
        gateway_to(streaming) as (ours, _),
        opened(AsyncOpenAI, f"{ours.url}/v1", **UP) as client,
    ):
        (last,) = await events(client)
    assert len(last.b64_json) == len(B64) * 40_000 > 3_000_000


async def test_an_event_arrives_before_the_next_one_is_made() -> None:
    seen = asyncio.Event()

    async def streaming(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        await response.write(event("partial_image", B64, partial_image_index=0))
        await seen.wait()
        await response.write(event("completed", B64))
        return response

    async with (
        asyncio.timeout(10),
        gateway_to(streaming) as (ours, _),
        opened(AsyncOpenAI, f"{ours.url}/v1", **UP) as client,
    ):
        async for it in await draw(client, stream=True):
            assert it.type == "image_generation.completed" or not seen.is_set()
            seen.set()


# The SDKs' own retries


def failing_once(status: int, **headers: str) -> Any:
    """Make a reply that is an error the first time, and pictures from then on."""
    replies = iter([json_reply({"error": {"message": "No.", "code": "c"}}, status, **headers)])

    async def reply(request: web.Request) -> web.StreamResponse:
        del request
        return next(replies, None) or json_reply(ANSWER)

    return reply


async def test_openais_sdk_waits_as_long_as_the_provider_says() -> None:
    async with (
        gateway_to(failing_once(429, retry_after_ms="20")) as (ours, fake),
        opened(AsyncOpenAI, f"{ours.url}/v1", max_retries=1, **UP) as client,
    ):
        answer = await draw(client)
    assert (answer.data[0].b64_json, len(fake.requests)) == (B64, 2)


async def test_a_provider_keeps_openais_sdk_from_asking_again() -> None:
    async with (
        gateway_to(failing_once(500, x_should_retry="false")) as (ours, fake),
        opened(AsyncOpenAI, f"{ours.url}/v1", max_retries=2, **UP) as client,
    ):
        with fails_as(client, "InternalServerError"):
            await draw(client)
    assert len(fake.requests) == 1


@pytest.mark.parametrize("status", [429, 500, 502, 503])
async def test_portkeys_sdk_does_not_buy_a_picture_twice(status: int) -> None:
    async with (
        gateway_to(failing_once(status)) as (ours, fake),
        opened(AsyncPortkey, f"{ours.url}/v1", virtual_key="up") as client,
    ):
        with pytest.raises(openai_in_portkey.APIStatusError):
            await draw(client)
    assert len(fake.requests) == 1
