"""Case 26: a client leaves, not to pay for a picture, or to have many paid for that nobody gets."""

from __future__ import annotations

import asyncio
import socket

import pytest
from yarl import URL

from proxy.jobs.keys import JOBS
from tests.support.gateway import KEY, PATH, gateway_to
from tests.support.queue_provider import CANCELS, left, queue, until

AGAIN = {"virtual_key": "up", "x_stainless_retry_count": "1"}
PARAMS = {"model": "photon-1"}


async def test_leaving_is_no_way_to_have_a_picture_made_twice() -> None:
    async with queue() as (ours, jobs):
        for _ in range(3):
            await left(ours, jobs)
            asking = asyncio.create_task(ours.draw(params=PARAMS, **AGAIN))
            await asyncio.sleep(0.05)
            asking.cancel()
            await asyncio.wait([asking])
            jobs.done.update(map(str, range(9)))
            assert (await ours.draw(params=PARAMS, **AGAIN)).status == 200
            jobs.done.clear()
            jobs.polled.clear()
        assert (jobs.taken, jobs.cancelled) == (3, [])


async def test_what_nobody_waits_for_is_cancelled_at_the_provider_where_that_is_the_policy() -> (
    None
):
    async with queue(CANCELS) as (ours, jobs):
        await left(ours, jobs)
        await until(lambda: jobs.cancelled and not ours.app[JOBS].running_count)
        assert (jobs.taken, len(jobs.cancelled)) == (1, 1)


OF_ONE_TRY = (
    *("traceparent", "tracestate", "baggage", "x-request-id", "x-stainless-timeout"),
    *("accept-language", "x-b3-traceid", "x-amzn-trace-id", "x-correlation-id"),
    *("x-datadog-parent-id", "x-cloud-trace-context", "x-attempt", "x-anything"),
)


@pytest.mark.parametrize("name", OF_ONE_TRY)
async def test_a_retry_joins_its_job_whatever_its_trace_is(name: str) -> None:
    key = name.replace("-", "_")
    again = {"virtual_key": "up", "forward_headers": name, "idempotency_key": ""}
    async with gateway_to() as (ours, fake):
        assert (await ours.draw(**again, **{key: "first"})).status == 200
        retried = await ours.draw(**again, **{key: "second"}, x_stainless_retry_count="1")
        assert (retried.status, len(fake.requests)) == (200, 1)
        again["idempotency_key"] = "mine"
        for value in ("third", "fourth"):
            assert (await ours.draw(**again, **{key: value})).status == 200
        assert len(fake.requests) == 2


@pytest.mark.parametrize("name", ["authorization", "x-api-key", "x-session-token", "x-auth"])
async def test_a_retry_with_another_credential_is_another_job(name: str) -> None:
    trusted = "trusted_custom_hosts: [127.0.0.1]\n"
    async with gateway_to(more=trusted) as (ours, fake):
        own = {"provider": "openai", "custom_host": fake.url, "forward_headers": name}
        for value in ("first", "second"):
            headers = {name.replace("-", "_"): value, "x_stainless_retry_count": "1"}
            assert (await ours.draw(**own, **headers)).status == 200
        assert len(fake.requests) == 2


async def test_a_request_whose_client_has_left_before_it_was_read_is_not_ordered() -> None:
    for more in ("", "prefer: respond-async\r\n", "idempotency-key: mine\r\n"):
        async with gateway_to() as (ours, fake):
            url = URL(ours.url)
            with socket.create_connection((url.host, url.port)) as client:
                client.sendall(request_for("second", more))
            # Both the request and its end are there before the gateway reads either.
            for _ in range(3):
                async with ours.session.get(ours.url + "/healthz") as got:
                    assert got.status == 200
            assert not ours.app[JOBS].all(), more
            assert (await ours.draw("second", **AGAIN)).status == 200
            assert len(fake.requests) == 1, more


def request_for(prompt: str, more: str) -> bytes:
    """Return the bytes of a request."""
    body = f'{{"prompt":"{prompt}"}}'
    named = f"x-portkey-api-key: {KEY}\r\nx-portkey-virtual-key: up\r\n{more}"
    return (
        f"POST {PATH} HTTP/1.1\r\nhost: localhost\r\n{named}content-type: application/json\r\n"
        f"content-length: {len(body)}\r\n\r\n{body}"
    ).encode()
