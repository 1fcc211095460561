"""Signed URLs of blobs: anyone who has the URL may read that one blob, until it expires.

    /v1/images/blobs/{id}.{ext}?expires={seconds since the epoch}&sig={owner}{mac}

The id is 128 random bits, or a keyed digest of an image in the cache. `owner` is a keyed digest of
the caller's name (16 hex digits): the blob's folder in the store, which does not reveal the
caller. `mac` (64 hex digits) is an HMAC-SHA256 over id, media type, owner and expiry: none of them
can be changed.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from proxy.blobs.media_types import EXTENSIONS, MEDIA_TYPES
from proxy.errors import BlobStoreFailed
from proxy.settings.secrets import load_or_create_secret

BLOB_ROUTE = "/v1/images/blobs/{name}"
"""The route of blobs."""

BLOB_NAME = re.compile(rf"([0-9a-f]{{32}})\.({'|'.join(MEDIA_TYPES)})")
OWNER_FOLDER = re.compile(r"[0-9a-f]{16}")

_SIGNATURE = re.compile(rf"({OWNER_FOLDER.pattern})([0-9a-f]{{64}})")
_EXPIRES = re.compile(r"[1-9][0-9]{0,11}")
_KEY_FILE = "blob-signing-key"
_KEY = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class BlobUrl:
    """The contents of a signed URL. `expires` is in seconds since the epoch."""

    blob_id: str
    media_type: str
    owner: str
    expires: int

    @property
    def name(self) -> str:
        """The last part of the URL's path."""
        return f"{self.blob_id}.{EXTENSIONS[self.media_type]}"

    @property
    def path(self) -> str:
        """The blob's path in the store."""
        return f"{self.owner}/{self.name}"


class Signer:
    """Signs and verifies blob URLs.

    `key` is the operator's. If it is empty, a generated one is stored in `state_dir`, readable
    only by its owner, when it is first needed.
    """

    def __init__(self, key: str, state_dir: str) -> None:
        self._configured_key = key
        self._state_dir = state_dir

    def new_url(
        self, caller: str, media_type: str, expires: int, content_digest: str = ""
    ) -> BlobUrl:
        """Return the URL of a new blob, with a random id; of a cached image, always the same id."""
        owner = self._digest("owner", caller)[:16]
        blob_id = (
            self._digest("content", content_digest)[:32]
            if content_digest
            else secrets.token_hex(16)
        )
        return BlobUrl(blob_id, media_type, owner, expires)

    def query(self, url: BlobUrl) -> str:
        """Return the query string with the signature."""
        return f"expires={url.expires}&sig={url.owner}{self._mac(url)}"

    def verify(self, name: str, query: Mapping[str, str]) -> BlobUrl | None:
        """Return the contents of a URL, expired or not; None if its signature is not valid."""
        name_match = BLOB_NAME.fullmatch(name)
        expires = _EXPIRES.fullmatch(query.get("expires", ""))
        signature = _SIGNATURE.fullmatch(query.get("sig", ""))
        if not (name_match and expires and signature):
            return None
        url = BlobUrl(name_match[1], MEDIA_TYPES[name_match[2]], signature[1], int(expires[0]))
        return url if hmac.compare_digest(signature[2], self._mac(url)) else None

    def _mac(self, url: BlobUrl) -> str:
        # No part can contain a line break, so parts cannot be shifted.
        return self._digest("url", url.blob_id, url.media_type, url.owner, str(url.expires))

    def _digest(self, *parts: str) -> str:
        return hmac.new(self._key, "\n".join(parts).encode(), hashlib.sha256).hexdigest()

    @cached_property
    def _key(self) -> bytes:
        if self._configured_key:
            return self._configured_key.encode()
        try:
            key, _ = load_or_create_secret(
                self._state_dir, _KEY_FILE, _KEY, lambda: secrets.token_hex(32)
            )
        except OSError as error:
            raise BlobStoreFailed(
                "The gateway cannot store a key to sign image URLs: its operator has to set "
                "blobs.signing_key, or make state_dir writable."
            ) from error
        return key.encode()
