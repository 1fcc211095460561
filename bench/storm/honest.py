"""The honest caller: small images at a fixed pace; now and then a key sent twice, or a retry."""

from __future__ import annotations

import asyncio
import itertools
import statistics
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from processes import KEY

from .attacker import IMAGES
from .provider import SLOW
from .storm import HonestRequest

_INTERVAL_SECONDS = 0.05
_EVERY = 10
"""One in so many requests is a key that is sent twice at once, and one an abandoned request."""
_PATIENCE_SECONDS = 0.1
"""After which an abandoned request is abandoned: before its image is ready."""
_LIMIT_SECONDS = 60.0


@dataclass
class Measurement:
    """What the honest caller got."""

    sent: int = 0
    seconds: list[float] = field(default_factory=list)
    """Durations of ordinary requests."""
    failures: Counter[str] = field(default_factory=Counter)

    @property
    def median(self) -> float:
        """The median duration in milliseconds."""
        return statistics.median(self.seconds) * 1000

    @property
    def p95(self) -> float:
        """The 95th percentile of the durations in milliseconds."""
        return statistics.quantiles(self.seconds, n=20)[18] * 1000


class HonestCaller:
    """A caller with a key of its own. Requests start at a fixed pace, however long others take."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        urls: Sequence[str],
        request: Callable[[int], HonestRequest],
    ) -> None:
        self._session = session
        self._urls = urls
        self._request = request
        self._numbers = itertools.count()

    async def measure(self, seconds: float) -> Measurement:
        """Send requests for `seconds`, wait for all responses, and return what was measured."""
        measured = Measurement()
        started = time.perf_counter()
        async with asyncio.TaskGroup() as tasks:
            for tick in range(int(seconds / _INTERVAL_SECONDS)):
                await asyncio.sleep(started + tick * _INTERVAL_SECONDS - time.perf_counter())
                tasks.create_task(self._send(next(self._numbers), measured))
        return measured

    def _send(self, number: int, measured: Measurement) -> Coroutine[Any, Any, None]:
        kinds = {0: self._send_key_twice, _EVERY // 2: self._abandon_and_retry}
        send = kinds.get(number % _EVERY, self._send_ordinary)
        return _counted(send, number, measured)

    async def _send_ordinary(self, number: int, measured: Measurement) -> None:
        request = self._request(number)
        body = {"prompt": f"small {number}", **request.params}
        started = time.perf_counter()
        await self._post(number, body, request.headers)
        measured.seconds.append(time.perf_counter() - started)

    async def _send_key_twice(self, number: int, measured: Measurement) -> None:
        """Send one `Idempotency-Key` twice at once; both must get the same image."""
        headers = {"x-portkey-virtual-key": "honest", "idempotency-key": f"honest-{number}"}
        body = {"prompt": f"{SLOW} {number}"}
        images = await asyncio.gather(
            *(self._post(number + at, body, headers, connection="close") for at in range(2))
        )
        if images[0] != images[1]:
            measured.failures["another image"] += 1

    async def _abandon_and_retry(self, number: int, measured: Measurement) -> None:
        """Disconnect before the image is ready, and collect it with a marked retry."""
        del measured
        headers = {"x-portkey-virtual-key": "honest", "connection": "close"}
        body = {"prompt": f"{SLOW} {number}"}
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                await self._post(number, body, headers)
        except TimeoutError:
            await self._post(number + 1, body, headers, x_stainless_retry_count="1")

    async def _post(
        self, number: int, body: Mapping[str, Any], headers: Mapping[str, str], **more: str
    ) -> bytes:
        named = {"x-portkey-api-key": KEY, **headers}
        named |= {name.replace("_", "-"): value for name, value in more.items()}
        url = self._urls[number % len(self._urls)] + IMAGES
        async with self._session.post(url, json=body, headers=named) as got:
            image = await got.read()
            got.raise_for_status()
            return image


async def _counted(
    send: Callable[[int, Measurement], Coroutine[Any, Any, None]],
    number: int,
    measured: Measurement,
) -> None:
    """Send a request, and count it and its failure."""
    measured.sent += 1
    try:
        async with asyncio.timeout(_LIMIT_SECONDS):
            await send(number, measured)
    except aiohttp.ClientResponseError as error:
        measured.failures[str(error.status)] += 1
    except aiohttp.ClientError:
        measured.failures["cut"] += 1
    except TimeoutError:
        measured.failures["no response"] += 1
