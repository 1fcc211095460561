"""What crosses the boundary between an adapter and the gateway.

The law: an adapter is pure. It is given a call and replies, it gives requests and an answer;
it opens no socket, reads no clock and keeps no state. A conversation with a provider is a
generator, a *flow*: `reply = yield request`, until it returns an `Answer` or raises an
`adapters.errors.ImageError`. Where nobody wants the picture any more, `adapters.errors.Abandoned`
is thrown into it: it may yield one last request, by which the provider cancels what it was asked
for, and ends.

    class Acme(Adapter):
        id, name, base_url = "acme", "Acme Pictures", "https://api.acme.test/v1"

        families = (("", Table((Param("prompt"), Param("seed", kind=int)))),)

        def request(self, call: ImageCall) -> ProviderRequest:
            return ProviderRequest("/pictures", json={"model": call.model, **call.fields})

        def answer(self, call: ImageCall, reply: ProviderReply) -> Answer:
            return Answer(tuple(Image(url=u) for u in items_at(reply.json(), "urls")))
"""

from __future__ import annotations

import re
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar
from urllib.parse import unquote_to_bytes
from uuid import UUID

import orjson

from adapters import errors
from adapters.frozen import frozen
from adapters.http import ProviderReply, ProviderRequest
from adapters.table.table import Table
from adapters.tools.json_access import dig


@frozen
class Credentials:
    """A provider's key and its own options, by their documented config names.

    `options` holds what `Adapter.options` declares and nothing else, aliases resolved,
    patterns checked. It has no repr: it holds secrets.
    """

    api_key: str = ""
    options: Mapping[str, str] = field(default_factory=dict)

    def __getitem__(self, name: str) -> str:
        """Give the option `name`, "" when it is not set."""
        return self.options.get(name, "")


@dataclass(frozen=True, slots=True)
class Option:
    """One provider option: config key `name`, header `x-portkey-` + name with dashes.

    `pattern` must match the whole value; it keeps a value from leaving its place in a URL or a
    header. `secret` values are never shown. `headers` are further request headers that carry it.
    An `operator` option is the operator's alone: it stands in a virtual key of the settings, and
    neither a header nor a caller's config can give it.
    """

    name: str
    description: str
    aliases: tuple[str, ...] = ()
    headers: tuple[str, ...] = ()
    pattern: str = r"[!-~][ -~]{0,511}"
    secret: bool = False
    operator_only: bool = False

    @property
    def header(self) -> str:
        """The request header that carries this option.

        >>> Option("azure_api_version", "which API").header
        'x-portkey-azure-api-version'
        """
        return "x-portkey-" + self.name.replace("_", "-")


@frozen
class ImageCall:
    """The client's image request, parsed, for one conversation with one provider.

    `params` is the client's body with the target's default, override and drop applied;
    `fields` is what the adapter's table made of it (for a provider that speaks OpenAI's shape:
    the params themselves). `body` holds the client's own bytes while they still say exactly
    `fields`, else None. `n` is how many pictures this conversation shall make. `chance` is a random
    number of the gateway's, 1 to 2**128 - 1, another one for every call; 0 where nobody drew one.
    """

    params: Mapping[str, Any]
    fields: Mapping[str, Any]
    credentials: Credentials = field(default_factory=Credentials)
    body: bytes | None = None
    n: int = 1
    nonce: int = 0

    @property
    def uuid(self) -> str:
        """A UUID (version 4) for this call and no other, made of `chance`."""
        return str(UUID(int=self.nonce, version=4))

    @property
    def model(self) -> str:
        """The model the client named, "" when it named none."""
        return self.params.get("model") or ""

    @property
    def multipart_fields(self) -> dict[str, str]:
        """The fields as those of a multipart form: what is no text is written as JSON."""
        return {
            name: it if isinstance(it, str) else orjson.dumps(it).decode()
            for name, it in self.fields.items()
        }

    @property
    def stream(self) -> bool:
        """Whether the client asked for events."""
        return self.params.get("stream") is True

    @property
    def response_format(self) -> str:
        """`url`, `b64_json`, or "" when the client left it to the provider."""
        return self.params.get("response_format") or ""


@frozen
class Image:
    """One picture: exactly one of `url`, `b64` (base64 text) or `data` (raw bytes).

    `extra` is added to the client's entry (`revised_prompt`, `seed`). `preview` is the index of a
    picture that is not finished yet, which only an event can hold.
    """

    url: str = ""
    b64: str = ""
    data: bytes = b""
    media_type: str = ""
    extra: Mapping[str, Any] = field(default_factory=dict)
    partial_index: int | None = None

    @property
    def inline_size(self) -> int:
        """How many bytes of a picture are here."""
        return len(self.data) + len(self.b64) // 4 * 3

    @classmethod
    def from_url(cls, place: str, /, **extra: Any) -> Image:
        """Read a URL as providers give it: an http(s) one is kept, a `data:` one is opened.

        >>> Image.from_url("data:image/png;base64,iVBO").b64
        'iVBO'
        """
        if not place.startswith("data:"):
            return cls(url=place, extra=extra)
        head, _, content = place[len("data:") :].partition(",")
        media_type, *parameters = head.split(";")
        if "base64" in parameters:
            return cls(b64=content, media_type=media_type, extra=extra)
        return cls(data=unquote_to_bytes(content), media_type=media_type, extra=extra)

    @classmethod
    def from_reply(cls, reply: ProviderReply, /, **extra: Any) -> Image | None:
        """Take a reply's own bytes, if they are those of a picture.

        >>> Image.from_reply(ProviderReply(200, {"content-type": "image/png"}, b"PNG")).media_type
        'image/png'
        """
        if reply.body and reply.media_type.startswith("image/"):
            return cls(data=reply.body, media_type=reply.media_type, extra=extra)
        return None


@frozen
class Answer:
    """What a conversation came to.

    `usage` is the OpenAI usage object if the provider counted; `extra` is added to the top of
    the client's body. `body` is the provider's own body when it already is the client's shape.
    """

    images: tuple[Image, ...]
    usage: Mapping[str, Any] | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)
    body: bytes | None = None


@frozen
class AccessToken:
    """What a token endpoint gave: option values good for `seconds`."""

    options: Mapping[str, str]
    expires_in: float


@frozen
class SignableRequest:
    """A request as it will be on the wire, for signing. `time` is seconds since the epoch."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes
    time: float


Flow = Generator[ProviderRequest, ProviderReply, Answer]
TokenFlow = Generator[ProviderRequest, ProviderReply, AccessToken]


class Adapter:
    """A pure translator for one provider. One subclass a file, one instance, `ADAPTER`."""

    id: ClassVar[str]
    name: ClassVar[str]
    otel_provider_name: ClassVar[str] = ""
    """The provider's name in traces (`gen_ai.provider.name`), where OpenTelemetry's conventions
    have one for it that is not its id."""
    base_url: ClassVar[str]
    """Up to and including the version segment, no slash at the end. "" when it depends on the
    options (then `base` gives it), `IN_PROCESS` when the gateway serves the provider itself."""
    docs: ClassVar[str] = ""
    models: ClassVar[tuple[str, ...]] = ()
    """Models known today, the recommended one first; others are never refused on their name."""
    tables_by_model: ClassVar[tuple[tuple[str | tuple[str, ...], Table], ...]] = (("", Table(())),)
    """Tables by how a model's name begins, the first that fits; the last, "", fits any name."""
    options: ClassVar[tuple[Option, ...]] = ()
    credential_domains: ClassVar[tuple[str, ...]] = ()
    """Hosts (and all below them) that may get the credential beside the base URL's own origin."""
    url_lifetime: ClassVar[int] = 0
    """Seconds that a picture's URL stays good; 0 when the provider gives none."""
    passthrough: ClassVar[bool] = False
    """Speaks the client's shape: every parameter goes through as sent, answers come verbatim."""
    keyless: ClassVar[bool] = False
    """Needs no credential."""
    unconfirmed: ClassVar[str] = ""
    """What of this adapter has not been seen against the live service, for the docs."""
    confidence: ClassVar[str] = "high"
    """How good the sources are: `high`, `medium` or `low`."""
    experimental: ClassVar[bool] = False
    """Written from old or third-party sources only, or for a service whose state is in doubt."""
    docs_checked_on: ClassVar[str] = "2026-11-22"
    """When the sources were read."""
    status_by_code: ClassVar[Mapping[str, int]] = {}
    """What the provider's own error codes mean, by how they begin: the HTTP status that says it
    best, whatever the status on the wire; `errors.REFUSED` for its safety system."""
    refusal_pattern: ClassVar[re.Pattern[str] | None] = None
    """What the provider's words look like when its safety system said no."""
    status_by_phrase: ClassVar[Mapping[str, int]] = {}
    """What the provider's words mean where no code says it: pieces of its sentence, in lower case,
    the first that fits; a status as in `codes`."""

    def resolve_base_url(self, credentials: Credentials) -> str:
        """Give the base URL for these credentials."""
        del credentials
        return self.base_url

    def table_for(self, model: str) -> Table:
        """Give the parameter table of the family that `model` belongs to."""
        return next(table for start, table in self.tables_by_model if model.startswith(start))

    def effective_model(self, named: str, credentials: Credentials) -> str:
        """Name the model whose table holds: an option may replace or explain the client's."""
        del credentials
        return named

    def effective_table(self, call: ImageCall) -> Table:
        """Give the table by which a call is translated; `call.fields` are `call.params`."""
        return self.table_for(self.effective_model(call.model, call.credentials))

    def suppressed_params(self, call: ImageCall) -> frozenset[str]:
        """Name the client's parameters that do not go out here, so that its receipt says so.

        It is asked before the table makes something of them: `call.fields` are `call.params`.
        """
        del call
        return frozenset()

    def missing_credentials(self, credentials: Credentials) -> str:
        """Name what is missing for a request to be possible; "" when nothing is."""
        return "" if self.keyless or credentials.api_key else "an API key"

    def sign(self, outgoing: SignableRequest, credentials: Credentials) -> Mapping[str, str]:
        """Give the headers that carry the credential. Default: `Authorization: Bearer`."""
        del outgoing
        return {"authorization": f"Bearer {credentials.api_key}"} if credentials.api_key else {}

    def token_flow(self, credentials: Credentials, time: float) -> TokenFlow | None:
        """Give the flow that buys a short-lived token for these credentials, if one is needed.

        Its requests name absolute URLs and are sent as they are: a flow that has to sign one does
        so itself, with `time`, seconds since the epoch. The granted options are added to the
        credentials, and kept until shortly before they run out.
        """
        del credentials, time
        return None

    def flow(self, call: ImageCall) -> Flow:
        """Converse with the provider. Default: one request, one reply."""
        reply = yield self.build_request(call)
        return self.parse_answer(call, self.raise_for_status(reply))

    def build_request(self, call: ImageCall) -> ProviderRequest:
        """Give the request of a one-shot conversation."""
        raise NotImplementedError

    def parse_answer(self, call: ImageCall, reply: ProviderReply) -> Answer:
        """Read the reply of a one-shot conversation; its status is below 400."""
        raise NotImplementedError

    def parse_event(self, call: ImageCall, data: Any) -> Answer:
        """Read one server-sent event, parsed: pictures, previews, usage, or nothing yet.

        Raises what an event that tells of a failure means.
        """
        raise NotImplementedError

    def parse_progress(self, reply: ProviderReply) -> float | None:
        """Tell how far a job is, 0 to 1, by a reply on which the flow goes on; None: not said."""
        del reply
        return None

    def raise_for_status(self, reply: ProviderReply) -> ProviderReply:
        """Give the reply back, or raise what its error status means."""
        if reply.ok:
            return reply
        raise self.provider_error(reply)

    def error_message(self, reply: ProviderReply) -> str:
        """Find the sentence in which the provider says what went wrong; "" when there is none."""
        return errors.find_error_message(reply)

    def provider_error(self, reply: ProviderReply) -> errors.ProviderError:
        """Say what a reply means that tells of a failure, whatever its status.

        Default: by `codes`, `refuses`, `phrases`, the status, with the sentence of `told`.
        """
        said, status = (
            self.error_message(reply),
            errors.status_from_codes(reply, self.status_by_code),
        )
        unsafe = (
            not status and self.refusal_pattern is not None and self.refusal_pattern.search(said)
        )
        if status == errors.REFUSED or unsafe:
            return self.refusal(reply)
        status = status or errors.status_from_phrases(said, self.status_by_phrase)
        return errors.error_from_reply(reply, message=said, status=status)

    def refusal(self, reply: ProviderReply) -> errors.ProviderError:
        """Say that the safety system refused, in the provider's words."""
        return errors.refusal(self.error_message(reply), provider_status=reply.status)

    def no_image_error(self, reply: ProviderReply) -> errors.ProviderError:
        """Say what a success without a picture means: what its `error` tells of, if it has one."""
        tells = dig(reply.json(), "error") is not None
        return self.provider_error(reply) if tells else errors.no_image_error(reply.status)


IN_PROCESS = "in-process:"
"""The base URL of a provider that the gateway serves itself, on a loopback socket."""
