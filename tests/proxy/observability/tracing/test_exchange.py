"""Every exchange has its span; the headers of a trace go where the credential goes."""

from __future__ import annotations

from typing import Any

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict
from yarl import URL

from adapters import get_adapter
from adapters.contract import Credentials
from adapters.http import ProviderRequest
from proxy.errors import BadRequest
from proxy.observability.tracing import hooks
from proxy.observability.tracing.exchange import url_template
from proxy.observability.tracing.spans import Tracer
from proxy.routing.plan import Target
from proxy.settings.schema import Tracing
from tests.support.gateway import ANSWER, PNG, Gateway, Provider, gateway, json_reply, provider
from tests.support.otlp import Received, fresh_receiver, otlp_receiver
from tests.support.spans import PARENT, SPAN, TRACE, UP, config, traced
from tests.support.waiting import forever

NONE: frozenset[str] = frozenset()
BAGGAGE = {"baggage": "user=alice,tenant=7;p=1", "tracestate": "vendor=t.usr:alice"}
SIGNED = "/a/b/c.png?X-Signature=sekret&Expires=9"


async def polled(fake: Provider, *, busy: int = 0) -> Received:
    """Request an image from a provider that is polled twice; first polls may be a 503."""
    polls = 0

    async def reply(request: web.Request) -> web.Response:
        nonlocal polls
        if request.path.endswith(".png"):
            return web.Response(body=PNG)
        if request.method == "POST":
            told = {"id": "j1", "polling_url": f"{fake.url}/v1/get_result?id=sekret-id"}
            return json_reply(told)
        polls += 1
        if polls <= busy:
            return json_reply({}, 503)
        if polls == busy + 1:
            return json_reply({"status": "Pending"})
        return json_reply({"status": "Ready", "result": {"sample": f"{fake.url}{SIGNED}"}})

    fake.reply = reply
    stored = f"{{provider: black-forest-labs, api_key: key-0123456789, custom_host: {fake.url}}}"
    with otlp_receiver() as receiver:
        tracing = f"{{endpoint: {receiver.url}, propagate: all}}"
        async with gateway(f"tracing: {tracing}\nvirtual_keys: {{up: {stored}}}\n") as ours:
            params = {"model": "flux-2-pro", "response_format": "b64_json"}
            assert (
                await ours.draw(params=params, traceparent=PARENT, **BAGGAGE, **UP)
            ).status == 200
        return await receiver.got()


async def test_every_poll_and_the_download_have_a_span_of_their_own() -> None:
    async with provider() as fake:
        seen = await polled(fake)
    below = seen.below(seen.of_kind("client")[0])
    assert [it.name for it in below] == ["POST /flux-2-pro", "GET", "GET", "GET image"]
    assert [it["http.response.status_code"] for it in below] == [200] * 4
    assert {it["server.address"] for it in below} == {"127.0.0.1"}
    assert b"sekret" not in seen.raw
    assert b"X-Signature" not in seen.raw


async def test_a_poll_that_is_asked_again_says_why() -> None:
    async with provider() as fake:
        seen = await polled(fake, busy=1)
    polls = [it for it in seen.spans if it.name == "GET"]
    assert [it["http.request.resend_count"] for it in polls] == [None, 1, None]
    assert [it["easel.retry.reason"] for it in polls] == [None, "503", None]


async def test_a_pictures_host_learns_nothing_of_the_trace() -> None:
    async with provider() as fake:
        await polled(fake)
        told = {it.method + it.path[-4:]: it.headers for it in fake.requests}
    assert {"traceparent", "baggage", "tracestate"} <= {it.lower() for it in told["POST-pro"]}
    assert not {"traceparent", "baggage", "tracestate"} & {it.lower() for it in told["GET.png"]}


async def test_what_was_lost_is_sent_again_for_that_reason() -> None:
    lost = False

    async def lost_once(request: web.Request) -> web.StreamResponse:
        nonlocal lost
        if lost:
            return json_reply(ANSWER)
        lost = True
        assert request.transport
        request.transport.abort()
        return web.Response()

    async def story(ours: Gateway, _: Provider) -> None:
        retry = {"attempts": 1, "on_status_codes": [502]}
        assert (await ours.draw(**config(virtual_key="up", retry=retry))).status == 200

    first, again = (await traced(story, lost_once)).named("POST /images")
    assert (first.failed, first["error.type"]) == (True, "connection_lost")
    assert (again.failed, again["easel.retry.reason"]) == (False, "connection_lost")
    assert "http.response.status_code" not in first.attributes


async def test_a_try_that_takes_too_long_ends_its_span() -> None:
    async def story(ours: Gateway, _: Provider) -> None:
        assert (await ours.draw(request_timeout="50", **UP)).status == 408

    async def never(request: web.Request) -> web.Response:
        del request
        await forever()
        return web.Response()

    [span] = (await traced(story, never)).named("POST /images")
    assert (span.failed, span["error.type"]) == (True, "timeout_error")


async def sent_along(propagate: str, **headers: str) -> tuple[Any, Received]:
    """Return the headers that a provider received with an image request, and the spans."""
    told: list[Any] = []

    async def story(ours: Gateway, fake: Provider) -> None:
        await ours.draw(**{"traceparent": PARENT, **BAGGAGE, **headers}, **UP)
        told.append(fake.requests[0].headers)

    seen = await traced(story, propagate=propagate)
    return told[0], seen


async def test_by_default_a_provider_gets_the_ids_and_no_data_of_the_callers() -> None:
    told, seen = await sent_along("trace")
    [span] = seen.named("POST /images")
    assert told["traceparent"] == f"00-{TRACE}-{span.id}-01"
    assert "baggage" not in told
    assert "tracestate" not in told


async def test_all_that_came_goes_on_where_the_operator_wants_that() -> None:
    told, _ = await sent_along("all")
    assert {name: told[name] for name in BAGGAGE} == BAGGAGE
    assert told["traceparent"].startswith(f"00-{TRACE}-")


async def test_nothing_goes_on_where_the_operator_wants_nothing() -> None:
    told, seen = await sent_along("none")
    assert not {"traceparent", "tracestate", "baggage"} & {name.lower() for name in told}
    assert seen.named("POST /images")


async def test_what_a_caller_forwards_itself_is_sent_as_it_is() -> None:
    told, _ = await sent_along("trace", forward_headers="traceparent, baggage")
    assert told.getall("traceparent") == [PARENT]
    assert told["baggage"] == BAGGAGE["baggage"]
    assert SPAN in told["traceparent"]


@pytest.mark.parametrize(
    ("asked", "name"),
    [
        (ProviderRequest("/a?b=c"), "POST /a"),
        (ProviderRequest(url="http://h/a", method="GET"), "GET"),
        (ProviderRequest(url="http://h/a", method="GET", authenticated=False), "GET image"),
        (ProviderRequest(url="http://h/a", authenticated=False), "POST token"),
    ],
)
async def test_an_exchange_is_named_by_what_it_is_for(asked: ProviderRequest, name: str) -> None:
    receiver, headers = await fresh_receiver(), list[Any]()

    async def send(of_trace: Any) -> Any:
        headers.append(of_trace)
        raise BadRequest("No.")

    target = Target(get_adapter("openai"), Credentials("key-0123456789"), "http://h")
    async with Tracer(Tracing(endpoint=receiver.url)) as tracer:
        with tracer.start_server_span("a", CIMultiDict(), {}), pytest.raises(BadRequest):
            await hooks.traced_send(send, target, asked, URL("http://h:81/a"))()
    [span] = (await receiver.got()).of_kind("client")
    assert (span.name, span["server.address"], span["server.port"]) == (name, "h", 81)
    assert span["error.type"] == "invalid_request"
    assert [*headers[0]] == (["traceparent"] if asked.authenticated else [])


@pytest.mark.parametrize(
    ("path", "template"),
    [
        ("/images/generations", "/images/generations"),
        ("/v1beta/models/gemini-3-pro-image:generateContent", None),
        ("/v2beta/stable-image/generate/core", None),
        ("/model/amazon.nova-canvas-v1%3A0/invoke", "/model/{id}/invoke"),
        ("/predictions/w3s4dxzkqdrj60cq5jfspaapb0", "/predictions/{id}"),
        ("/get_result?id=1", "/get_result"),
        ("/history/0f8fad5b-d9cb-469f-a165-70867728950e", "/history/{id}"),
        ("/queue/b1946ac92492d2347c6235b4d2611184/status", "/queue/{id}/status"),
        ("/task/1234567890/x", "/task/{id}/x"),
        ("/draw/a%20lighthouse%20at%20dawn", "/draw/{id}"),
        ("/keys/sk-stored-0123456789/x", "/keys/{id}/x"),
        ("", ""),
    ],
)
def test_a_path_is_told_without_what_is_one_requests_own(path: str, template: str | None) -> None:
    secrets = frozenset({"sk-stored-0123456789"})
    assert url_template(path, secrets) == (path if template is None else template)


@given(st.text(max_size=40), st.uuids())
def test_no_id_and_no_query_is_ever_told(text: str, name: object) -> None:
    told = url_template(f"/tasks/{name}/x?{text}", NONE)
    assert told == "/tasks/{id}/x"
