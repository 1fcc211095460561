"""Without traces nothing of them is imported, and nothing that calls a hook notices."""

from __future__ import annotations

import subprocess
import sys

from adapters import get_adapter
from adapters.contract import Answer, Credentials
from proxy.observability.tracing import hooks
from proxy.routing.attempt import Attempt
from proxy.routing.plan import Target
from tests.support.gateway import Gateway, Provider, gateway_to
from tests.support.spans import PARENT, UP, traced

_DRAWN = """
import asyncio, sys
from tests.support.gateway import gateway_to

async def main():
    async with gateway_to() as (ours, fake):
        parent = "00-" + "a" * 32 + "-" + "b" * 16 + "-01"
        got = await ours.draw(virtual_key="up", traceparent=parent)
        assert got.status == 200
        assert "traceparent" not in fake.requests[0].headers

asyncio.run(main())
print([name for name in sys.modules if name.startswith(("opentelemetry", "google.protobuf"))])
print([name for name in sys.modules if name == "proxy.middlewares.tracing"])
"""


def test_a_picture_without_traces_imports_nothing_of_them() -> None:
    ran = subprocess.run(  # noqa: S603 - our own words
        [sys.executable, "-c", _DRAWN], capture_output=True, text=True, check=False
    )
    assert (ran.stdout, ran.returncode) == ("[]\n[]\n", 0), ran.stderr


def test_nobody_is_told_where_nobody_listens() -> None:
    hooks.add_event("x", {"a": 1})
    hooks.record_usage(Answer((), usage={"input_tokens": 1}), frozenset())
    attempt = Attempt(Target(get_adapter("openai"), Credentials(), ""), {}, None)
    with hooks.job_span("j") as job, hooks.attempt_span(attempt) as span:
        assert (job, span) == (None, None)


async def test_without_traces_a_traceparent_changes_nothing() -> None:
    async with gateway_to() as (ours, fake):
        got = await ours.draw(traceparent=PARENT, **UP)
        assert got.headers["x-portkey-trace-id"] not in PARENT
        assert "traceparent" not in fake.requests[0].headers


async def test_an_answer_is_the_same_with_traces_and_without() -> None:
    bodies: list[bytes] = []

    async def story(ours: Gateway, _: Provider) -> None:
        bodies.append((await ours.draw(**UP)).body)

    await traced(story)
    async with gateway_to() as (ours, fake):
        await story(ours, fake)
    assert bodies[0] == bodies[1]
