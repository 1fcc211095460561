"""What clients do. Each scenario returns the results of its requests, in order."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path

from tests.support.flaky_proxy import flaky_proxy

from .client import NO_HEADERS, Client
from .gateways import run_gateway
from .provider import HALF

RETRY = {"x-stainless-retry-count": "1"}

Scenario = Callable[[Client], Awaitable[Sequence[str]]]


async def _release_provider(client: Client, reconnected: asyncio.Event) -> None:
    """Let the provider finish once the client has connected again."""
    await reconnected.wait()
    await asyncio.sleep(0.1)
    client.gate.set()


def cut_then_retry(after: int | None) -> Scenario:
    """Cut after `after` bytes of the body (None: before the headers), then send a marked retry."""

    async def scenario(client: Client) -> Sequence[str]:
        async with flaky_proxy(client.url, client.called if after is None else after) as link:
            first = await client.request(link.url)
            releasing = asyncio.ensure_future(_release_provider(client, link.reconnected))
            second = await client.request(link.url, RETRY)
            await releasing
            return first, second

    return scenario


async def leave_then_retry(client: Client) -> Sequence[str]:
    """Disconnect while waiting; retry when the image has been ready for a while."""
    pending = asyncio.ensure_future(client.request(client.url))
    await client.called.wait()
    pending.cancel()
    await asyncio.wait({pending})
    await asyncio.sleep(0.2)
    client.gate.set()
    await asyncio.sleep(0.5)
    return "disconnected", await client.request(client.url, RETRY)


async def time_out_then_retry(client: Client) -> Sequence[str]:
    """Let the client time out; retry while the image is still being generated."""
    async with flaky_proxy(client.url, None) as link:
        first = await client.request(link.url, seconds=1)
        releasing = asyncio.ensure_future(_release_provider(client, link.reconnected))
        second = await client.request(link.url, RETRY)
        await releasing
        return first, second


def hundred_at_once(config: str) -> Scenario:
    """Send a hundred equal requests concurrently."""

    async def scenario(client: Client) -> Sequence[str]:
        headers = {"x-portkey-config": config}
        pending = [asyncio.ensure_future(client.request(client.url, headers)) for _ in range(100)]
        await client.called.wait()
        await asyncio.sleep(1.5)
        client.gate.set()
        return await asyncio.gather(*pending)

    return scenario


async def retry_after_504(client: Client) -> Sequence[str]:
    """Get a 504 because the image is not ready; retry."""
    first = await client.request(client.strict)
    client.gate.set()
    return first, await client.request(client.strict, RETRY)


async def repeat_with_same_key(client: Client) -> Sequence[str]:
    """Send two concurrent requests and a third afterwards, all with the same key."""
    headers = {"idempotency-key": client.name}
    pending = [asyncio.ensure_future(client.request(client.url, headers)) for _ in range(2)]
    await client.called.wait()
    await asyncio.sleep(0.3)
    client.gate.set()
    return *await asyncio.gather(*pending), await client.request(client.url, headers)


async def reuse_key(client: Client) -> Sequence[str]:
    """Send two different requests with the same key."""
    headers = {"idempotency-key": client.name}
    client.gate.set()
    first = await client.request(client.url, headers)
    return first, await client.request(client.url, headers, suffix=" + a hat")


async def request_once(client: Client) -> Sequence[str]:
    """Send one request."""
    return [await client.request(client.url)]


async def retry_if_cut(client: Client) -> Sequence[str]:
    """Send a request, and a marked retry if the connection was cut."""
    first = await client.request(client.url)
    return (first, await client.request(client.url, RETRY)) if first == "cut" else [first]


async def cut_stream_then_repeat(client: Client) -> Sequence[str]:
    """Cut a stream; repeat the request with the same key."""
    headers = {"idempotency-key": client.name}
    async with flaky_proxy(client.url, HALF) as link:
        first = await client.request(link.url, headers, stream=True)
        releasing = asyncio.ensure_future(_release_provider(client, link.reconnected))
        second = await client.request(link.url, headers, stream=True)
        await releasing
        return first, second


def sdk_after_cut(sdk: type, after: int | None) -> Scenario:
    """Cut the connection; the SDK retries."""

    async def scenario(client: Client) -> Sequence[str]:
        async with flaky_proxy(client.url, client.called if after is None else after) as link:
            return await _sdk_with_two_connections(client, sdk, link.url, link.reconnected)

    return scenario


def sdk_after_timeout(sdk: type) -> Scenario:
    """Let the SDK time out; it retries."""

    async def scenario(client: Client) -> Sequence[str]:
        async with flaky_proxy(client.url, None) as link:
            return await _sdk_with_two_connections(
                client, sdk, link.url, link.reconnected, seconds=2
            )

    return scenario


async def _sdk_with_two_connections(
    client: Client, sdk: type, url: str, reconnected: asyncio.Event, seconds: float = 20
) -> Sequence[str]:
    releasing = asyncio.ensure_future(_release_provider(client, reconnected))
    got = await client.request_with_sdk(sdk, url, seconds=seconds)
    releasing.cancel()
    return [got]


def sdk_once(
    sdk: type, headers: Mapping[str, str] = NO_HEADERS, *, strict: bool = False
) -> Scenario:
    """Send one request with an SDK, which may retry."""

    async def scenario(client: Client) -> Sequence[str]:
        got = await client.request_with_sdk(sdk, client.strict if strict else client.url, headers)
        client.gate.set()
        return [got]

    return scenario


def sdk_repeats_after_504(sdk: type) -> Scenario:
    """Get a 504 because the image is not ready; the app repeats the request with the same key."""

    async def scenario(client: Client) -> Sequence[str]:
        headers = {"idempotency-key": client.name}
        first = await client.request_with_sdk(sdk, client.strict, headers)
        client.gate.set()
        return first, await client.request_with_sdk(sdk, client.strict, headers)

    return scenario


def sdk_repeats_cut_stream(sdk: type) -> Scenario:
    """Cut an SDK's stream; the app repeats the request with the same key."""

    async def scenario(client: Client) -> Sequence[str]:
        async with flaky_proxy(client.url, HALF) as link:
            headers = {"idempotency-key": client.name}
            first = await client.request_with_sdk(sdk, link.url, headers, stream=True)
            releasing = asyncio.ensure_future(_release_provider(client, link.reconnected))
            second = await client.request_with_sdk(sdk, link.url, headers, stream=True)
            await releasing
            return first, second

    return scenario


def restart_gateway(folder: Path, *, finished: bool) -> Scenario:
    """Stop the gateway while no client is connected, start it again, and send a marked retry."""

    async def scenario(client: Client) -> Sequence[str]:
        async with run_gateway(folder) as url:
            pending = asyncio.ensure_future(client.request(url))
            await client.called.wait()
            pending.cancel()
            await asyncio.wait({pending})
            if finished:
                client.gate.set()
                await asyncio.sleep(0.5)
            else:
                # By then the gateway has received SIGTERM; it lets the job finish.
                asyncio.get_running_loop().call_later(0.5, client.gate.set)
        async with run_gateway(folder) as url:
            return "disconnected", await client.request(url, RETRY)

    return scenario
