"""What a provider can do wrong, one row of the table each."""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from functools import cache

from tests.faults.wire import Line, Play, Reply

_DRIP_SECONDS = 0.25
_A_MOMENT = 0.02
_FLOOD = 64 * 1024
_MANY = 2 * 1024 * 1024
"""More bytes than the gateway's limits allow here."""
SHORT, LONG = 6_000, 200_000
"""Bytes of a picture: of one that is held back, and of one that is passed on as it comes."""


@dataclass(frozen=True)
class Behaviour:
    """A name for it, and how a reply is spoiled; or at which address nothing begins."""

    name: str
    play: Play | None = None
    address: str = ""
    early: bool = False
    size: int = SHORT


def says(change: str, *lines: str) -> Play:
    """Send a reply whose body, type or status is another: `change` names it in `_BODIES`."""

    async def play(line: Line, good: Reply) -> None:
        reply = _changed(change, good)
        await line.send(reply.head(*lines) + reply.body)
        line.stays = True

    return play


def _changed(change: str, good: Reply) -> Reply:
    html = b"<html><body><h1>Sorry</h1></body></html>"
    denied = b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>"
    half = len(good.body) // 2
    changes = {
        "type": good.but(good.body, "text/plain"),
        "untyped": good.but(good.body, "nonsense"),
        "html": good.but(html, "text/html"),
        "html as told": good.but(html),
        "empty": good.but(b""),
        "half": good.but(good.body[:half]),
        "null": good.but(b"null", "application/json"),
        "no pictures": good.but(b'{"created":1,"data":[]}', "application/json"),
        "wrong types": good.but(
            b'{"data":{"0":7},"candidates":"x","output":{"a":[]},"status":9}', "application/json"
        ),
        "error": good.but(b'{"error":{"message":"No."}}', "application/json"),
        "deep": good.but(b"[" * 100_000 + b"]" * 100_000, "application/json"),
        "deep objects": good.but(b'{"data":' * 100_000, "application/json"),
        "not utf-8": good.but(b'{"data":"\xff\xfe\xfa"}' + b"\xc3\x28" * 99),
        "bytes": good.but(bytes(range(256)) * 9),
        "redirect": good.but(b"", "", 302),
        "expired": good.but(denied, "application/xml", 403),
        "gone": good.but(html, "text/html", 404),
        "failed": good.but(html, "text/html", 500),
        "failed, empty": good.but(b"", "application/json", 500),
        "failed, long": good.but(b"x" * _MANY, "text/plain", 500),
        "busy": good.but(b'{"error":{"message":"Slow down."}}', "application/json", 429),
        "odd status": good.but(b"", "", 999),
        "damaged gzip": good.but(b"\x1f\x8b" + good.body),
    }
    return changes[change]


async def no_content(line: Line, good: Reply) -> None:
    """Say that there is nothing."""
    del good
    await line.send(b"HTTP/1.1 204 It\r\n\r\n")
    line.stays = True


async def resets(line: Line, good: Reply) -> None:
    """Break off before a word."""
    del good
    line.reset()


async def closes(line: Line, good: Reply) -> None:
    """Close before a word."""


async def is_silent(line: Line, good: Reply) -> None:
    """Say nothing."""
    del good
    await line.silence()


async def resets_amid_headers(line: Line, good: Reply) -> None:
    """Break off amid headers."""
    await line.send(good.head()[:-9], pause=0.05)
    line.reset()


async def closes_amid_headers(line: Line, good: Reply) -> None:
    """Close amid headers."""
    await line.send(good.head()[:-9])


async def resets_amid_body(line: Line, good: Reply) -> None:
    """Break off amid the body."""
    await line.send(good.head() + good.body[: len(good.body) // 2], pause=0.05)
    line.reset()


async def closes_amid_body(line: Line, good: Reply) -> None:
    """Close amid the body: less came than its length says."""
    await line.send(good.head() + good.body[: len(good.body) // 2])


async def silent_amid_body(line: Line, good: Reply) -> None:
    """Say no more in mid-body."""
    await line.send(good.head() + good.body[: len(good.body) // 2])
    await line.silence()


async def slow_headers(line: Line, good: Reply) -> None:
    """Send a head that does not end, slowly."""
    await line.send(good.head()[:-2])
    while True:
        await line.send(b"x-more: 1\r\n", pause=_DRIP_SECONDS)


async def slow_body(line: Line, good: Reply) -> None:
    """Send a body byte by byte."""
    at = len(good.body) // 2
    await line.send(good.head() + good.body[:at])
    for byte in good.body[at:]:
        await line.send(bytes([byte]), pause=_DRIP_SECONDS)


async def cut_mid_chunk(line: Line, good: Reply) -> None:
    """Close within a chunk."""
    half = good.body[: len(good.body) // 2]
    await line.send(_chunked(good) + b"%x\r\n" % len(good.body) + half)


async def no_last_chunk(line: Line, good: Reply) -> None:
    """Close before the last chunk, though all has come."""
    await line.send(_chunked(good) + _chunk(good.body))


async def bad_chunk_size(line: Line, good: Reply) -> None:
    """Write a size that is no number."""
    await line.send(_chunked(good) + b"zz\r\n" + good.body)


async def huge_chunk_size(line: Line, good: Reply) -> None:
    """Write a size that no number holds."""
    await line.send(_chunked(good) + b"f" * 40 + b"\r\n" + good.body)


async def until_closed(line: Line, good: Reply) -> None:
    """Send a body that ends with the connection, as HTTP/1.0 did."""
    await line.send(good.head(length=None) + good.body)


async def length_too_short(line: Line, good: Reply) -> None:
    """Send more than the length says."""
    await line.send(good.head(length=len(good.body) // 2) + good.body)
    line.stays = True


def another_answer(pause: float) -> Play:
    """Send a second answer that nobody asked for."""

    async def play(line: Line, good: Reply) -> None:
        other = good.but(b'{"created":1,"data":[{"b64_json":"c3RvbGVu"}]}', "application/json")
        if pause:
            await line.send(good.whole, pause=pause)
            await line.send(other.whole)
        else:
            await line.send(good.whole + other.whole)
        line.stays = True

    return play


async def closes_after(line: Line, good: Reply) -> None:
    """Answer, say that the connection stays, and close it."""
    await line.send(good.head("connection: keep-alive") + good.body)


async def too_large_declared(line: Line, good: Reply) -> None:
    """Announce 4 GB, and send."""
    await line.send(good.head(length=4 << 30))
    while True:
        await line.send(b" " * _FLOOD)


async def too_large_chunked(line: Line, good: Reply) -> None:
    """Send chunks without an end."""
    await line.send(_chunked(good))
    while True:
        await line.send(_chunk(b" " * _FLOOD))


async def endless_picture(line: Line, good: Reply) -> None:
    """Send a picture in JSON without an end."""
    json = good.but(good.body, "application/json")
    await line.send(_chunked(json) + _chunk(b'{"created":1,"data":[{"b64_json":"'))
    while True:
        await line.send(_chunk(b"A" * _FLOOD))


async def endless_events(line: Line, good: Reply) -> None:
    """Send events without an end."""
    events = good.but(b"", "text/event-stream")
    await line.send(_chunked(events))
    while True:
        await line.send(_chunk(b'data: {"type":"ping"}\n\n' * (_FLOOD // 24)))


async def endless_line(line: Line, good: Reply) -> None:
    """Send one event without an end."""
    await line.send(_chunked(good.but(b"", "text/event-stream")) + _chunk(b"data: "))
    while True:
        await line.send(_chunk(b"A" * _FLOOD))


async def gzipped(line: Line, good: Reply) -> None:
    """Compress, unasked."""
    reply = good.but(gzip.compress(good.body, 1))
    await line.send(reply.head("content-encoding: gzip") + reply.body)
    line.stays = True


async def gzip_bomb(line: Line, good: Reply) -> None:
    """Compress a gigabyte."""
    reply = good.but(_bomb())
    await line.send(reply.head("content-encoding: gzip") + reply.body)
    line.stays = True


@cache
def _bomb() -> bytes:
    """Write members that unpack to 1 GB: few bytes, and quickly made."""
    return gzip.compress(bytes(32 << 20), 9) * 32


async def many_1xx(line: Line, good: Reply) -> None:
    """Say "wait" a thousand times, then answer."""
    await line.send(b"HTTP/1.1 102 It\r\n\r\n" * 1000 + good.whole)
    line.stays = True


async def endless_1xx(line: Line, good: Reply) -> None:
    """Say "wait" without an end."""
    del good
    while True:
        await line.send(b"HTTP/1.1 102 It\r\n\r\n" * 10, pause=_DRIP_SECONDS)


async def switches(line: Line, good: Reply) -> None:
    """Switch to another protocol."""
    del good
    await line.send(b"HTTP/1.1 101 It\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n")
    await line.silence()


async def two_lengths(line: Line, good: Reply) -> None:
    """Tell two lengths."""
    await line.send(good.head("content-length: 7") + good.body)


async def length_and_chunks(line: Line, good: Reply) -> None:
    """Tell a length, and send chunks."""
    head = good.head("transfer-encoding: chunked")
    await line.send(head + _chunk(good.body) + b"0\r\n\r\n")


async def header_bomb(line: Line, good: Reply) -> None:
    """Send a header without an end."""
    await line.send(good.head()[:-2] + b"x-bomb: ")
    while True:
        await line.send(b"a" * _FLOOD)


async def many_headers(line: Line, good: Reply) -> None:
    """Send headers without an end."""
    await line.send(good.head()[:-2])
    while True:
        await line.send(b"x-bomb: 1\r\n" * 999)


async def banner(line: Line, good: Reply) -> None:
    """Speak another protocol."""
    del good
    await line.send(b"SSH-2.0-OpenSSH_9.6\r\n")


async def bad_status(line: Line, good: Reply) -> None:
    """Write a status that is no number."""
    await line.send(b"HTTP/1.1 two hundred\r\n" + good.head()[len(b"HTTP/1.1 200 It\r\n") :])


async def bad_header(line: Line, good: Reply) -> None:
    """Write a header with a NUL."""
    await line.send(good.head("x-odd: a\0b") + good.body)


def _chunked(good: Reply) -> bytes:
    return good.head("transfer-encoding: chunked", length=None)


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


BEHAVIOURS = (
    Behaviour("refuses the connection", address="refused"),
    Behaviour("name unknown to DNS", address="unknown"),
    Behaviour("plain HTTP where TLS is due", address="plain"),
    Behaviour("certificate signed by itself", address="own-signed"),
    Behaviour("resets once connected", address="resets"),
    Behaviour("resets after the request's head", resets, early=True),
    Behaviour("resets after the request", resets),
    Behaviour("closes after the request", closes),
    Behaviour("silent after the request", is_silent),
    Behaviour("resets amid headers", resets_amid_headers),
    Behaviour("closes amid headers", closes_amid_headers),
    Behaviour("slow headers without end", slow_headers),
    Behaviour("resets amid the body", resets_amid_body),
    Behaviour("resets amid a long body", resets_amid_body, size=LONG),
    Behaviour("body shorter than its length", closes_amid_body),
    Behaviour("long body shorter than its length", closes_amid_body, size=LONG),
    Behaviour("body longer than its length", length_too_short),
    Behaviour("silent amid the body", silent_amid_body),
    Behaviour("body byte by byte", slow_body),
    Behaviour("body ends with the connection", until_closed),
    Behaviour("cut in mid-chunk", cut_mid_chunk),
    Behaviour("cut before the last chunk", no_last_chunk),
    Behaviour("chunk size is no number", bad_chunk_size),
    Behaviour("chunk size of 40 digits", huge_chunk_size),
    Behaviour("half a body, its length right", says("half")),
    Behaviour("body empty", says("empty")),
    Behaviour("204", no_content),
    Behaviour("`null`", says("null")),
    Behaviour("JSON without pictures", says("no pictures")),
    Behaviour("JSON of the wrong types", says("wrong types")),
    Behaviour("an error in a 200", says("error")),
    Behaviour("arrays 100,000 deep", says("deep")),
    Behaviour("objects 100,000 deep, unclosed", says("deep objects")),
    Behaviour("not UTF-8", says("not utf-8")),
    Behaviour("bytes of no kind", says("bytes")),
    Behaviour("HTML", says("html")),
    Behaviour("HTML under the right type", says("html as told")),
    Behaviour("right body as text/plain", says("type")),
    Behaviour("right body, type nonsense", says("untyped")),
    Behaviour("4 GB announced", too_large_declared),
    Behaviour("chunks without end", too_large_chunked),
    Behaviour("base64 without end", endless_picture),
    Behaviour("events without end", endless_events),
    Behaviour("one event without end", endless_line),
    Behaviour("gzip that nobody asked for", gzipped),
    Behaviour("gzip of 1 GB", gzip_bomb),
    Behaviour("gzip, damaged", says("damaged gzip", "content-encoding: gzip")),
    Behaviour("unknown compression", says("half", "content-encoding: br")),
    Behaviour("1,000 times 102, then the answer", many_1xx),
    Behaviour("102 without end", endless_1xx),
    Behaviour("101", switches),
    Behaviour("redirect", says("redirect", "location: http://169.254.169.254/")),
    Behaviour("two lengths", two_lengths),
    Behaviour("length and chunks", length_and_chunks),
    Behaviour("one header without end", header_bomb),
    Behaviour("headers without end", many_headers),
    Behaviour("NUL in a header", bad_header),
    Behaviour("status is no number", bad_status),
    Behaviour("banner of another protocol", banner),
    Behaviour("status 999", says("odd status")),
    Behaviour("403 in XML: a URL that expired", says("expired")),
    Behaviour("404 in HTML", says("gone")),
    Behaviour("429", says("busy")),
    Behaviour("500 in HTML", says("failed")),
    Behaviour("500 without a body", says("failed, empty")),
    Behaviour("500 with a long body", says("failed, long")),
    Behaviour("a second answer unasked", another_answer(0)),
    Behaviour("a second answer a moment later", another_answer(_A_MOMENT)),
    Behaviour("closes what it said it keeps", closes_after),
)
