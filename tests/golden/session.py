"""Sends all requests to one gateway process and returns what is recorded of each."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

from tests.golden import volatile
from tests.golden.provider import Provider, providing
from tests.golden.requests import REQUESTS, Reply, Request, settings
from tests.golden.text import Exchange, written
from tests.support.gateway_process import running

METRICS = "metrics"
RECORDED = Path(__file__).parent / "recorded"
_SECONDS = 120


def names() -> list[str]:
    """Return the names of everything that is recorded."""
    return [*(request.name for request in REQUESTS), METRICS]


def play(folder: Path) -> dict[str, str]:
    """Send every request, in order; return the text to record of each, and the metrics page."""
    with providing() as provider:
        file = folder / "settings.yaml"
        file.write_text(json.dumps(settings(provider.url)))
        with running(folder, "--config", file.name) as served:
            session = _Session(urlsplit(served.url).netloc, provider)
            for request in REQUESTS:
                session.send(request)
            page = session.ask(Request(METRICS, path="/metrics", method="GET"), "/metrics", {})
        texts = session.texts((folder / "access.log").read_text().splitlines())
    assert page.status == http.client.OK, page.body
    return {**texts, METRICS: _metrics(page)}


def _metrics(page: Reply) -> str:
    head = "".join(f"{name}: {value}\n" for name, value in page.headers)
    names = {page.header("x-portkey-trace-id"): f"trace of {METRICS}"}
    text = f"{head}\n{volatile.metrics(page.body.decode())}"
    return volatile.replaced(text, names, varies=True)


class _Session:
    """A gateway's address, its provider, and what has come so far."""

    def __init__(self, gateway: str, provider: Provider) -> None:
        self._gateway = gateway
        self._provider = provider
        self._replies: dict[str, Reply] = {}
        self._exchanges: dict[str, Exchange] = {}

    def send(self, request: Request) -> None:
        """Send a request, wait for its answer, and keep both."""
        path = request.target(self._replies)
        headers = request.all_headers(self._provider.url)
        reply = self._replies[request.name] = self.ask(request, path, headers)
        received = tuple(self._provider.take(request.calls))
        assert len(received) == request.calls, f"{request.name}: {len(received)} calls; {reply}"
        self._exchanges[request.name] = Exchange(
            request.method, path, headers, request.content(), reply, received
        )

    def ask(self, request: Request, path: str, headers: Mapping[str, str]) -> Reply:
        """Send a request on a connection of its own; return its answer.

        Head and body go out at once: what the gateway refuses by the head alone, it counts with
        as much of the body as has come.
        """
        host, _, port = self._gateway.partition(":")
        with socket.create_connection((host, int(port)), _SECONDS) as connection:
            connection.sendall(self._as_bytes(request, path, headers))
            if request.releases:
                self._release()
            with http.client.HTTPResponse(connection, method=request.method) as response:
                response.begin()
                pairs = tuple(response.getheaders())
                return Reply(response.status, response.reason, pairs, response.read())

    def _as_bytes(self, request: Request, path: str, headers: Mapping[str, str]) -> bytes:
        content = request.content()
        lines = [f"{request.method} {path} HTTP/1.1", f"Host: {self._gateway}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        lines += [f"Content-Length: {len(content)}"] if content else []
        return "\r\n".join([*lines, "", ""]).encode() + content

    def _release(self) -> None:
        """Let the held provider answer, once the gateway has worked on what was sent before.

        Its event loop has gone around several times when it has answered these.
        """
        for _ in range(5):
            self.ask(Request("healthz", path="/healthz", method="GET"), "/healthz", {})
        self._provider.released.set()

    def texts(self, log: list[str]) -> dict[str, str]:
        """Return the text to record of each request; its trace id leads to its access line."""
        lines = {json.loads(line)["trace"]: line for line in log}
        names = self._names()
        made = {}
        for request in REQUESTS:
            line, exchange = lines[self._trace(request.name)], self._exchanges[request.name]
            if request.path == "/v1/images/models":
                body = volatile.without_unused_providers(exchange.reply.body)
                exchange = replace(exchange, reply=replace(exchange.reply, body=body))
            text = written(exchange, line)
            made[request.name] = volatile.replaced(text, names, varies=request.varies)
        return made

    def _trace(self, name: str) -> str:
        return self._replies[name].header("x-portkey-trace-id")

    def _names(self) -> dict[str, str]:
        """Name this run's own values: addresses, and ids by the request that they were made for."""
        names = {self._gateway: "gateway", self._provider.url.removeprefix("http://"): "provider"}
        for request in REQUESTS:
            reply = self._replies[request.name]
            if self._trace(request.name) not in request.headers.values():
                names[self._trace(request.name)] = f"trace of {request.name}"
            for job in [value for key, value in reply.headers if key.lower() == "x-easel-job"]:
                names.setdefault(job, f"job of {request.name}")
        return names
