"""HTTP between an adapter and a provider: the request to send, and the reply to parse.

The gateway does the sending. This module imports nothing else of the package but `frozen` and
`tools.lenient_json`, which import nothing of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Any

from adapters.frozen import frozen
from adapters.tools.lenient_json import read_json

_ERROR_STATUS = 400
_UNPARSED = object()


@frozen
class ProviderRequest:
    """One request to a provider.

    `path` is appended to the base URL and is already percent-encoded. `url` is used instead when
    a provider's reply contains an absolute URL; it gets the credential only on the provider's own
    hosts. At most one of `json`, `form` (multipart text fields) and `content` is the body.

    `delay` is the number of seconds to wait before sending. `authenticated=False` sends no
    credential. `verbatim` means that a success already has the client's format and is relayed
    unparsed. `may_stream` means that a success may be server-sent events, each of which
    `Adapter.parse_event` parses. The gateway signs an `assertion` and appends it to `content`.
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
    """A JSON Web Token to sign with RS256 (RFC 7523), for a token endpoint.

    `private_key` is PEM. The gateway signs, because the standard library cannot.
    """

    claims: Mapping[str, Any]
    private_key: str
    key_id: str = ""


class ProviderReply:
    """One reply of a provider: status, lower-case headers, the whole body.

    `tree` is the body's parsed JSON, if it has been parsed already.
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
        """Whether the status is below 400."""
        return self.status < _ERROR_STATUS

    @property
    def media_type(self) -> str:
        """The content type in lower case, without its parameters."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    def json(self) -> Any:
        """Return the parsed body, None if it is not JSON. The result is cached.

        If the JSON has a fault that can be repaired, `body` becomes the repaired text.
        """
        if self._tree is _UNPARSED:
            self._tree, self.body = read_json(self.body)
        return self._tree
