"""Where spans go, and that nobody waits for a receiver that is away, slow or stuck."""

from __future__ import annotations

import asyncio
import io
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import orjson
import pytest

from proxy.observability.tracing import export
from proxy.observability.tracing.spans import Tracer
from proxy.settings.schema import Tracing
from tests.support.gateway import PATH, Gateway, Provider, gateway_to
from tests.support.otlp import Receiver, otlp_receiver
from tests.support.secret_markers import listening
from tests.support.single_gateway import BOX, SANDBOX, Running, running
from tests.support.spans import NO_HEADERS, PARENT, UP, traced

SOON = {"OTEL_BSP_SCHEDULE_DELAY": "20", "OTEL_EXPORTER_OTLP_TIMEOUT": "0.5"}
"""Spans go at once, and are given up soon."""


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SOON.items():
        monkeypatch.setenv(name, value)


@asynccontextmanager
async def drawing(receiver: Receiver, more: str = "") -> AsyncIterator[Gateway]:
    async with gateway_to(None, f"tracing: {{endpoint: {receiver.url}{more}}}\n") as (ours, _):
        yield ours


async def drawn(ours: Gateway, count: int = 1) -> None:
    for _ in range(count):
        assert (await ours.draw(**UP)).status == 200


async def told(log: pytest.LogCaptureFixture, count: int) -> list[str]:
    """Wait until so many lines of ours are in the log."""
    async with asyncio.timeout(20):
        while len(said := [it.getMessage() for it in log.records if it.name == "easel"]) < count:  # noqa: ASYNC110 - a thread says it
            await asyncio.sleep(0.02)
    return said


@pytest.mark.usefixtures("soon")
async def test_while_the_receiver_is_away_pictures_are_made_and_that_is_said_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with otlp_receiver(started=False) as receiver:
        async with drawing(receiver) as ours:
            await drawn(ours)
            assert len(await told(caplog, 1)) == 1
            await drawn(ours, 3)
            receiver.start()
            while len(await told(caplog, 1)) < 2:
                await drawn(ours)
                await asyncio.sleep(0.05)
        seen = await receiver.got()
        assert len(await told(caplog, 2)) == 2
    assert [it.levelno for it in caplog.records if it.name == "easel"] == [logging.WARNING] * 2
    assert seen.spans
    assert "unavailable" in (await told(caplog, 2))[0]
    assert "again" in (await told(caplog, 2))[1]


@pytest.mark.usefixtures("soon")
async def test_while_the_receiver_is_stuck_pictures_are_made() -> None:
    with otlp_receiver() as receiver, receiver.stuck():
        async with drawing(receiver) as ours:
            await asyncio.wait_for(drawn(ours, 20), 10)


async def test_the_end_of_a_gateway_does_not_wait_for_a_stuck_receiver() -> None:
    with otlp_receiver() as receiver:
        tracer = Tracer(Tracing(endpoint=receiver.url))
        with receiver.stuck():
            await tracer.__aenter__()
            with tracer.start_server_span("a", NO_HEADERS, {}):
                pass
            closing = asyncio.create_task(tracer.__aexit__())
            await asyncio.sleep(0.1)
            assert not closing.done()  # It waits a little, and the loop is free meanwhile.
            # The SDK by itself takes 30 seconds.
            await asyncio.wait_for(closing, 20)


async def test_more_spans_than_fit_are_dropped_and_that_is_said(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "4")
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "4")
    for heard in logging.getLogger("opentelemetry").handlers:
        if isinstance(
            heard, export._QueueFullHandler
        ):  # Another test's: this is as in a new process.
            monkeypatch.setattr(heard, "_has_logged", False)
    with otlp_receiver() as receiver:
        tracer = Tracer(Tracing(endpoint=receiver.url))
        async with tracer:
            with receiver.stuck():
                for _ in range(100):
                    with tracer.start_server_span("a", NO_HEADERS, {}):
                        pass
                [said] = await told(caplog, 1)
                assert "queue full" in said


async def test_what_the_sdk_says_of_what_it_was_given_is_told_nowhere() -> None:
    async def story(ours: Gateway, _: Provider) -> None:
        await ours.draw(traceparent=PARENT * 10, tracestate="x" * 9999, baggage="sekret", **UP)

    with listening() as sinks:
        await traced(story, propagate="all")
        logging.getLogger("opentelemetry.baggage").warning("sekret")
    assert "maximum length" not in sinks.text
    assert "sekret" not in sinks.text


@pytest.mark.parametrize(("sample", "count"), [(0, 0), (1, 4)])
async def test_a_share_of_requests_is_traced(sample: float, count: int) -> None:
    async def story(ours: Gateway, _: Provider) -> None:
        await drawn(ours)

    assert len((await traced(story, sample=sample)).spans) == count


async def test_a_caller_that_is_traced_is_traced_on_whatever_the_share() -> None:
    async def story(ours: Gateway, _: Provider) -> None:
        await ours.draw(traceparent=PARENT, **UP)

    assert len((await traced(story, sample=0)).spans) == 4


async def test_the_environment_says_where_how_much_and_who(monkeypatch: pytest.MonkeyPatch) -> None:
    with otlp_receiver() as receiver:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.url)
        monkeypatch.setenv("OTEL_SERVICE_NAME", "pictures")
        monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test")
        async with gateway_to(None, "tracing: {enabled: true}\n") as (ours, _):
            await drawn(ours)
        seen = await receiver.got()
        monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_off")
        async with gateway_to(None, "tracing: {enabled: true}\n") as (ours, _):
            await drawn(ours)
        assert len((await receiver.got()).spans) == len(seen.spans) == 4
    assert seen.resource["service.name"] == "pictures"
    assert seen.resource["deployment.environment.name"] == "test"


@pytest.mark.parametrize(
    ("setting", "variable", "name"),
    [
        ("", "", "easel"),
        ("", "service.name=other", "other"),
        ("mine", "service.name=other", "mine"),
    ],
)
async def test_who_sends(
    setting: str, variable: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(ours: Gateway, _: Provider) -> None:
        await drawn(ours)

    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", variable)
    seen = await traced(story, service_name=setting)
    assert seen.resource["service.name"] == name


async def asked(easel: Running) -> int:
    body = orjson.dumps({"prompt": "a cube", "size": "64x64"})
    headers = {**BOX, "content-type": "application/json"}
    async with easel.session.post(easel.url + PATH, data=body, headers=headers) as got:
        return got.status


async def test_a_process_that_is_told_to_stop_sends_its_last_spans(tmp_path: Path) -> None:
    with otlp_receiver() as receiver:
        settings = f"{SANDBOX}tracing: {{endpoint: {receiver.url}}}\n"
        async with running(tmp_path, settings) as easel:
            assert await asked(easel) == 200
            easel.tell()
            status, _, complaints = await easel.end()
        seen = await receiver.got()
    assert (status, complaints) == (0, "")
    assert [it.name for it in seen.of_kind("server")] == ["generate_content"]


async def test_a_process_ends_in_good_order_while_its_receiver_is_stuck(tmp_path: Path) -> None:
    with otlp_receiver() as receiver, receiver.stuck():
        settings = f"{SANDBOX}tracing: {{endpoint: {receiver.url}}}\n"
        async with running(tmp_path, settings) as easel:
            assert await asked(easel) == 200
            easel.tell()
            # Within 20 seconds: see `Running.end`.
            status, _, complaints = await easel.end()
    assert (status, complaints) == (0, "")


async def test_a_malformed_header_of_the_receiver_is_reported_without_its_value(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    malformed = "authorization=Bearer sk-SECRET-0123456789;, api-key SECRET, =SECRET"
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", malformed)
    lines = io.StringIO()
    parser, handler = logging.getLogger("opentelemetry.util.re"), logging.StreamHandler(lines)
    parser.addHandler(handler)
    try:
        async with Tracer(Tracing(endpoint="http://127.0.0.1:9")):
            assert lines.getvalue().count("Header format invalid") == 3
    finally:
        parser.removeHandler(handler)
    assert "SECRET" not in lines.getvalue()
