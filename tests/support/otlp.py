"""A real receiver of OTLP over HTTP, as a process of its own, that can be slow, stuck, or away.

It decodes what it gets with OpenTelemetry's own protobuf, and keeps the very bytes.

    python -m tests.support.otlp PORT
"""

from __future__ import annotations

import asyncio
import atexit
import gzip
import signal
import socket
import subprocess
import sys
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cache, cached_property
from http import HTTPStatus
from pathlib import Path
from typing import Any

import aiohttp
import orjson
from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue

_ROOT = Path(__file__).parents[2]
_SECONDS = 20
_LOOK_AGAIN_SECONDS = 0.02
_OUR_KINDS = {1: "internal", 2: "server", 3: "client"}
_FAILED = 2


@dataclass(frozen=True)
class Seen:
    """A span, as the receiver decoded it. `events` and `links` are names, and ids of spans."""

    name: str
    kind: str
    trace: str
    id: str
    parent: str
    began: int
    ended: int
    failed: bool
    attributes: Mapping[str, Any]
    events: tuple[str, ...]
    event_attributes: tuple[Mapping[str, Any], ...]
    links: tuple[str, ...]

    def __getitem__(self, name: str) -> Any:
        return self.attributes.get(name)


@dataclass
class Received:
    """All that came so far: decoded, and as it came."""

    tree: Any
    resource: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def spans(self) -> list[Seen]:
        """Every span, the one that began first before the others."""
        made = [Seen(**{k: _frozen(v) for k, v in it.items()}) for it in self.tree["spans"]]
        return sorted(made, key=lambda it: it.began)

    @property
    def raw(self) -> bytes:
        return b64decode(self.tree["raw"])

    def named(self, start: str) -> list[Seen]:
        return [it for it in self.spans if it.name.startswith(start)]

    def of_kind(self, kind: str) -> list[Seen]:
        return [it for it in self.spans if it.kind == kind]

    def below(self, parent: Seen) -> list[Seen]:
        """Give the children of a span, in the order in which they began."""
        return [it for it in self.spans if it.parent == parent.id]

    def one(self, start: str) -> Seen:
        [found] = self.named(start)
        return found


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


@dataclass
class Receiver:
    """A receiver on a loopback port."""

    port: int
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        command = [sys.executable, "-m", "tests.support.otlp", str(self.port)]
        self.process = subprocess.Popen(command, cwd=_ROOT, stdout=subprocess.PIPE)  # noqa: S603 - our own
        assert self.process.stdout
        assert self.process.stdout.readline()

    def stop(self) -> None:
        """End it; it forgets everything."""
        if self.process:
            self.process.kill()
            self.process.communicate()
            self.process = None

    @contextmanager
    def stuck(self) -> Iterator[None]:
        """Have it take connections, and answer nothing."""
        assert self.process
        self.process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)

    async def got(self, enough: Callable[[Received], bool] = lambda _: True) -> Received:
        """Give what came, as soon as it is enough."""
        async with asyncio.timeout(_SECONDS), aiohttp.ClientSession() as session:
            while True:
                async with session.get(self.url + "/received") as answer:
                    tree = orjson.loads(await answer.read())
                received = Received(tree, tree["resource"])
                if enough(received):
                    return received
                await asyncio.sleep(_LOOK_AGAIN_SECONDS)


@contextmanager
def otlp_receiver(*, started: bool = True) -> Iterator[Receiver]:
    """Run a receiver."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        receiver = Receiver(free.getsockname()[1])
    if started:
        receiver.start()
    try:
        yield receiver
    finally:
        receiver.stop()


async def fresh_receiver() -> Receiver:
    """Give the receiver that tests share which neither stop nor stick it; it has nothing yet."""
    receiver = _everybodys()
    async with (
        aiohttp.ClientSession() as session,
        session.delete(receiver.url + "/received") as answer,
    ):
        assert answer.status == HTTPStatus.NO_CONTENT
    return receiver


@cache
def _everybodys() -> Receiver:
    stack = ExitStack()
    atexit.register(stack.close)
    return stack.enter_context(otlp_receiver())


def _value(entry: KeyValue) -> Any:
    kind = entry.value.WhichOneof("value")
    return getattr(entry.value, kind) if kind else None


def _told(entries: Any) -> dict[str, Any]:
    return {it.key: _value(it) for it in entries}


def _decoded(span: Any) -> dict[str, Any]:
    return {
        "name": span.name,
        "kind": _OUR_KINDS[span.kind],
        "trace": span.trace_id.hex(),
        "id": span.span_id.hex(),
        "parent": span.parent_span_id.hex(),
        "began": span.start_time_unix_nano,
        "ended": span.end_time_unix_nano,
        "failed": span.status.code == _FAILED,
        "attributes": _told(span.attributes),
        "events": [it.name for it in span.events],
        "event_attributes": [_told(it.attributes) for it in span.events],
        "links": [it.span_id.hex() for it in span.links],
    }


def _app() -> web.Application:
    spans: list[dict[str, Any]] = []
    raw: list[bytes] = []
    resource: dict[str, Any] = {}

    async def take(request: web.Request) -> web.Response:
        body = await request.read()
        if request.headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        raw.append(body)
        for entry in ExportTraceServiceRequest.FromString(body).resource_spans:
            resource.update(_told(entry.resource.attributes))
            spans.extend(_decoded(it) for scope in entry.scope_spans for it in scope.spans)
        return web.Response(content_type="application/x-protobuf")

    async def show(request: web.Request) -> web.Response:
        del request
        told = {"spans": spans, "raw": b64encode(b"".join(raw)).decode(), "resource": resource}
        return web.Response(body=orjson.dumps(told))

    async def forget(request: web.Request) -> web.Response:
        del request
        for held in (spans, raw, resource):
            held.clear()
        return web.Response(status=HTTPStatus.NO_CONTENT)

    app = web.Application(client_max_size=0)
    app.router.add_delete("/received", forget)
    app.router.add_post("/v1/traces", take)
    app.router.add_get("/received", show)
    return app


def _up(*_: object) -> None:
    sys.stdout.write("up\n")
    sys.stdout.flush()


if __name__ == "__main__":
    web.run_app(_app(), host="127.0.0.1", port=int(sys.argv[1]), print=_up)
