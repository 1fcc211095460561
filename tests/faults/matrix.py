"""Runs all cells concurrently against one gateway, and collects their results."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from base64 import b64decode
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, nullcontext
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import aiohttp
import orjson

from tests.faults.addresses import addresses, listening
from tests.faults.behaviours import BEHAVIOURS, SHORT, Behaviour
from tests.faults.kinds import KINDS, Kind
from tests.faults.modes import MODES, Mode
from tests.faults.wire import Provider, Script
from tests.support.gateway import PATH, PNG
from tests.support.gateway_process import Served, running

KEY = "easel-faults-key-0123456789"
IMAGE, CUT = "image", "cut"
AS_SENT, TRUNCATED = "200 as sent", "200, truncated image"
ERROR_EVENT = "200, error event"
CLIENT_TIMEOUT_SECONDS = 120.0
"""For one request on a busy machine; the gateway's timeouts are far shorter."""
_CONCURRENT = 16
"""Concurrent cells of one mode: few, so that a busy machine answers within the timeouts."""
_MOMENT_SECONDS = 0.05
_MODES_IF_DELIVERED = ("single", "fallback")
"""A fallback shows whether another image would be paid for."""
_FIELDS = {"message", "type", "param", "code"}

SETTINGS = f"""
api_keys: {{app: {{key: {KEY}}}}}
trusted_custom_hosts: [127.0.0.1, {".".join(["a" * 63] * 5)}]
limits: {{reply_bytes: 1000000, image_bytes: 1000000}}
timeouts: {{connect: 6, idle: 6, total: 10}}
jobs: {{memory_bytes: 8000000}}
server: {{shutdown_seconds: 5}}
log: {{format: json}}
"""


@dataclass(frozen=True)
class Cell:
    """A behaviour, a kind of conversation and a request mode."""

    behaviour: Behaviour
    kind: Kind
    mode: Mode

    @property
    def name(self) -> str:
        """Behaviour, kind and mode."""
        return f"{self.behaviour.name} · {self.kind.name} · {self.mode.name}"


@dataclass(frozen=True)
class CellResult:
    """The result of a cell: what each client got, paid calls, and the result of the next request.

    `open_connections` is the number of connections with a faulty response that are still open.
    """

    results: list[str]
    paid: int
    seconds: float
    next_result: str
    open_connections: int


@dataclass
class Run:
    """The results of all cells, and the gateway's memory and log."""

    results: dict[tuple[str, str, str], CellResult] = field(default_factory=dict)
    memory: tuple[int, int] = (0, 0)
    """The gateway's memory in bytes: before, and the peak."""
    log: str = ""


def cells() -> Iterator[Cell]:
    """Yield all cells that exist."""
    for behaviour in BEHAVIOURS:
        for kind in KINDS:
            if exists(behaviour, kind):
                yield from (Cell(behaviour, kind, mode) for mode in modes(behaviour))


def modes(behaviour: Behaviour) -> list[Mode]:
    """Return the modes in which a behaviour is tried: a delivered image needs no second try."""
    return [it for it in MODES if not behaviour.delivers or it.name in _MODES_IF_DELIVERED]


def exists(behaviour: Behaviour, kind: Kind) -> bool:
    """Whether the cell exists: a polled or downloaded URL is at an address that was reached."""
    if behaviour.kinds and kind.name not in behaviour.kinds:
        return False
    return not (behaviour.address and kind.faulty_method != "POST")


class Environment:
    """A gateway, a working provider, the addresses without an exchange, and an HTTP client."""

    def __init__(
        self, served: Served, working: Provider, urls: dict[str, str], http: aiohttp.ClientSession
    ) -> None:
        self.served, self._working, self._urls, self._http = served, working, urls, http
        self._numbers = count(1)
        self._semaphores = {mode.name: asyncio.Semaphore(_CONCURRENT) for mode in MODES}

    async def run_cell(self, cell: Cell) -> CellResult:
        """Run a cell with a provider of its own, then request a correct image from it."""
        # A cell that waits for a timeout costs no CPU: it starts at once, without a slot.
        semaphore = nullcontext() if cell.behaviour.stalls else self._semaphores[cell.mode.name]
        async with semaphore, run_provider() as provider:
            clock = asyncio.get_running_loop().time
            started = clock()
            script, target, image = self._faulty_script(cell, provider)
            _, good, good_image = self._good_script(self._working)
            params = {"prompt": "a cube", **cell.kind.params}
            config, images = cell.mode.config(target, good), {image, good_image}
            pending = [
                self.request_image(params, config, images) for _ in range(cell.mode.requests)
            ]
            results = await asyncio.gather(*pending)
            seconds = clock() - started
            # Let the gateway notice that a connection was closed before it sends the next request.
            await asyncio.sleep(_MOMENT_SECONDS)
            next_result = await self.request_good_image(provider)
            return CellResult(
                results, script.paid, seconds, next_result, provider.open_faulty_connections
            )

    async def request_good_image(self, provider: Provider) -> str:
        """Request an image that the provider answers correctly; return the result."""
        _, target, image = self._good_script(provider)
        return await self.request_image(
            {"prompt": "a cube", "model": "gpt-image-2"}, target, {image}
        )

    def _good_script(self, provider: Provider) -> tuple[Script, dict[str, Any], bytes]:
        return self._add_script(KINDS[0], SHORT, provider, provider.url)

    def _faulty_script(
        self, cell: Cell, provider: Provider
    ) -> tuple[Script, dict[str, Any], bytes]:
        root = self._urls.get(cell.behaviour.address, provider.url)
        script, target, image = self._add_script(cell.kind, cell.behaviour.size, provider, root)
        script.faulty_method, script.respond = cell.kind.faulty_method, cell.behaviour.respond
        script.failures, script.before_body = cell.mode.failures, cell.behaviour.before_body
        script.delay = cell.mode.delay
        return script, target, image

    def _add_script(
        self, kind: Kind, size: int, provider: Provider, root: str
    ) -> tuple[Script, dict[str, Any], bytes]:
        number = f"{next(self._numbers):06}"
        image = PNG + number.encode() * (size // len(number))
        url = f"{root}/{number}"
        script = provider.scripts[number] = Script(kind.replies(url, image))
        config = {"provider": kind.provider, "api_key": "test-key-0123456789", "custom_host": url}
        return script, config, image

    async def request_image(self, params: Any, config: Any, images: set[bytes]) -> str:
        """Request an image from the gateway; return the result in a word or two."""
        headers = {
            "x-portkey-api-key": KEY,
            "x-portkey-config": orjson.dumps(config).decode(),
            "content-type": "application/json",
        }
        try:
            async with (
                asyncio.timeout(CLIENT_TIMEOUT_SECONDS),
                self._http.post(
                    self.served.url + PATH, data=orjson.dumps(params), headers=headers
                ) as response,
            ):
                try:
                    body = await response.read()
                except aiohttp.ClientPayloadError:
                    return f"{CUT}"
                return classify(response.status, response.content_type, body, images)
        except aiohttp.ClientResponseError:  # A content encoding that this client does not know.
            return AS_SENT
        except TimeoutError:
            return "WRONG: client timeout"
        except aiohttp.ClientError as error:
            return f"WRONG: {type(error).__name__}"


def classify(status: int, content_type: str, body: bytes, images: set[bytes]) -> str:
    """Classify a response: the right image, an OpenAI-compatible error, or wrong."""
    if status == 200:  # noqa: PLR2004 - a success
        return _success(content_type, body, images)
    try:
        error = orjson.loads(body)["error"]
    except (ValueError, KeyError, TypeError):
        return f"WRONG: {status} {body[:200]!r}"
    if not 400 <= status < 600 or not error.keys() >= _FIELDS or not error["message"]:  # noqa: PLR2004 - HTTP's errors
        return f"WRONG: {status} {error}"
    if error["message"].startswith("Internal error in the gateway"):
        return f"WRONG: {error['message']}"
    return f"{status} {error['code'] or error['type']}"


def _success(content_type: str, body: bytes, images: set[bytes]) -> str:
    try:
        items = _events(body) if content_type == "text/event-stream" else orjson.loads(body)["data"]
        if items and "error" in items[-1]:
            return ERROR_EVENT
        found = [b64decode(it["b64_json"]) for it in items]
    except (ValueError, KeyError, TypeError):
        return AS_SENT
    if not found:
        return AS_SENT
    if all(it in images for it in found):
        return IMAGE
    if all(any(complete.startswith(it) for complete in images) for it in found):
        return TRUNCATED
    return f"WRONG: {[it[:80] for it in found]}"


def _events(body: bytes) -> list[Any]:
    """Return the data of server-sent events."""
    return [orjson.loads(it[5:]) for it in body.split(b"\n") if it.startswith(b"data:")]


@asynccontextmanager
async def run_provider() -> AsyncIterator[Provider]:
    """Run a provider."""
    provider = Provider()
    async with listening(provider.serve) as address:
        provider.url = f"http://{address}"
        try:
            yield provider
        finally:
            await provider.close()


@asynccontextmanager
async def _run_gateway(folder: Path) -> AsyncIterator[Served]:
    """Run a gateway. Blocking calls run in a thread: the provider uses the loop."""
    (folder / "easel.yaml").write_text(SETTINGS, encoding="utf-8")
    process = running(folder, "--config", "easel.yaml")
    served = await asyncio.to_thread(process.__enter__)
    try:
        yield served
    finally:
        await asyncio.to_thread(process.__exit__, *sys.exc_info())


async def run(folder: Path, chosen: list[Cell] | None = None) -> Run:
    """Run all cells, or the chosen ones."""
    made = Run()
    async with AsyncExitStack() as stack:
        working = await stack.enter_async_context(run_provider())
        urls = await stack.enter_async_context(addresses(folder))
        served = await stack.enter_async_context(_run_gateway(folder))
        connector = aiohttp.TCPConnector(limit=0, force_close=True)
        http = await stack.enter_async_context(aiohttp.ClientSession(connector=connector))
        environment = Environment(served, working, urls, http)
        await environment.request_good_image(working)
        before = _memory(served.pid, "VmRSS")

        async def one(cell: Cell) -> None:
            key = (cell.behaviour.name, cell.kind.name, cell.mode.name)
            made.results[key] = await environment.run_cell(cell)

        await asyncio.gather(*[one(it) for it in chosen or cells()])
        made.memory = before, _memory(served.pid, "VmHWM")
    made.log = (folder / "out").read_text(encoding="utf-8")
    return made


def _memory(pid: int, name: str) -> int:
    """Return a field of /proc/PID/status in bytes; 0 if it does not exist."""
    place = Path(f"/proc/{pid}/status")
    lines = place.read_text(encoding="utf-8").splitlines() if place.exists() else []
    found = [it.split()[1] for it in lines if it.startswith(f"{name}:")]
    return int(found[0]) * 1024 if found else 0


def run_all() -> Run:
    """Run all cells in a temporary folder."""
    with tempfile.TemporaryDirectory() as folder:
        return asyncio.run(run(Path(folder)))
