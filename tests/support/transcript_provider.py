"""A provider on a real socket that follows a transcript."""

from __future__ import annotations

import re
from base64 import b64decode
from typing import Any, Self

import orjson
from aiohttp import web
from aiohttp.test_utils import TestServer

from adapters.contract import IN_PROCESS
from tests.support.transcripts import Exchange, Seen, Transcript

_PLACE = "/_host/"
_PLAIN = "http:"
_OUT_OF_SCRIPT = 599


class ScriptedProvider:
    """Every host of a transcript at once: `https://a.test/b` is `{root}/_host/a.test/b` here.

    A server of one's own, `http://127.0.0.1:80/b`, is `{root}/_host/http:127.0.0.1:80/b`.
    It replies to requests in the order written down, hands out the pictures, and remembers what
    it was asked in `asked`, and who came for pictures in `fetched`.
    """

    def __init__(self, transcript: Transcript) -> None:
        self.transcript = transcript
        self.asked: list[Seen] = []
        self.fetched: list[Seen] = []
        self._script = iter(transcript.exchanges)
        app = web.Application(client_max_size=0)
        app.router.add_route("*", "/{rest:.*}", self._serve)
        self._server = TestServer(app)

    async def __aenter__(self) -> Self:
        await self._server.start_server()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._server.close()

    @property
    def root(self) -> str:
        """Where it stands in for all hosts."""
        return str(self._server.make_url(_PLACE))

    def here(self, text: str) -> str:
        """Write a text with every URL in it leading here."""
        text = re.sub(r"http://(?=127\.0\.0\.1:)", self.root + _PLAIN, text)
        text = re.sub(r"https://(?=[\w.-])", self.root, text)
        return text.replace(IN_PROCESS, self.root + IN_PROCESS)

    def away(self, text: str) -> str:
        """Write a text with every URL that leads here as it was."""
        text = text.replace(self.root + IN_PROCESS, IN_PROCESS)
        return text.replace(self.root + _PLAIN, "http://").replace(self.root, "https://")

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        """Hand out a picture, or follow the script."""
        url = self._url(request)
        headers = {name.lower(): value for name, value in request.headers.items()}
        seen = Seen(f"{request.method} {url}", headers, await _body(request))
        if (picture := self.transcript.downloads.get(url)) and request.method == "GET":
            self.fetched.append(seen)
            return web.Response(body=b64decode(picture))
        self.asked.append(seen)
        exchange = self._next(seen)
        if exchange is None:
            return web.Response(status=_OUT_OF_SCRIPT)
        return self._reply(exchange)

    def _url(self, request: web.Request) -> str:
        """Say which of the hosts was asked for what."""
        return self.away(self.root + request.raw_path.removeprefix(_PLACE))

    def _next(self, seen: Seen) -> Exchange | None:
        del seen
        return next(self._script, None)

    def _reply(self, exchange: Exchange) -> web.Response:
        reply = exchange.reply
        body = reply.body
        if reply.base64 is None:
            body = self.here(body.decode()).encode()
        headers = {name: self.here(value) for name, value in reply.wire_headers.items()}
        return web.Response(status=reply.status, headers=headers, body=body)


class EveryHost(ScriptedProvider):
    """Follows its transcript for a client whom every name leads here: no URL in it is rewritten.

    `bodies` holds the bytes of what it was asked, one for each in `asked`.
    """

    def __init__(self, transcript: Transcript) -> None:
        super().__init__(transcript)
        self.bodies: list[bytes] = []

    @property
    def port(self) -> int:
        """Where it listens on this machine."""
        return self._server.port or 0

    def here(self, text: str) -> str:
        """Leave a text as it is."""
        return text

    def _url(self, request: web.Request) -> str:
        return f"https://{request.host}{request.raw_path}"

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        response = await super()._serve(request)
        if len(self.asked) > len(self.bodies):  # else it came for a picture
            self.bodies.append(await request.read())
        return response


class RepeatingProvider(ScriptedProvider):
    """Follows its transcript as often as it is asked, and for several conversations at once.

    A request is answered as the one that is most like it; where several are, each in its turn and
    the last of them from then on.
    """

    def __init__(self, transcript: Transcript) -> None:
        super().__init__(transcript)
        self._turns: dict[int, int] = {}

    def _next(self, seen: Seen) -> Exchange | None:
        like = [it for it in self.transcript.exchanges if _line(it) == seen.line]
        best = max((_likeness(it, seen) for it in like), default=0.0)
        group = [it for it in like if _likeness(it, seen) == best]
        if not group:
            return None
        turn = self._turns.get(id(group[0]), 0)
        self._turns[id(group[0])] = turn + 1
        return group[min(turn, len(group) - 1)]


def _line(exchange: Exchange) -> str:
    return f"{exchange.request.method} {exchange.request.url}"


def _likeness(exchange: Exchange, seen: Seen) -> float:
    """Tell how much of a request's body and headers is as in an exchange, 0 to 1."""
    request = exchange.request
    headers = sum(seen.headers.get(name.lower()) == it for name, it in request.headers.items())
    return headers + _shared(_keys((request.json, request.form, request.text)), _keys(seen.body))


def _keys(body: tuple[Any, ...]) -> set[str]:
    tree: Any = next((part for part in body if part is not None), {})
    tree = tree[0] if isinstance(tree, list) and tree else tree
    return set(tree) if isinstance(tree, dict) else {str(tree)}


def _shared(one: set[str], other: set[str]) -> float:
    return len(one & other) / (len(one | other) or 1)


async def _body(request: web.Request) -> tuple[Any, ...]:
    """Read a body as JSON, form fields, text; one of them at most."""
    if not request.can_read_body:
        return None, None, None
    if request.content_type == "application/json":
        return orjson.loads(await request.read()), None, None
    if request.content_type == "multipart/form-data":
        return None, dict(await request.post()), None
    return None, None, await request.text()
