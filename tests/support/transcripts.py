"""The evidence for each adapter: recorded-style conversations, and a driver that plays them.

A transcript is `tests/transcripts/<provider-id>/<name>.json`, written from the provider's
documentation. `play` runs an adapter's flow against one without any HTTP: every request must be
the one written down, in order, and the flow gets the replies written down.

    for transcript in transcripts_of("openai"):
        answer = play(transcript)      # an Answer, None for a relayed stream, or an ImageError

Signatures depend on the time, so patterns in a transcript's headers and in a request's text leave
it open. No private key is written down: its place in the credentials is filled when they are read.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Literal, TypeVar
from urllib.parse import urlsplit

import msgspec
import orjson

from adapters import get_adapter
from adapters.contract import Adapter, Answer, Credentials, Image, ImageCall, SignableRequest
from adapters.errors import ImageError
from adapters.http import ProviderReply, ProviderRequest
from adapters.table.receipt import Receipt
from adapters.table.table import UnsupportedPolicy, known_params, passthrough_receipt
from adapters.tools.sse import EventParser
from tests.support.rsa_key import PLACE, rsa_pem

CANCELLING = {"comfyui", "dashscope", "fal-ai", "invokeai", "krea", "luma", "replicate"}
"""The providers with a request that cancels a job."""

FOLDER = Path(__file__).parent.parent / "transcripts"
SIGNING_TIME = datetime(2026, 11, 22, tzinfo=UTC).timestamp()

T = TypeVar("T")


class _Strict(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A value read from a transcript; a key it does not know is an error."""


class Request(_Strict, frozen=True):
    """The request that the adapter must make.

    Headers are a subset; their values and `text` are fnmatch patterns.
    """

    method: str
    url: str
    wait: float = 0.0
    headers: dict[str, str] = {}
    json: Any = None
    form: dict[str, str] | None = None
    text: str | None = None


class Reply(_Strict, frozen=True):
    """The provider's reply, with at most one of the four bodies."""

    status: int = 200
    headers: dict[str, str] = {}
    json: Any = msgspec.UNSET
    base64: str | None = None
    text: str | None = None
    sse: str | None = None

    def __post_init__(self) -> None:
        bodies = [self.json is not msgspec.UNSET, *(self.base64, self.text, self.sse)]
        if sum(body not in (None, False) for body in bodies) > 1:
            raise ValueError("a reply has one body")

    @property
    def body(self) -> bytes:
        """The body's bytes."""
        if self.json is not msgspec.UNSET:
            return orjson.dumps(self.json)
        if self.base64 is not None:
            return b64decode(self.base64, validate=True)
        return (self.text or self.sse or "").encode()

    @property
    def wire_headers(self) -> dict[str, str]:
        """The headers, names in lower case, the content type filled in where it is obvious."""
        usual = {}
        if self.json is not msgspec.UNSET:
            usual = {"content-type": "application/json"}
        if self.sse is not None:
            usual = {"content-type": "text/event-stream"}
        return usual | {name.lower(): value for name, value in self.headers.items()}

    def received(self) -> ProviderReply:
        """Return the reply as an adapter gets it."""
        return ProviderReply(self.status, self.wire_headers, self.body)


class Exchange(_Strict, frozen=True):
    """One request and its reply."""

    request: Request
    reply: Reply


class Failure(_Strict, frozen=True):
    """The error that the client gets."""

    status: int
    type: str
    code: str | None = None
    param: str | None = None

    @classmethod
    def of(cls, error: ImageError) -> Failure:
        """Describe an adapter's error."""
        return cls(error.status, error.type, error.code, error.param)


class Transcript(_Strict, frozen=True, dict=True, rename={"credentials_": "credentials"}):
    """One conversation: the client's call, the exchanges with the provider, and the outcome."""

    about: str
    source: str
    read: str
    kind: Literal["success", "refusal", "error"]
    call: dict[str, Any]
    exchanges: list[Exchange]
    credentials_: dict[str, str] = {}
    downloads: dict[str, str] = {}
    answer: dict[str, Any] | None = None
    error: Failure | None = None
    receipt: str = ""
    place: str = ""
    """Its file, as `provider-id/name`; set by `load`, never in the file."""

    def __post_init__(self) -> None:
        if (self.kind == "success") is (self.error is not None):
            raise ValueError("a refusal or an error has `error`, a success has none")
        if self.answer is not None and self.kind != "success":
            raise ValueError("only a success has `answer`")
        if self.kind == "success" and self.answer is None and not self.is_relayed:
            raise ValueError("a success has `answer`, except for a relayed stream")

    @property
    def provider(self) -> str:
        """The provider's id."""
        return self.place.partition("/")[0]

    @property
    def is_relayed(self) -> bool:
        """Whether it ends in a stream of events that is relayed unread: one without `answer`."""
        return bool(self.exchanges) and self.exchanges[-1].reply.sse is not None and not self.answer

    @property
    def n(self) -> int:
        """How many images the client requests."""
        return self.call.get("n") or 1

    @cached_property
    def credentials(self) -> Credentials:
        """The key and the provider's options."""
        options = {k: v for k, v in self.credentials_.items() if k != "api_key"}
        return Credentials(self.credentials_.get("api_key", ""), options)

    @cached_property
    def first_call(self) -> tuple[ImageCall, str]:
        """The call as the gateway makes it, and the receipt with it."""
        return call_of(self, self.credentials)


@cache
def load(path: Path) -> Transcript:
    """Read a transcript; an unknown key or a wrong type is an error that names its place."""
    place = f"{path.parent.name}/{path.stem}"
    tree = orjson.loads(path.read_bytes())
    for name, value in tree.get("credentials", {}).items():
        if PLACE in value:
            tree["credentials"][name] = value.replace(PLACE, rsa_pem().replace("\n", "\\n"))
    try:
        return msgspec.convert({**tree, "place": place}, Transcript)
    except msgspec.ValidationError as broken:
        raise ValueError(f"{place}: {broken}") from broken


def transcripts_of(provider: str) -> list[Transcript]:
    """Read the transcripts of one provider."""
    return [load(path) for path in sorted(FOLDER.glob(f"{provider}/*.json"))]


@contextmanager
def naming(transcript: Transcript) -> Iterator[None]:
    """Add the transcript's place to whatever fails in the block."""
    try:
        yield
    except BaseException as failure:
        failure.add_note(f"in the transcript {transcript.place}")
        raise


def play(transcript: Transcript) -> Answer | None:
    """Run the adapter's flow against a transcript; None when the end is a relayed stream.

    Raises the adapter's ImageError, or AssertionError where the adapter asks for something else.
    """
    return finished(playing(transcript))


def playing(transcript: Transcript) -> Generator[None, None, Answer | None]:
    """Play a transcript one exchange at a time."""
    provider = get_adapter(transcript.provider)
    exchanges = iter(transcript.exchanges)
    unsigned = Wire(provider, transcript.credentials, signs=False)
    granting = _granted(provider, transcript.credentials)
    credentials = yield from _exchanged(granting, exchanges, unsigned)
    flow = _until_relayed(provider, call_of(transcript, credentials)[0])
    answer = yield from _exchanged(flow, exchanges, Wire(provider, credentials))
    assert next(exchanges, None) is None, f"{transcript.place}: replies left that nobody asked for"
    return answer


def finished(stepped: Generator[None, None, T]) -> T:
    """Run a stepwise conversation to its end and return its result."""
    while True:
        try:
            next(stepped)
        except StopIteration as end:
            value: T = end.value
            return value


def conversation(
    transcript: Transcript,
) -> Generator[ProviderRequest, ProviderReply, Answer | None]:
    """Start the conversation of a transcript, token and all, whatever the provider will reply."""
    provider = get_adapter(transcript.provider)
    credentials = yield from _granted(provider, transcript.credentials)
    own = credentials is transcript.credentials
    call, _ = transcript.first_call if own else call_of(transcript, credentials)
    return (yield from _until_relayed(provider, call))


def call_of(transcript: Transcript, credentials: Credentials) -> tuple[ImageCall, str]:
    """Make the call as the gateway does; return it and its receipt."""
    provider, params = get_adapter(transcript.provider), transcript.call
    call, receipt = translated(provider, params, credentials)
    assert call.n == transcript.n, f"{transcript.place}: `n` needs a fan-out"
    return call, str(receipt)


def translated(
    provider: Adapter,
    params: Mapping[str, Any],
    credentials: Credentials,
    policy: UnsupportedPolicy = UnsupportedPolicy.ADAPT,
) -> tuple[ImageCall, Receipt]:
    """Make the first call for some parameters as the gateway does; return it and its receipt."""
    call = ImageCall(params, params, credentials, orjson.dumps(params), params.get("n") or 1)
    withheld = provider.suppressed_params(call)
    if provider.passthrough:
        known = known_params(provider.tables_by_model)
        return call, passthrough_receipt(params, withheld, policy, provider.name, known)
    table = provider.effective_table(call)
    n = min(call.n, table.images_per_call)
    made = table.translate(params, policy, n=n, provider=provider.name, suppressed=withheld)
    return replace(call, fields=made.fields, n=n), made.receipt


def receipt_of(transcript: Transcript) -> str:
    """Write the receipt of a transcript's call."""
    return transcript.first_call[1]


def secrets_of(transcript: Transcript) -> list[str]:
    """Name the values that nobody but the provider may see."""
    found = transcript.credentials
    options = get_adapter(transcript.provider).options
    secrets = [found.api_key, *(found[option.name] for option in options if option.secret)]
    return [secret for secret in secrets if secret]


def shown(answer: Answer) -> dict[str, Any]:
    """Show an answer as the client sees it, without `created`."""
    body: dict[str, Any] = {"data": [_entry(image) for image in answer.images], **answer.extra}
    return body if answer.usage is None else {**body, "usage": answer.usage}


def _entry(image: Image) -> dict[str, Any]:
    if image.url:
        return {"url": image.url, **image.extra}
    return {"b64_json": image.b64 or b64encode(image.data).decode(), **image.extra}


def _granted(
    provider: Adapter, credentials: Credentials
) -> Generator[ProviderRequest, ProviderReply, Credentials]:
    """Let the adapter buy its token, if it needs one, and add it to the credentials."""
    flow = provider.token_flow(credentials, SIGNING_TIME)
    if flow is None:
        return credentials
    grant = yield from flow
    return Credentials(credentials.api_key, {**credentials.options, **grant.options})


def _until_relayed(
    provider: Adapter, call: ImageCall
) -> Generator[ProviderRequest, ProviderReply, Answer | None]:
    """Run a flow to its end: no answer where the gateway relays events unread, and the images
    of the events where the adapter reads them.
    """  # noqa: D205 - one sentence
    flow = provider.flow(call)
    request = next(flow)
    while True:
        reply = yield request
        if reply.ok and reply.media_type == "text/event-stream":
            if request.verbatim:
                return None
            if request.may_stream:
                return _told_by_events(provider, call, reply.body)
        try:
            request = flow.send(reply)
        except StopIteration as end:
            answer: Answer = end.value
            return answer


def _told_by_events(provider: Adapter, call: ImageCall, body: bytes) -> Answer:
    """Return the finished images and the usage reported by a stream of events."""
    events = EventParser()
    told = [
        provider.parse_event(call, event.json()) for event in (*events.feed(body), *events.flush())
    ]
    images = [image for answer in told for image in answer.images if image.partial_index is None]
    usages = [answer.usage for answer in told if answer.usage]
    return Answer(tuple(images), usage=usages[-1] if usages else None)


def _exchanged(
    flow: Generator[ProviderRequest, ProviderReply, T], exchanges: Iterator[Exchange], wire: Wire
) -> Generator[None, None, T]:
    """Compare each request of a flow with the transcript, and send the recorded reply."""
    try:
        request = next(flow)
        while True:
            exchange = next(exchanges, None)
            assert exchange, f"one more request than written down: {wire.line(request)}"
            _compare(exchange.request, request, wire)
            yield
            request = flow.send(exchange.reply.received())
    except StopIteration as end:
        value: T = end.value
        return value


@dataclass(frozen=True)
class Wire:
    """How an adapter's requests go out; a grant's requests are not signed."""

    provider: Adapter
    credentials: Credentials
    signs: bool = True

    def line(self, request: ProviderRequest) -> str:
        """Return method and full URL."""
        url = request.url or self.provider.resolve_base_url(self.credentials) + request.path
        return f"{request.method} {url}"

    def body(self, request: ProviderRequest) -> tuple[Any, ...]:
        """Return the body as JSON, form fields, text; at most one of them is set."""
        bodies = (request.json, request.form, request.content)
        assert sum(body is not None for body in bodies) <= 1, "a request has one body"
        if request.content is None:
            return request.json, request.form and dict(request.form), None
        if _lower(request.headers).get("content-type", "").startswith("application/json"):
            return orjson.loads(request.content), None, None
        return None, None, request.content.decode()

    def headers(self, request: ProviderRequest) -> tuple[dict[str, str], dict[str, str]]:
        """Return the headers of a request, and those that signing adds."""
        own, content = _lower(request.headers), request.content or b""
        if request.json is not None:
            own, content = {"content-type": "application/json"} | own, orjson.dumps(request.json)
        if not (self.signs and request.authenticated and self.is_ours(request.url)):
            return own, {}
        method, _, url = self.line(request).partition(" ")
        outgoing = SignableRequest(method, url, own, content, SIGNING_TIME)
        return own, _lower(self.provider.sign(outgoing, self.credentials))

    def is_ours(self, url: str) -> bool:
        """Whether a URL leads to the provider's own hosts, which may get the credential."""
        base, target = urlsplit(self.provider.resolve_base_url(self.credentials)), urlsplit(url)
        if not url or (base.scheme, base.netloc) == (target.scheme, target.netloc):
            return True
        below = tuple(f".{domain}" for domain in self.provider.credential_domains)
        return target.scheme == "https" and f".{target.hostname}".endswith(below)


@dataclass(frozen=True)
class Seen:
    """A request as somebody saw it: the line `METHOD URL`, headers in lower case, the body."""

    line: str
    headers: Mapping[str, str]
    body: tuple[Any, ...]

    def hold_against(self, expected: Request) -> None:
        """Assert that it is the request written down."""
        assert self.line == f"{expected.method} {expected.url}"
        *structured, text = self.body
        assert structured == [expected.json, expected.form]
        assert text == expected.text or fnmatchcase(text or "", expected.text or "")
        for name, pattern in expected.headers.items():
            value = self.headers.get(name.lower(), "(not sent)")
            assert fnmatchcase(value, pattern), f"{self.line}: {name} is {value}, not {pattern}"


def _compare(expected: Request, request: ProviderRequest, wire: Wire) -> None:
    """Assert that a request of a flow is the one written down."""
    line = wire.line(request)
    assert request.delay == expected.wait, f"{line}: waits {request.delay} seconds"
    own, added = wire.headers(request)
    Seen(line, own | added, wire.body(request)).hold_against(expected)
    written = _lower(expected.headers).keys()
    assert not added or written & added.keys(), f"{line}: shows none of {sorted(added)}"


def _lower(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}
