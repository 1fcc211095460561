"""A provider on loopback: the first part of a request's path names the script that answers it."""

from __future__ import annotations

import base64
import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

PNG_BASE64 = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJg"
    "gg=="
)
PNG = base64.b64decode(PNG_BASE64)
_CREATED = 1_700_000_000
_SECONDS_HELD = 120
_SECONDS_TO_ARRIVE = 60


@dataclass(frozen=True)
class Received:
    """A request as it came from the gateway."""

    method: str
    path: str
    headers: tuple[tuple[str, str], ...]
    body: bytes


@dataclass(frozen=True)
class Reply:
    """What the provider answers; with `chunks` the body is sent in chunked encoding."""

    status: int = 200
    body: bytes = b""
    media_type: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)
    chunks: tuple[bytes, ...] = ()

    def as_bytes(self) -> bytes:
        """Return the whole reply as it goes over the wire."""
        head = [f"HTTP/1.1 {self.status} Scripted", f"Content-Type: {self.media_type}"]
        head += [f"{name}: {value}" for name, value in self.headers.items()]
        if not self.chunks:
            head.append(f"Content-Length: {len(self.body)}")
            return "\r\n".join([*head, "", ""]).encode() + self.body
        head.append("Transfer-Encoding: chunked")
        framed = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in self.chunks)
        return "\r\n".join([*head, "", ""]).encode() + framed + b"0\r\n\r\n"


class Provider(ThreadingHTTPServer):
    """Answers by script and keeps every request until `take` is called."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.released = threading.Event()
        self._received: list[Received] = []
        self._counts: Counter[str] = Counter()
        self._changed = threading.Condition()

    def take(self, count: int) -> list[Received]:
        """Wait a while until `count` requests have come; forget and return them."""
        with self._changed:
            self._changed.wait_for(lambda: len(self._received) >= count, _SECONDS_TO_ARRIVE)
            taken, self._received = self._received, []
        return taken

    def answer(self, received: Received) -> Reply:
        """Keep a request, and return the reply that its script has for it."""
        script = received.path.split("/")[1]
        with self._changed:
            self._received.append(received)
            self._counts[script] += 1
            count = self._counts[script]
            self._changed.notify_all()
        return SCRIPTS[script](self, received, count)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Provider

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        received = Received(self.command, self.path, tuple(self.headers.items()), body)
        self.wfile.write(self.server.answer(received).as_bytes())

    do_GET = do_POST = do_DELETE = _answer  # noqa: N815 - the names that http.server looks for

    def log_message(self, *_: object) -> None:
        """Print nothing."""


@contextmanager
def providing() -> Iterator[Provider]:
    """Yield a provider that serves in a thread of its own."""
    with Provider() as provider:
        thread = threading.Thread(target=provider.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield provider
        finally:
            provider.released.set()
            provider.shutdown()
            thread.join()


def _json(tree: Any, status: int = 200, **headers: str) -> Reply:
    written = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(status, json.dumps(tree).encode(), headers=written)


def _error(status: int, message: str, code: str, **headers: str) -> Reply:
    error = {"message": message, "type": "scripted_error", "param": None, "code": code}
    return _json({"error": error}, status, **headers)


def _made(images: int = 1) -> Reply:
    """Return an answer in OpenAI's shape, with headers that are relayed and some that are not."""
    tree = {
        "created": _CREATED,
        "data": [{"b64_json": PNG_BASE64} for _ in range(images)],
        "usage": {"input_tokens": 5, "output_tokens": 272, "total_tokens": 277},
    }
    return _json(
        tree,
        X_Request_Id="req_scripted",
        X_RateLimit_Remaining_Requests="41",
        Set_Cookie="session=secret",
        Strict_Transport_Security="max-age=1",
    )


def _plain(_: Provider, received: Received, __: int) -> Reply:
    return _made(json.loads(received.body).get("n", 1))


def _flaky(_: Provider, __: Received, count: int) -> Reply:
    if count == 1:
        return _error(503, "Overloaded for a moment.", "overloaded", Retry_After="0")
    return _made()


def _down(_: Provider, __: Received, ___: int) -> Reply:
    return _error(500, "The scripted provider is down.", "server_error")


def _bad(_: Provider, __: Received, ___: int) -> Reply:
    return _error(400, "Unknown parameter: 'colour'.", "unknown_parameter", X_Request_Id="req_400")


def _unauthorized(_: Provider, __: Received, ___: int) -> Reply:
    return _error(401, "Incorrect API key provided: sk-gol*****.", "invalid_api_key")


def _limited(_: Provider, __: Received, ___: int) -> Reply:
    return _error(429, "Rate limit reached.", "rate_limit_exceeded", Retry_After="7")


def _held(provider: Provider, _: Received, __: int) -> Reply:
    """Answer once the provider is released."""
    assert provider.released.wait(_SECONDS_HELD)
    return _made()


def _event(kind: str, **fields: Any) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **fields})}\n\n".encode()


def _streamed(_: Provider, __: Received, ___: int) -> Reply:
    kind, usage = "image_generation", {"input_tokens": 5, "output_tokens": 272, "total_tokens": 277}
    common = {"created_at": _CREATED, "b64_json": PNG_BASE64, "size": "1024x1024"}
    return Reply(
        media_type="text/event-stream; charset=utf-8",
        headers={"X-Request-Id": "req_streamed"},
        chunks=(
            _event(f"{kind}.partial_image", partial_image_index=0, **common),
            b": a comment of the provider's\n\n",
            _event(f"{kind}.completed", **common, usage=usage),
        ),
    )


def _binary(_: Provider, __: Received, ___: int) -> Reply:
    return Reply(
        body=PNG, media_type="image/png", headers={"Seed": "42", "Finish-Reason": "SUCCESS"}
    )


def _polled(provider: Provider, received: Received, count: int) -> Reply:
    """Take a job, call it pending at the first question, then ready; serve its image."""
    if received.method == "POST":
        return _json({"id": "task-1", "polling_url": f"{provider.url}/polled/v1/get_result?id=1"})
    if received.path.endswith(".png"):
        return Reply(body=PNG, media_type="image/png")
    if count == _PENDING_AT:
        return _json({"id": "task-1", "status": "Pending", "progress": 0.5})
    sample = f"{provider.url}/polled/sample.png"
    return _json({"id": "task-1", "status": "Ready", "result": {"sample": sample, "seed": 7}})


_PENDING_AT = 2
"""Only the first question about the first job is told to wait, since waiting takes time."""


def _base64(_: Provider, __: Received, ___: int) -> Reply:
    part = {"inlineData": {"mimeType": "image/png", "data": PNG_BASE64}}
    candidate = {"content": {"parts": [{"text": "Here it is."}, part]}, "finishReason": "STOP"}
    usage = {"promptTokenCount": 5, "candidatesTokenCount": 1290, "totalTokenCount": 1295}
    return _json({"candidates": [candidate], "usageMetadata": usage})


SCRIPTS: dict[str, Callable[[Provider, Received, int], Reply]] = {
    "plain": _plain,
    "flaky": _flaky,
    "down": _down,
    "bad": _bad,
    "unauthorized": _unauthorized,
    "limited": _limited,
    "held": _held,
    "streamed": _streamed,
    "binary": _binary,
    "polled": _polled,
    "base64": _base64,
}
