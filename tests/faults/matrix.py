"""All cells, run side by side against one gateway, and what came of each."""

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
from tests.faults.wire import Part, Provider
from tests.support.gateway import PATH, PNG
from tests.support.gateway_process import Served, running

KEY = "easel-faults-key-0123456789"
PICTURE, CUT = "picture", "cut"
AS_SENT, PART = "200 as sent", "200, a part of it"
CLIENT_TIMEOUT_SECONDS = 120.0
"""For one request, on a busy machine; the gateway's own deadlines are far below."""
_CONCURRENT = 16
"""Cells of one mode at the same time: few, so that a busy machine answers within the timeouts."""
_A_MOMENT = 0.05
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
    """A behaviour in a kind of conversation, met in a mode."""

    behaviour: Behaviour
    kind: Kind
    mode: Mode

    @property
    def name(self) -> str:
        """Say which it is."""
        return f"{self.behaviour.name} · {self.kind.name} · {self.mode.name}"


@dataclass(frozen=True)
class Came:
    """What came of a cell: what each client got, what it cost, and what came after it.

    `left`: connections in which something went wrong, and that are still open.
    """

    got: list[str]
    paid: int
    seconds: float
    afterwards: str
    left: int


@dataclass
class Run:
    """What came of all cells, and what was left in the end."""

    came: dict[tuple[str, str, str], Came] = field(default_factory=dict)
    memory: tuple[int, int] = (0, 0)
    """The gateway's, in bytes: before, and the most that it ever was."""
    log: str = ""


def cells() -> Iterator[Cell]:
    """Give all that make sense."""
    for behaviour in BEHAVIOURS:
        for kind in KINDS:
            if makes_sense(behaviour, kind):
                yield from (Cell(behaviour, kind, mode) for mode in MODES)


def makes_sense(behaviour: Behaviour, kind: Kind) -> bool:
    """Tell whether there is such a cell: what is polled is at an address that has been reached."""
    return not (behaviour.address and kind.method != "POST")


class Scene:
    """A gateway, a provider that is well, places where nothing begins, and a client."""

    def __init__(
        self, served: Served, well: Provider, places: dict[str, str], http: aiohttp.ClientSession
    ) -> None:
        self.served, self._well, self._places, self._http = served, well, places, http
        self._numbers = count(1)
        self._slots = {mode.name: asyncio.Semaphore(_CONCURRENT) for mode in MODES}

    async def come(self, cell: Cell) -> Came:
        """Play a cell with a provider of its own, and ask that once more, which then is well."""
        # A cell that waits for a timeout costs no CPU: it begins at once and holds nobody up.
        slot = nullcontext() if cell.behaviour.stalls else self._slots[cell.mode.name]
        async with slot, playing() as provider:
            clock = asyncio.get_running_loop().time
            began = clock()
            part, target, picture = self._spoiling(cell, provider)
            _, good, good_picture = self._good(self._well)
            asked = {"prompt": "a cube", **cell.kind.params}
            config, pictures = cell.mode.config(target, good), {picture, good_picture}
            every = [self.ask(asked, config, pictures) for _ in range(cell.mode.asked)]
            got = await asyncio.gather(*every)
            seconds = clock() - began
            # What was closed has to be seen to be: else it is the next request that finds out.
            await asyncio.sleep(_A_MOMENT)
            afterwards = await self.ask_for_a_good_one(provider)
            return Came(got, part.paid, seconds, afterwards, provider.left)

    async def ask_for_a_good_one(self, provider: Provider) -> str:
        """Ask for a picture of a provider that is well."""
        _, target, picture = self._good(provider)
        return await self.ask({"prompt": "a cube", "model": "gpt-image-2"}, target, {picture})

    def _good(self, provider: Provider) -> tuple[Part, dict[str, Any], bytes]:
        return self._part(KINDS[0], SHORT, provider, provider.url)

    def _spoiling(self, cell: Cell, provider: Provider) -> tuple[Part, dict[str, Any], bytes]:
        root = self._places.get(cell.behaviour.address, provider.url)
        made = self._part(cell.kind, cell.behaviour.size, provider, root)
        made[0].method, made[0].play = cell.kind.method, cell.behaviour.play
        made[0].times, made[0].early = cell.mode.faults, cell.behaviour.early
        made[0].pause = cell.mode.pause
        return made

    def _part(
        self, kind: Kind, size: int, provider: Provider, root: str
    ) -> tuple[Part, dict[str, Any], bytes]:
        number = f"{next(self._numbers):06}"
        picture = PNG + number.encode() * (size // len(number))
        url = f"{root}/{number}"
        part = provider.parts[number] = Part(kind.replies(url, picture))
        config = {"provider": kind.provider, "api_key": "test-key-0123456789", "custom_host": url}
        return part, config, picture

    async def ask(self, asked: Any, config: Any, pictures: set[bytes]) -> str:
        """Ask the gateway for a picture; gives what came in a word or two."""
        headers = {
            "x-portkey-api-key": KEY,
            "x-portkey-config": orjson.dumps(config).decode(),
            "content-type": "application/json",
        }
        try:
            async with (
                asyncio.timeout(CLIENT_TIMEOUT_SECONDS),
                self._http.post(
                    self.served.url + PATH, data=orjson.dumps(asked), headers=headers
                ) as got,
            ):
                try:
                    body = await got.read()
                except aiohttp.ClientPayloadError:
                    return f"{CUT}"
                return judged(got.status, got.content_type, body, pictures)
        except aiohttp.ClientResponseError:  # Compressed in a way that this client does not know.
            return AS_SENT
        except TimeoutError:
            return "WRONG: nothing came"
        except aiohttp.ClientError as error:
            return f"WRONG: {type(error).__name__}"


def judged(status: int, kind: str, body: bytes, pictures: set[bytes]) -> str:
    """Say what an answer is: the right picture, an error in OpenAI's shape, or wrong."""
    if status == 200:  # noqa: PLR2004 - a success
        return _success(kind, body, pictures)
    try:
        error = orjson.loads(body)["error"]
    except (ValueError, KeyError, TypeError):
        return f"WRONG: {status} {body[:200]!r}"
    if not 400 <= status < 600 or not error.keys() >= _FIELDS or not error["message"]:  # noqa: PLR2004 - HTTP's errors
        return f"WRONG: {status} {error}"
    if error["message"].startswith("Internal error in the gateway"):
        return f"WRONG: {error['message']}"
    return f"{status} {error['code'] or error['type']}"


def _success(kind: str, body: bytes, pictures: set[bytes]) -> str:
    try:
        told = _events(body) if kind == "text/event-stream" else orjson.loads(body)["data"]
        found = [b64decode(it["b64_json"]) for it in told]
    except (ValueError, KeyError, TypeError):
        return AS_SENT
    if not found:
        return AS_SENT
    if all(it in pictures for it in found):
        return PICTURE
    if all(any(whole.startswith(it) for whole in pictures) for it in found):
        return PART
    return f"WRONG: {[it[:80] for it in found]}"


def _events(body: bytes) -> list[Any]:
    """Read the data of events."""
    return [orjson.loads(it[5:]) for it in body.split(b"\n") if it.startswith(b"data:")]


@asynccontextmanager
async def playing() -> AsyncIterator[Provider]:
    """Run a provider."""
    provider = Provider()
    async with listening(provider.serve) as address:
        provider.url = f"http://{address}"
        try:
            yield provider
        finally:
            await provider.close()


@asynccontextmanager
async def _started(folder: Path) -> AsyncIterator[Served]:
    """Run a gateway, off the loop where it blocks: the provider is on it."""
    (folder / "easel.yaml").write_text(SETTINGS, encoding="utf-8")
    process = running(folder, "--config", "easel.yaml")
    served = await asyncio.to_thread(process.__enter__)
    try:
        yield served
    finally:
        await asyncio.to_thread(process.__exit__, *sys.exc_info())


async def run(folder: Path, chosen: list[Cell] | None = None) -> Run:
    """Run all cells, or those that are chosen."""
    made = Run()
    async with AsyncExitStack() as stack:
        well = await stack.enter_async_context(playing())
        places = await stack.enter_async_context(addresses(folder))
        served = await stack.enter_async_context(_started(folder))
        connector = aiohttp.TCPConnector(limit=0, force_close=True)
        http = await stack.enter_async_context(aiohttp.ClientSession(connector=connector))
        scene = Scene(served, well, places, http)
        await scene.ask_for_a_good_one(well)
        before = _memory(served.pid, "VmRSS")

        async def one(cell: Cell) -> None:
            key = (cell.behaviour.name, cell.kind.name, cell.mode.name)
            made.came[key] = await scene.come(cell)

        await asyncio.gather(*[one(it) for it in chosen or cells()])
        made.memory = before, _memory(served.pid, "VmHWM")
    made.log = (folder / "out").read_text(encoding="utf-8")
    return made


def _memory(pid: int, name: str) -> int:
    """Read a line of what the kernel knows of a process's memory, in bytes; 0 where it does not."""
    place = Path(f"/proc/{pid}/status")
    lines = place.read_text(encoding="utf-8").splitlines() if place.exists() else []
    found = [it.split()[1] for it in lines if it.startswith(f"{name}:")]
    return int(found[0]) * 1024 if found else 0


def run_all() -> Run:
    """Run all cells in a folder of their own."""
    with tempfile.TemporaryDirectory() as folder:
        return asyncio.run(run(Path(folder)))
