"""The server's own edge, over raw sockets: every failure is an error like any other.

Each has OpenAI's shape, a trace id and an access line, and nothing is sent to a provider.
"""

from __future__ import annotations

import gzip
import zlib

import orjson
import pytest

from tests.support.connections import answer_to
from tests.support.gateway import KEY, PATH, Gateway, gateway_to

BODY = b'{"prompt": "a cube", "model": "gpt-image-1"}'
POST = f"POST {PATH} HTTP/1.1\r\n".encode()
HOST, CLOSE = b"host: localhost\r\n", b"connection: close\r\n"
KEYED = f"x-portkey-api-key: {KEY}\r\nx-portkey-virtual-key: up\r\n".encode()
JSON = b"content-type: application/json\r\n"
HUGE = b"content-length: 10737418240\r\n"


def request(
    *lines: bytes, body: bytes = BODY, start: bytes = POST, host: bytes = HOST, length: bytes = b""
) -> bytes:
    """Return the bytes of a request; a length in `lines` would be a second one."""
    length = length or b"content-length: %d\r\n" % len(body)
    head = b"".join(line + b"\r\n" for line in lines)
    return start + host + CLOSE + KEYED + head + length + b"\r\n" + body


REFUSED = {
    "zstd": (415, request(JSON[:-2], b"content-encoding: zstd")),
    "brotli": (415, request(JSON[:-2], b"content-encoding: br")),
    "an unknown encoding": (415, request(JSON[:-2], b"content-encoding: x-nope")),
    "compress": (415, request(JSON[:-2], b"content-encoding: compress")),
    "two encodings": (415, request(JSON[:-2], b"content-encoding: gzip, br")),
    "two encodings in two lines": (
        415,
        request(JSON[:-2], b"content-encoding: gzip", b"content-encoding: br"),
    ),
    "gzip in two lines": (
        415,
        request(
            JSON[:-2],
            *(b"content-encoding: gzip", b"content-encoding: gzip"),
            body=gzip.compress(gzip.compress(BODY)),
        ),
    ),
    "a name that is not decoded": (
        415,
        request(JSON[:-2], b"content-encoding: x-gzip", body=gzip.compress(BODY)),
    ),
    "zstd in chunks": (
        415,
        request(
            JSON[:-2],
            b"content-encoding: zstd",
            length=b"transfer-encoding: chunked\r\n",
            body=b"1\r\nx\r\n0\r\n\r\n",
        ),
    ),
    "three layers": (
        415,
        request(
            JSON[:-2],
            b"content-encoding: gzip, gzip, gzip",
            body=gzip.compress(gzip.compress(gzip.compress(BODY))),
        ),
    ),
    "content-type twice": (400, request(JSON[:-2], b"content-type: text/plain")),
    "the same content-type twice": (400, request(JSON[:-2], JSON[:-2])),
    "host twice": (400, request(JSON[:-2], b"host: evil.example")),
    "content-length twice": (400, request(JSON[:-2], b"content-length: 3")),
    "a blank in a name": (400, request(JSON[:-2], b"x name: 1")),
    "a blank before the colon": (400, request(JSON[:-2], b"x-name : 1")),
    "a header without a colon": (400, request(JSON[:-2], b"nonsense")),
    "a long header": (431, request(JSON[:-2], b"x-long: " + b"a" * 70_000)),
    "many headers": (431, request(JSON[:-2], *(b"x-%d: 1" % it for it in range(200)))),
    "HTTP/2.0": (400, request(JSON[:-2], start=POST.replace(b"1.1", b"2.0"))),
    "HTTP/3.0": (400, request(JSON[:-2], start=POST.replace(b"1.1", b"3.0"))),
    "HTTP/0.9": (400, request(JSON[:-2], start=POST.replace(b"1.1", b"0.9"))),
    "HTTP/11.1": (400, request(JSON[:-2], start=POST.replace(b"1.1", b"11.1"))),
    "no version": (400, b"GET /v1/models\r\n\r\n"),
    "the preface of HTTP/2": (400, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    "a TLS handshake": (400, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n"),
    "no host": (400, request(JSON[:-2], host=b"")),
    "a host that is none": (421, request(JSON[:-2], host=b"host: a b\r\n")),
    "a folded header": (400, request(JSON[:-2], b"x-a: a", b" b")),
    "no name": (400, request(JSON[:-2], b": a")),
    "a parenthesis in a name": (400, request(JSON[:-2], b"x-(a): a")),
    "NUL in a value": (400, request(JSON[:-2], b"x-a: a\0b")),
    "line feeds alone": (400, request(JSON[:-2]).replace(b"\r\n", b"\n")),
    "a method in lower case": (400, request(JSON[:-2], start=POST.replace(b"POST", b"post"))),
    "a path without a slash": (400, request(JSON[:-2], start=POST.replace(b" /", b" "))),
    "a long path": (431, request(start=b"GET /%b HTTP/1.1\r\n" % (b"a" * 70_000))),
    "a negative length": (400, request(JSON[:-2], length=b"content-length: -1\r\n")),
    "a length beyond 64 bits": (
        400,
        request(JSON[:-2], body=b"", length=b"content-length: 99999999999999999999\r\n"),
    ),
    "a length of 63 bits": (
        413,
        request(JSON[:-2], body=b"", length=b"content-length: 9223372036854775807\r\n"),
    ),
    "two expectations": (417, request(JSON[:-2], b"expect: 100-continue", b"expect: nope")),
    "HTTP/1.9": (400, request(JSON[:-2], start=POST.replace(b"1.1", b"1.9"))),
    "an absolute URL of another host": (
        421,
        request(JSON[:-2], start=POST.replace(b" /", b" http://evil.example/")),
    ),
    "an absolute URL with another port": (
        421,
        request(JSON[:-2], start=POST.replace(b" /", b" http://localhost:1/")),
    ),
    "an absolute URL of another scheme": (
        400,
        request(JSON[:-2], start=POST.replace(b" /", b" ftp://localhost/")),
    ),
    "an absolute URL with a user": (
        421,
        request(JSON[:-2], start=POST.replace(b" /", b" http://evil@localhost/")),
    ),
    "an absolute URL without a host": (
        400,
        request(JSON[:-2], start=POST.replace(b" /", b" http:///")),
    ),
    "an absolute URL with half an address": (
        400,
        request(JSON[:-2], start=POST.replace(b" /", b" http://[::1/")),
    ),
    "CONNECT": (400, request(start=b"CONNECT localhost:443 HTTP/1.1\r\n")),
    "an expectation of 10 GB": (
        413,
        request(JSON[:-2], b"expect: 100-continue", body=b"", length=HUGE),
    ),
    "10 GB without waiting": (413, request(JSON[:-2], body=b"", length=HUGE)),
    "10 GB to another endpoint": (
        413,
        request(body=b"", start=b"GET /v1/models HTTP/1.1\r\n", length=HUGE),
    ),
}
"""What is refused, with which status."""

SERVED = {
    "identity": request(JSON[:-2], b"content-encoding: identity"),
    "gzip": request(JSON[:-2], b"content-encoding: GZip", body=gzip.compress(BODY)),
    "deflate": request(JSON[:-2], b"content-encoding: deflate", body=zlib.compress(BODY)),
    "its own absolute URL": request(
        JSON[:-2], start=POST.replace(b" /", b" http://localhost/"), host=b"host: localhost\r\n"
    ),
    "its own absolute URL with the port": request(
        JSON[:-2], start=POST.replace(b" /", b" http://LOCALHOST:80/")
    ),
    "the port in the host alone": request(
        JSON[:-2], start=POST.replace(b" /", b" http://localhost/"), host=b"host: localhost:80\r\n"
    ),
    "no encoding": request(JSON[:-2], b"content-encoding: "),
    "HTTP/1.0": request(JSON[:-2], start=POST.replace(b"1.1", b"1.0")),
    "repeated slashes": request(JSON[:-2], start=POST.replace(b"/v1", b"//v1")),
    "a slash at the end": request(JSON[:-2], start=POST.replace(b"generations", b"generations/")),
    "both": request(
        JSON[:-2], start=POST.replace(b"/images/generations", b"//images/generations//")
    ),
}


async def refused(ours: Gateway, status: int, sent: bytes) -> bytes:
    """Send bytes that are refused with this status; return the whole answer."""
    answer = await answer_to(ours, sent)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.split()[1] == str(status).encode(), answer
    assert head.startswith(b"HTTP/1.")
    assert b"content-type: application/json" in head.lower()
    assert b"x-portkey-trace-id: " in head.lower()
    assert b"x-portkey-trace-id: \r\n" not in head.lower() + b"\r\n"
    error = orjson.loads(body)["error"]
    assert error.keys() == {"message", "type", "param", "code"}
    assert error["type"] == "invalid_request_error"
    assert error["code"]
    return answer


async def test_what_cannot_be_read_is_an_error_like_any_other() -> None:
    async with gateway_to() as (ours, theirs):
        for what, (status, sent) in REFUSED.items():
            answer = await refused(ours, status, sent)
            assert b"evil" not in answer, what
            assert b"HTTP/1.1 100" not in answer, what
        assert theirs.requests == []
        lines = (await ours.access_log()).splitlines()
        assert [orjson.loads(line)["status"] for line in lines] == [
            status for status, _ in REFUSED.values()
        ]


async def test_no_request_of_a_later_version_is_served_before_another() -> None:
    async with gateway_to() as (ours, theirs):
        later = request(JSON[:-2], start=POST.replace(b"1.1", b"2.0")).replace(CLOSE, b"")
        await refused(ours, 400, later + request(JSON[:-2]))
        assert theirs.requests == []


async def test_what_can_be_read_is_served() -> None:
    async with gateway_to() as (ours, theirs):
        for what, sent in SERVED.items():
            answer = await answer_to(ours, sent)
            assert answer.split()[1] == b"200", (what, answer)
        assert len(theirs.requests) == len(SERVED)


@pytest.mark.parametrize(
    ("sent", "param"),
    [
        (request(JSON[:-2], body=b"{"), None),
        (request(JSON[:-2], body=b""), None),
        (request(JSON[:-2], body=b"[]"), None),
        (request(JSON[:-2], body=b'"a cube"'), None),
        (
            request(JSON[:-2], b"x-easel-dry-run: false", b"X-Easel-Dry-Run: true"),
            "x-easel-dry-run",
        ),
        (
            request(JSON[:-2], b"x-easel-unsupported: adapt", b"x-easel-unsupported: strict"),
            "x-easel-unsupported",
        ),
        (request(JSON[:-2], b"x-portkey-metadata: {"), "x-portkey-metadata"),
        (request(JSON[:-2], b"x-portkey-metadata: [1]"), "x-portkey-metadata"),
        (request(JSON[:-2], b"x-portkey-cache-force-refresh: 7"), "x-portkey-cache-force-refresh"),
    ],
)
async def test_a_validation_failure_has_portkeys_fields_too(sent: bytes, param: str) -> None:
    async with gateway_to() as (ours, theirs):
        answer = await refused(ours, 400, sent)
        assert theirs.requests == []
    body = orjson.loads(answer.partition(b"\r\n\r\n")[2])
    assert body["status"] == "failure"
    assert body["message"] == body["error"]["message"]
    assert body["error"]["param"] == param
