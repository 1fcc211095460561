"""The interface between an adapter and the gateway: `Adapter` and the types it uses.

An adapter is pure. It turns an `ImageCall` into requests, and replies into an `Answer`; it opens no
socket, reads no clock and keeps no state. One conversation with a provider is a generator, a
*flow*: `reply = yield request`, until it returns an `Answer` or raises an
`adapters.errors.ImageError`. If the image is no longer wanted, `adapters.errors.FlowCancelled` is
thrown into the flow, which may yield one last request to cancel the provider's job.

Most adapters are one request and one reply, so they write two methods and a table:

    class Acme(Adapter):
        id, name, base_url = "acme", "Acme", "https://api.acme.test/v1"

        tables_by_model = (("", Table((Param("prompt"), Param("seed", kind=int)))),)

        def build_request(self, call: ImageCall) -> ProviderRequest:
            return ProviderRequest("/images", json={"model": call.model, **call.fields})

        def parse_answer(self, call: ImageCall, reply: ProviderReply) -> Answer:
            return Answer(tuple(Image(url=url) for url in dig_list(reply.json(), "urls")))

The classes in `adapters.bases` do even that for OpenAI's wire format and for polling.
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
from adapters.table.table import Table, TablesByModel
from adapters.tools.image_header import detect_media_type
from adapters.tools.json_access import dig

_BILLING_HEADERS = frozenset({"openai-organization", "openai-project", "x-goog-user-project"})
"""Headers that bill another account; many servers follow these two conventions."""


@frozen
class Credentials:
    """A provider's API key and its options, by their documented config names.

    `options` holds only what `Adapter.options` declares, with aliases resolved and patterns
    checked. There is no repr, because it holds secrets.
    """

    api_key: str = ""
    options: Mapping[str, str] = field(default_factory=dict)

    def __getitem__(self, name: str) -> str:
        """Return the option `name`, "" if it is not set."""
        return self.options.get(name, "")


@dataclass(frozen=True, slots=True)
class Option:
    """One provider option: config key `name`, request header `x-portkey-` + name with dashes.

    `pattern` must match the whole value, so that a value cannot break out of a URL or header.
    `secret` values are never shown. `headers` are further request headers that set the option.
    `sent_as` is the provider's header that carries it, if it has another name than those. An
    `operator_only` option can be set only in a virtual key of the settings, not by a header or a
    client's config.
    """

    name: str
    description: str
    aliases: tuple[str, ...] = ()
    headers: tuple[str, ...] = ()
    sent_as: str = ""
    pattern: str = r"[!-~][ -~]{0,511}"
    secret: bool = False
    operator_only: bool = False

    @property
    def header(self) -> str:
        """The request header that sets this option.

        >>> Option("azure_api_version", "API version").header
        'x-portkey-azure-api-version'
        """
        return "x-portkey-" + self.name.replace("_", "-")

    @property
    def provider_headers(self) -> tuple[str, ...]:
        """The names of provider headers that may carry this option.

        >>> Option("openai_beta", "beta features", headers=("openai-beta",)).provider_headers
        ('openai-beta', 'openai-beta')
        """
        names = (self.name.replace("_", "-"), *self.headers, self.sent_as)
        return tuple(filter(None, names))


@frozen
class ImageCall:
    """The client's image request, parsed, for one conversation with one provider.

    `params` is the client's body after the target's defaults, overrides and drops. `fields` is its
    translation by the adapter's table (for a passthrough provider, the params themselves). `body`
    is the client's own bytes as long as they are equal to `fields`, else None. `n` is the number of
    images this conversation must generate. `nonce` is a random number that the gateway draws for
    each call, 1 to 2**128 - 1; 0 if none was drawn.
    """

    params: Mapping[str, Any]
    fields: Mapping[str, Any]
    credentials: Credentials = field(default_factory=Credentials)
    body: bytes | None = None
    n: int = 1
    nonce: int = 0

    @property
    def uuid(self) -> str:
        """A version 4 UUID unique to this call, derived from `nonce`."""
        return str(UUID(int=self.nonce, version=4))

    @property
    def model(self) -> str:
        """The model that the client named, "" if none."""
        return self.params.get("model") or ""

    @property
    def multipart_fields(self) -> dict[str, str]:
        """The fields as multipart text fields; values that are not strings are JSON."""
        return {
            name: value if isinstance(value, str) else orjson.dumps(value).decode()
            for name, value in self.fields.items()
        }

    @property
    def stream(self) -> bool:
        """Whether the client asked for server-sent events."""
        return self.params.get("stream") is True

    @property
    def response_format(self) -> str:
        """`url`, `b64_json`, or "" if the client left it to the provider."""
        return self.params.get("response_format") or ""


@frozen
class Image:
    """One image: exactly one of `url`, `b64` (base64 text) or `data` (raw bytes).

    `extra` is added to the client's entry (`revised_prompt`, `seed`). `partial_index` is set for a
    partial image, which only an event can hold: its index, from 0.
    """

    url: str = ""
    b64: str = ""
    data: bytes = b""
    media_type: str = ""
    extra: Mapping[str, Any] = field(default_factory=dict)
    partial_index: int | None = None

    @property
    def inline_size(self) -> int:
        """The size in bytes of the image data held here; 0 for a URL."""
        return len(self.data) + len(self.b64) // 4 * 3

    @classmethod
    def from_url(cls, url: str, /, **extra: Any) -> Image:
        """Create an image from a URL of a provider; a `data:` URL is decoded.

        >>> Image.from_url("data:image/png;base64,iVBO").b64
        'iVBO'
        """
        if not url.startswith("data:"):
            return cls(url=url, extra=extra)
        head, _, content = url[len("data:") :].partition(",")
        media_type, *parameters = head.split(";")
        if "base64" in parameters:
            return cls(b64=content, media_type=media_type, extra=extra)
        return cls(data=unquote_to_bytes(content), media_type=media_type, extra=extra)

    @classmethod
    def from_reply(cls, reply: ProviderReply, /, **extra: Any) -> Image | None:
        """Create an image from a reply's body; None if the reply is not an image.

        The first bytes decide, since some servers send images as `application/octet-stream` or
        without a type. A format that they do not show is believed if the content type names it.

        >>> reply = ProviderReply(200, {"content-type": "text/plain"}, b"GIF89a" + bytes(20))
        >>> Image.from_reply(reply).media_type
        'image/gif'
        """
        declared = reply.media_type if reply.media_type.startswith("image/") else ""
        media_type = detect_media_type(reply.body) or declared
        if reply.body and media_type:
            return cls(data=reply.body, media_type=media_type, extra=extra)
        return None


@frozen
class Answer:
    """The result of a conversation.

    `usage` is OpenAI's usage object, if the provider reported one. `extra` is added to the top
    level of the client's response. `body` is the provider's own body, if it already has the
    client's format.
    """

    images: tuple[Image, ...]
    usage: Mapping[str, Any] | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)
    body: bytes | None = None


@frozen
class AccessToken:
    """The reply of a token endpoint: option values that expire in `expires_in` seconds."""

    options: Mapping[str, str]
    expires_in: float


@frozen
class SignableRequest:
    """A request as it will be sent, to be signed. `time` is in seconds since the epoch."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes
    time: float


Flow = Generator[ProviderRequest, ProviderReply, Answer]
TokenFlow = Generator[ProviderRequest, ProviderReply, AccessToken]


class Adapter:
    """A pure translator for one provider. Each file defines one subclass and one `ADAPTER`."""

    id: ClassVar[str]
    name: ClassVar[str]
    otel_provider_name: ClassVar[str] = ""
    """The provider's name in traces (`gen_ai.provider.name`), if OpenTelemetry's conventions
    define one that differs from `id`."""
    base_url: ClassVar[str]
    """The URL up to and including the version segment, without a trailing slash. "" if it depends
    on the options (override `resolve_base_url`), `IN_PROCESS` if the gateway is the provider."""
    docs: ClassVar[str] = ""
    models: ClassVar[tuple[str, ...]] = ()
    """Known models, the recommended one first. A request may name any other model."""
    tables_by_model: ClassVar[TablesByModel] = (("", Table(())),)
    """Tables by the prefix of the model's name. The first match counts; "" stands last."""
    options: ClassVar[tuple[Option, ...]] = ()
    credential_domains: ClassVar[tuple[str, ...]] = ()
    """Hosts (with their subdomains) that may get the credential, besides the base URL's origin."""
    url_lifetime: ClassVar[int] = 0
    """Lifetime in seconds of an image URL; 0 if the provider returns image data."""
    passthrough: ClassVar[bool] = False
    """Whether the provider speaks OpenAI's wire format: parameters and responses pass unchanged."""
    keyless: ClassVar[bool] = False
    """Whether the provider works without a credential."""
    unconfirmed: ClassVar[str] = ""
    """What the sources leave open about this provider, for the docs."""
    confidence: ClassVar[str] = "high"
    """How reliable the sources are: `high`, `medium` or `low`."""
    experimental: ClassVar[bool] = False
    """Whether the sources are old or third-party only, or the service may have ended."""
    docs_checked_on: ClassVar[str] = "2026-11-22"
    """The date on which the sources were read."""
    status_by_code: ClassVar[Mapping[str, int]] = {}
    """The HTTP status for each of the provider's error codes, by prefix, whatever status it sent;
    `errors.REFUSED` for a refusal by its safety system."""
    refusal_pattern: ClassVar[re.Pattern[str] | None] = None
    """Matches an error message that is a refusal by the provider's safety system."""
    status_by_phrase: ClassVar[Mapping[str, int]] = {}
    """The HTTP status for phrases (lower case) in an error message, used if no code matches. The
    first match counts; values as in `status_by_code`."""

    @property
    def reserved_headers(self) -> frozenset[str]:
        """The headers that only the owner of a credential sets: options, and who is billed."""
        options = (name for option in self.options for name in option.provider_headers)
        return _BILLING_HEADERS.union(options)

    def resolve_base_url(self, credentials: Credentials) -> str:
        """Return the base URL for these credentials."""
        del credentials
        return self.base_url

    def table_for(self, model: str) -> Table:
        """Return the parameter table for a model."""
        return next(table for start, table in self.tables_by_model if model.startswith(start))

    def effective_model(self, model: str, credentials: Credentials) -> str:
        """Return the model whose table applies. An option may replace the client's model."""
        del credentials
        return model

    def effective_table(self, call: ImageCall) -> Table:
        """Return the table that translates a call. Here `call.fields` is still `call.params`."""
        return self.table_for(self.effective_model(call.model, call.credentials))

    def suppressed_params(self, call: ImageCall) -> frozenset[str]:
        """Return the client's parameters that are not sent in this call; the receipt lists them.

        It is called before translation: `call.fields` is still `call.params`.
        """
        del call
        return frozenset()

    def missing_credentials(self, credentials: Credentials) -> str:
        """Return what is missing, in words for the client; "" if a request can be sent."""
        return "" if self.keyless or credentials.api_key else "an API key"

    def sign(self, request: SignableRequest, credentials: Credentials) -> Mapping[str, str]:
        """Return the headers that carry the credential. Default: `Authorization: Bearer`."""
        del request
        return {"authorization": f"Bearer {credentials.api_key}"} if credentials.api_key else {}

    def token_flow(self, credentials: Credentials, time: float) -> TokenFlow | None:
        """Return a flow that requests a short-lived token, if these credentials need one.

        Its requests have absolute URLs and are sent without credentials; a flow that must sign one
        does so itself, at `time` (seconds since the epoch). The options in the token are added to
        the credentials and cached until shortly before they expire.
        """
        del credentials, time
        return None

    def flow(self, call: ImageCall) -> Flow:
        """Run the conversation with the provider. Default: one request, one reply."""
        reply = yield self.build_request(call)
        return self.parse_answer(call, self.raise_for_status(reply))

    def build_request(self, call: ImageCall) -> ProviderRequest:
        """Return the request of a conversation of one request."""
        raise NotImplementedError

    def parse_answer(self, call: ImageCall, reply: ProviderReply) -> Answer:
        """Parse the reply to `build_request`; its status is below 400."""
        raise NotImplementedError

    def parse_event(self, call: ImageCall, data: Any) -> Answer:
        """Parse one server-sent event, already decoded from JSON.

        The answer holds images, partial images, usage, or nothing. Raises `ProviderError` for an
        event that reports a failure.
        """
        raise NotImplementedError

    def parse_progress(self, reply: ProviderReply) -> float | None:
        """Return a job's progress, 0 to 1, from a reply to a poll; None if it reports none."""
        del reply
        return None

    def raise_for_status(self, reply: ProviderReply) -> ProviderReply:
        """Return the reply, or raise `provider_error` if its status is 400 or above."""
        if reply.ok:
            return reply
        raise self.provider_error(reply)

    def error_message(self, reply: ProviderReply) -> str:
        """Return the provider's own error message, "" if the reply has none."""
        return errors.find_error_message(reply)

    def provider_error(self, reply: ProviderReply) -> errors.ProviderError:
        """Return the error for a reply that reports a failure, whatever its status.

        The default uses, in this order: `status_by_code`, `refusal_pattern`, `status_by_phrase`,
        the reply's status. The message is `error_message`.
        """
        message = self.error_message(reply)
        status = errors.status_from_codes(reply, self.status_by_code)
        pattern = self.refusal_pattern
        if status == errors.REFUSED or (not status and pattern and pattern.search(message)):
            return self.refusal(reply)
        status = status or errors.status_from_phrases(message, self.status_by_phrase)
        return errors.error_from_reply(reply, message=message, status=status)

    def refusal(self, reply: ProviderReply) -> errors.ProviderError:
        """Return the error for a refusal by the safety system, with the provider's message."""
        return errors.refusal(self.error_message(reply), provider_status=reply.status)

    def no_image_error(self, reply: ProviderReply) -> errors.ProviderError:
        """Return the error for a success without an image: its `error`, if the body has one."""
        if errors.says_something(dig(reply.json(), "error")):
            return self.provider_error(reply)
        return errors.no_image_error(reply.status, self.error_message(reply))


IN_PROCESS = "in-process:"
"""The base URL of a provider that the gateway itself serves, on a loopback socket."""
