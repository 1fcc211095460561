"""HTTP between an adapter and a provider: the request to send and the reply that came back.

The gateway sends the requests. Nothing here imports the rest of the package except `frozen`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Any

import orjson

from adapters.frozen import frozen

_ERROR_STATUS = 400
_UNPARSED = object()


@frozen
class ProviderRequest:
    """One request to a provider.

    `path` is appended to the base URL and is already percent-encoded. `url` is used instead when
    a provider's reply named an absolute address: it gets the credential only on the provider's
    own hosts. At most one of `json`, `form` (multipart text fields) and `content` is the body.
    `wait` seconds pass before it is sent. `signed=False` keeps the credential off it. `verbatim`
    says: a success is already what the client is to see, relay it unread. `events`: a success may
    come as server-sent events, each of which `Adapter.event` reads. An `assertion` is signed by the
    gateway and put at the end of `content`.
    """

    path: str = ""
    url: str = ""
    method: str = "POST"
    headers: Mapping[str, str] = field(default_factory=dict)
    json: Any = None
    form: Mapping[str, str] | None = None
    content: bytes | None = None
    delay: float = 0.0
    authenticated: bool = True
    verbatim: bool = False
    may_stream: bool = False
    assertion: Assertion | None = None


@frozen
class Assertion:
    """A JSON Web Token to be signed with RS256 (RFC 7523), for a token endpoint.

    `private_key` is PEM. Signing takes more than the standard library, so the gateway does it.
    """

    claims: Mapping[str, Any]
    private_key: str
    key_id: str = ""


class ProviderReply:
    """One reply of a provider: status, lower-cased headers, the whole body.

    `tree` is the body's JSON where it has been parsed already.
    """

    __slots__ = ("_tree", "body", "headers", "status")

    def __init__(
        self,
        status: int = 200,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        tree: Any = _UNPARSED,
    ) -> None:
        self.status = status
        self.headers: Mapping[str, str] = headers or {}
        self.body = body
        self._tree = tree

    @property
    def ok(self) -> bool:
        """Whether the status says success."""
        return self.status < _ERROR_STATUS

    @property
    def media_type(self) -> str:
        """The content type without its parameters, lower case."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    def json(self) -> Any:
        """Parse the body, once; None when it is not JSON."""
        if self._tree is _UNPARSED:
            try:
                self._tree = orjson.loads(self.body)
            except orjson.JSONDecodeError:
                self._tree = None
        return self._tree
