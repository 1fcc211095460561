"""Faulty provider behaviours, one row of the table each."""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from functools import cache

from tests.faults.wire import Connection, Reply, Respond

_DRIP_SECONDS = 0.25
_MOMENT_SECONDS = 0.02
_FLOOD_BYTES = 64 * 1024
_OVER_LIMIT_BYTES = 2 * 1024 * 1024
"""More than the limits of this gateway."""
SHORT, LONG = 6_000, 200_000
"""Image sizes in bytes: one that the gateway buffers, and one that it relays while it arrives."""


@dataclass(frozen=True)
class Behaviour:
    """A fault: how the response is faulty, or the address at which no exchange can begin."""

    name: str
    respond: Respond | None = None
    address: str = ""
    before_body: bool = False
    size: int = SHORT
    stalls: bool = False
    """Whether only the gateway's timeouts end it."""
    kinds: tuple[str, ...] = ()
    """The kinds of conversation that can have it, () for all."""
    delivers: bool = False
    """Whether the image has arrived, so that every client must get it."""


def sends(change: str, *lines: str) -> Respond:
    """Return a behaviour that changes the reply's body, type or status (a key of `_changed`)."""

    async def respond(connection: Connection, good: Reply) -> None:
        reply = _changed(change, good)
        await connection.send(reply.head(*lines) + reply.body)
        connection.keep_open = True

    return respond


def _changed(change: str, good: Reply) -> Reply:
    html = b"<html><body><h1>Sorry</h1></body></html>"
    denied = b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>"
    half = len(good.body) // 2
    member = _MEMBERS.get(change, b"")
    changes = {
        **dict.fromkeys(_MEMBERS, good.replace(good.body.replace(b"{", b"{" + member, 1))),
        "bom": good.replace(b"\xef\xbb\xbf" + good.body),
        "octets": good.replace(good.body, "application/octet-stream"),
        "blanks": good.replace(b"\r\n \t" + good.body + b"\n\n"),
        "events": good.replace(_as_events(good.body), "text/event-stream"),
        "events, typed as JSON": good.replace(_as_events(good.body), "application/json"),
        "typed as JSON": good.replace(good.body, "application/json"),
        "no completed": good.replace(good.body.replace(b"completed", b"partial_image")),
        "json": good.replace(
            b'{"created":1,"data":[%b]}' % good.body.partition(b"data: ")[2].strip(),
            "application/json",
        ),
        "type": good.replace(good.body, "text/plain"),
        "untyped": good.replace(good.body, "nonsense"),
        "html": good.replace(html, "text/html"),
        "html, right type": good.replace(html),
        "empty": good.replace(b""),
        "half": good.replace(good.body[:half]),
        "null": good.replace(b"null", "application/json"),
        "no images": good.replace(b'{"created":1,"data":[]}', "application/json"),
        "wrong types": good.replace(
            b'{"data":{"0":7},"candidates":"x","output":{"a":[]},"status":9}', "application/json"
        ),
        "error": good.replace(b'{"error":{"message":"No."}}', "application/json"),
        "deep": good.replace(b"[" * 100_000 + b"]" * 100_000, "application/json"),
        "deep objects": good.replace(b'{"data":' * 100_000, "application/json"),
        "not utf-8": good.replace(b'{"data":"\xff\xfe\xfa"}' + b"\xc3\x28" * 99),
        "bytes": good.replace(bytes(range(256)) * 9),
        "packed": good.replace(b"\x8b\x01\x80" + good.body[:half]),
        "partial": good.replace(good.body, "", 206),
        "redirect": good.replace(b"", "", 302),
        "expired": good.replace(denied, "application/xml", 403),
        "not found": good.replace(html, "text/html", 404),
        "failed": good.replace(html, "text/html", 500),
        "failed, empty": good.replace(b"", "application/json", 500),
        "failed, long": good.replace(b"x" * _OVER_LIMIT_BYTES, "text/plain", 500),
        "busy": good.replace(b'{"error":{"message":"Slow down."}}', "application/json", 429),
        "odd status": good.replace(b"", "", 999),
        "damaged gzip": good.replace(b"\x1f\x8b" + good.body),
    }
    return changes[change]


_MEMBERS = {
    "nan": b'"odd":[NaN,-Infinity],',
    "surrogate": b'"odd":"\\ud83d",',
    "empty error": b'"error":{"message":"","type":"","code":null},',
    "unknown members": b'"odd":{"deep":[1,{"x":null}]},',
}
"""Members that are put into a correct reply."""


def _as_events(body: bytes) -> bytes:
    """Return a JSON reply as an event: OpenAI's for its image, any other as it is."""
    image = body.partition(b'"b64_json":"')[2].partition(b'"')[0]
    if not image:
        return b"data: %b\n\n" % body
    data = b'{"type":"image_generation.completed","created_at":1,"b64_json":"%b"}' % image
    return b"event: image_generation.completed\ndata: %b\n\n" % data


async def moved_image(connection: Connection, good: Reply) -> None:
    """Redirect to another path of the same origin, which has the image."""
    reply, lines = good, list[str]()
    if "moved" not in connection.path:
        reply = good.replace(b"", "", 302)
        lines = [f"location: {connection.path.replace('image.png', 'moved.png')}"]
    await connection.send(reply.head(*lines) + reply.body)
    connection.keep_open = True


async def no_content(connection: Connection, good: Reply) -> None:
    """Send 204."""
    del good
    await connection.send(b"HTTP/1.1 204 It\r\n\r\n")
    connection.keep_open = True


async def reset_after_request(connection: Connection, good: Reply) -> None:
    """Reset before the response."""
    del good
    connection.reset()


async def close_after_request(connection: Connection, good: Reply) -> None:
    """Close before the response."""


async def stay_silent(connection: Connection, good: Reply) -> None:
    """Send nothing."""
    del good
    await connection.wait_for_close()


async def reset_in_headers(connection: Connection, good: Reply) -> None:
    """Reset in the headers."""
    await connection.send(good.head()[:-9], delay=0.05)
    connection.reset()


async def close_in_headers(connection: Connection, good: Reply) -> None:
    """Close in the headers."""
    await connection.send(good.head()[:-9])


async def reset_in_body(connection: Connection, good: Reply) -> None:
    """Reset in the body."""
    await connection.send(good.head() + good.body[: len(good.body) // 2], delay=0.05)
    connection.reset()


async def close_in_body(connection: Connection, good: Reply) -> None:
    """Close in the body, before the declared length."""
    await connection.send(good.head() + good.body[: len(good.body) // 2])


async def stay_silent_in_body(connection: Connection, good: Reply) -> None:
    """Stop sending in the body."""
    await connection.send(good.head() + good.body[: len(good.body) // 2])
    await connection.wait_for_close()


async def slow_headers(connection: Connection, good: Reply) -> None:
    """Send endless headers slowly."""
    await connection.send(good.head()[:-2])
    while True:
        await connection.send(b"x-more: 1\r\n", delay=_DRIP_SECONDS)


async def slow_body(connection: Connection, good: Reply) -> None:
    """Send a body byte by byte."""
    at = len(good.body) // 2
    await connection.send(good.head() + good.body[:at])
    for byte in good.body[at:]:
        await connection.send(bytes([byte]), delay=_DRIP_SECONDS)


async def close_in_chunk(connection: Connection, good: Reply) -> None:
    """Close in a chunk."""
    half = good.body[: len(good.body) // 2]
    await connection.send(_chunked(good) + b"%x\r\n" % len(good.body) + half)


async def omit_last_chunk(connection: Connection, good: Reply) -> None:
    """Send the whole body and close without the last chunk."""
    await connection.send(_chunked(good) + _chunk(good.body))


async def bad_chunk_size(connection: Connection, good: Reply) -> None:
    """Send an invalid chunk size."""
    await connection.send(_chunked(good) + b"zz\r\n" + good.body)


async def huge_chunk_size(connection: Connection, good: Reply) -> None:
    """Send a chunk size of 40 digits."""
    await connection.send(_chunked(good) + b"f" * 40 + b"\r\n" + good.body)


async def until_closed(connection: Connection, good: Reply) -> None:
    """Send a body that ends with the connection, as in HTTP/1.0."""
    await connection.send(good.head(length=None) + good.body)


async def half_until_closed(connection: Connection, good: Reply) -> None:
    """Send half a body that ends with the connection, as in HTTP/1.0."""
    await connection.send(good.head(length=None) + good.body[: len(good.body) // 2])


async def reset_after_body(connection: Connection, good: Reply) -> None:
    """Send the whole body without a last chunk, and reset in the same instant."""
    await connection.send(_chunked(good) + _chunk(good.body))
    connection.reset()


async def length_too_short(connection: Connection, good: Reply) -> None:
    """Send more than the declared length."""
    await connection.send(good.head(length=len(good.body) // 2) + good.body)
    connection.keep_open = True


def second_response(delay: float) -> Respond:
    """Return a behaviour that sends a second, unsolicited response after `delay` seconds."""

    async def respond(connection: Connection, good: Reply) -> None:
        other = good.replace(b'{"created":1,"data":[{"b64_json":"c3RvbGVu"}]}', "application/json")
        if delay:
            await connection.send(good.encoded, delay=delay)
            await connection.send(other.encoded)
        else:
            await connection.send(good.encoded + other.encoded)
        connection.keep_open = True

    return respond


async def close_after_response(connection: Connection, good: Reply) -> None:
    """Announce keep-alive and close the connection anyway."""
    await connection.send(good.head("connection: keep-alive") + good.body)


async def too_large_declared(connection: Connection, good: Reply) -> None:
    """Declare 4 GB and send without end."""
    await connection.send(good.head(length=4 << 30))
    while True:
        await connection.send(b" " * _FLOOD_BYTES)


async def too_large_chunked(connection: Connection, good: Reply) -> None:
    """Send chunks without end."""
    await connection.send(_chunked(good))
    while True:
        await connection.send(_chunk(b" " * _FLOOD_BYTES))


async def endless_base64(connection: Connection, good: Reply) -> None:
    """Send base64 in JSON without end."""
    json = good.replace(good.body, "application/json")
    await connection.send(_chunked(json) + _chunk(b'{"created":1,"data":[{"b64_json":"'))
    while True:
        await connection.send(_chunk(b"A" * _FLOOD_BYTES))


async def endless_events(connection: Connection, good: Reply) -> None:
    """Send events without end."""
    events = good.replace(b"", "text/event-stream")
    await connection.send(_chunked(events))
    while True:
        await connection.send(_chunk(b'data: {"type":"ping"}\n\n' * (_FLOOD_BYTES // 24)))


async def endless_line(connection: Connection, good: Reply) -> None:
    """Send one event without end."""
    await connection.send(_chunked(good.replace(b"", "text/event-stream")) + _chunk(b"data: "))
    while True:
        await connection.send(_chunk(b"A" * _FLOOD_BYTES))


async def gzipped(connection: Connection, good: Reply) -> None:
    """Send gzip although the request does not accept it."""
    reply = good.replace(gzip.compress(good.body, 1))
    await connection.send(reply.head("content-encoding: gzip") + reply.body)
    connection.keep_open = True


async def gzip_bomb(connection: Connection, good: Reply) -> None:
    """Send a gigabyte in gzip."""
    reply = good.replace(_bomb())
    await connection.send(reply.head("content-encoding: gzip") + reply.body)
    connection.keep_open = True


@cache
def _bomb() -> bytes:
    """Return gzip members that decompress to 1 GB; small and quick to create."""
    return gzip.compress(bytes(32 << 20), 9) * 32


async def many_1xx(connection: Connection, good: Reply) -> None:
    """Send status 102 a thousand times, then the response."""
    await connection.send(b"HTTP/1.1 102 It\r\n\r\n" * 1000 + good.encoded)
    connection.keep_open = True


async def endless_1xx(connection: Connection, good: Reply) -> None:
    """Send status 102 without end."""
    del good
    while True:
        await connection.send(b"HTTP/1.1 102 It\r\n\r\n" * 10, delay=_DRIP_SECONDS)


async def switch_protocols(connection: Connection, good: Reply) -> None:
    """Switch to another protocol."""
    del good
    await connection.send(b"HTTP/1.1 101 It\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n")
    await connection.wait_for_close()


async def two_lengths(connection: Connection, good: Reply) -> None:
    """Send two Content-Length headers."""
    await connection.send(good.head("content-length: 7") + good.body)


async def length_and_chunks(connection: Connection, good: Reply) -> None:
    """Send a Content-Length and chunks."""
    head = good.head("transfer-encoding: chunked")
    await connection.send(head + _chunk(good.body) + b"0\r\n\r\n")


async def header_bomb(connection: Connection, good: Reply) -> None:
    """Send a header value without end."""
    await connection.send(good.head()[:-2] + b"x-bomb: ")
    while True:
        await connection.send(b"a" * _FLOOD_BYTES)


async def many_headers(connection: Connection, good: Reply) -> None:
    """Send headers without end."""
    await connection.send(good.head()[:-2])
    while True:
        await connection.send(b"x-bomb: 1\r\n" * 999)


async def banner(connection: Connection, good: Reply) -> None:
    """Send the banner of another protocol."""
    del good
    await connection.send(b"SSH-2.0-OpenSSH_9.6\r\n")


async def bad_status(connection: Connection, good: Reply) -> None:
    """Send an invalid status code."""
    await connection.send(b"HTTP/1.1 two hundred\r\n" + good.head()[len(b"HTTP/1.1 200 It\r\n") :])


async def bad_header(connection: Connection, good: Reply) -> None:
    """Send a header value with a NUL."""
    await connection.send(good.head("x-odd: a\0b") + good.body)


def _chunked(good: Reply) -> bytes:
    return good.head("transfer-encoding: chunked", length=None)


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


_TEXT = ("verbatim", "own JSON", "polling", "events")
_JSON_KINDS = ("verbatim", "own JSON", "polling")

BEHAVIOURS = (
    Behaviour("refuses the connection", address="refused"),
    Behaviour("name unknown to DNS", address="unknown"),
    Behaviour("plain HTTP instead of TLS", address="plain"),
    Behaviour("self-signed certificate", address="self-signed"),
    Behaviour("resets after connecting", address="resets"),
    Behaviour("resets after the request's head", reset_after_request, before_body=True),
    Behaviour("resets after the request", reset_after_request),
    Behaviour("closes after the request", close_after_request),
    Behaviour("no response", stay_silent, stalls=True),
    Behaviour("resets in the headers", reset_in_headers),
    Behaviour("closes in the headers", close_in_headers),
    Behaviour("slow endless headers", slow_headers, stalls=True),
    Behaviour("resets in the body", reset_in_body),
    Behaviour("resets in a long body", reset_in_body, size=LONG),
    Behaviour("body shorter than declared", close_in_body),
    Behaviour("long body shorter than declared", close_in_body, size=LONG),
    Behaviour("body longer than declared", length_too_short),
    Behaviour("stops sending in the body", stay_silent_in_body, stalls=True),
    Behaviour("body byte by byte", slow_body, stalls=True),
    Behaviour("body ends with the connection", until_closed),
    Behaviour("closes in a chunk", close_in_chunk),
    Behaviour("closes before the last chunk", omit_last_chunk),
    Behaviour("resets instead of the last chunk", reset_after_body, kinds=_TEXT, delivers=True),
    Behaviour("invalid chunk size", bad_chunk_size),
    Behaviour("chunk size of 40 digits", huge_chunk_size),
    Behaviour("half a body, declared as complete", sends("half")),
    Behaviour("empty body", sends("empty")),
    Behaviour("204", no_content),
    Behaviour("`null`", sends("null")),
    Behaviour("JSON without images", sends("no images")),
    Behaviour("JSON of the wrong types", sends("wrong types")),
    Behaviour("error in a 200", sends("error")),
    Behaviour("arrays 100,000 deep", sends("deep")),
    Behaviour("objects 100,000 deep, unclosed", sends("deep objects")),
    Behaviour("invalid UTF-8", sends("not utf-8")),
    Behaviour("random bytes", sends("bytes")),
    Behaviour("HTML", sends("html")),
    Behaviour("HTML, declared as the right type", sends("html, right type")),
    Behaviour("right body, type text/plain", sends("type")),
    Behaviour("right body, invalid type", sends("untyped")),
    Behaviour("4 GB declared", too_large_declared),
    Behaviour("endless chunks", too_large_chunked),
    Behaviour("endless base64", endless_base64),
    Behaviour("endless events", endless_events),
    Behaviour("one endless event", endless_line),
    Behaviour("unrequested gzip", gzipped),
    Behaviour("gzip of 1 GB", gzip_bomb),
    Behaviour("damaged gzip", sends("damaged gzip", "content-encoding: gzip")),
    Behaviour("unknown compression", sends("packed", "content-encoding: br")),
    Behaviour("1,000 times 102, then the response", many_1xx),
    Behaviour("endless 102", endless_1xx, stalls=True),
    Behaviour("101", switch_protocols),
    Behaviour("redirect to the image", moved_image, kinds=("download",), delivers=True),
    Behaviour("byte order mark", sends("bom"), kinds=_TEXT, delivers=True),
    Behaviour("blanks around the body", sends("blanks"), kinds=_JSON_KINDS, delivers=True),
    Behaviour("`NaN` in a member", sends("nan"), kinds=_JSON_KINDS, delivers=True),
    Behaviour("`NaN` in a member, long", sends("nan"), size=LONG, kinds=_JSON_KINDS, delivers=True),
    Behaviour("half a surrogate pair", sends("surrogate"), kinds=_JSON_KINDS, delivers=True),
    Behaviour("empty `error`", sends("empty error"), kinds=_JSON_KINDS, delivers=True),
    Behaviour("unknown members", sends("unknown members"), kinds=_TEXT, delivers=True),
    Behaviour("right body, type application/octet-stream", sends("octets"), delivers=True),
    Behaviour(
        "right body, encoding aws-chunked",
        sends("octets", "content-encoding: aws-chunked"),
        delivers=True,
    ),
    Behaviour(
        "long right body, encoding aws-chunked",
        sends("octets", "content-encoding: aws-chunked"),
        size=LONG,
        delivers=True,
    ),
    Behaviour("events that nobody asked for", sends("events"), kinds=_JSON_KINDS, delivers=True),
    Behaviour(
        "events that nobody asked for, typed as JSON",
        sends("events, typed as JSON"),
        kinds=_JSON_KINDS,
        delivers=True,
    ),
    Behaviour(
        "right body, type application/json",
        sends("typed as JSON"),
        kinds=("form", "binary", "events", "download"),
        delivers=True,
    ),
    Behaviour("JSON instead of events", sends("json"), kinds=("events",), delivers=True),
    Behaviour("no completed event", sends("no completed"), kinds=("events",)),
    Behaviour("half a long body, declared as complete", sends("half"), size=LONG),
    Behaviour("half a body, ends with the connection", half_until_closed, kinds=_TEXT),
    Behaviour(
        "half a long body, ends with the connection", half_until_closed, kinds=_TEXT, size=LONG
    ),
    Behaviour("status 206", sends("partial")),
    Behaviour("redirect", sends("redirect", "location: http://169.254.169.254/")),
    Behaviour("two Content-Length headers", two_lengths),
    Behaviour("Content-Length and chunks", length_and_chunks),
    Behaviour("one endless header", header_bomb),
    Behaviour("endless headers", many_headers),
    Behaviour("NUL in a header", bad_header),
    Behaviour("invalid status", bad_status),
    Behaviour("banner of another protocol", banner),
    Behaviour("status 999", sends("odd status")),
    Behaviour("403 in XML: an expired URL", sends("expired")),
    Behaviour("404 in HTML", sends("not found")),
    Behaviour("429", sends("busy")),
    Behaviour("500 in HTML", sends("failed")),
    Behaviour("500 without a body", sends("failed, empty")),
    Behaviour("500 with a long body", sends("failed, long")),
    Behaviour("unsolicited second response", second_response(0)),
    Behaviour("unsolicited second response, later", second_response(_MOMENT_SECONDS)),
    Behaviour("announces keep-alive, closes", close_after_response),
)
