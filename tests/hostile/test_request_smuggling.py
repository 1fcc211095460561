"""Case 20: no request hides in another. What can be read in two ways is refused.

A provider counts what is asked for: an entry buys as many pictures as it says, and the request that
hides in a body buys none.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from yarl import URL

from tests.support.gateway import KEY, PATH, Gateway, Provider, gateway_to

_BODY = b'{"prompt":"a"}'
_HEAD = f"x-portkey-api-key: {KEY}\r\nx-portkey-virtual-key: up\r\n".encode()
_HEAD += b"content-type: application/json\r\n"
_LINE = f"POST {PATH} HTTP/1.1\r\n".encode()
_HIDDEN = _LINE + b"host: 127.0.0.1\r\n" + _HEAD + b"content-length: 14\r\n\r\n" + _BODY
_CHUNKED = b"e\r\n" + _BODY + b"\r\n0\r\n\r\n"


def _post(*lines: bytes, body: bytes = _BODY, line: bytes = _LINE) -> bytes:
    return b"".join(
        [line, b"host: 127.0.0.1\r\n", _HEAD, *(it + b"\r\n" for it in lines), b"\r\n", body]
    )


def _length(count: int) -> bytes:
    return b"content-length: %d" % count


_TE = b"transfer-encoding: chunked"
_LIKE_CHUNKED = (
    *(
        b"transfer-encoding: xchunked",
        b"transfer-encoding : chunked",
        b" transfer-encoding: chunked",
    ),
    *(b"transfer-encoding: chunked, identity", b"transfer-encoding:\x0bchunked"),
    *(b"transfer-encoding: chunked, chunked", b'transfer-encoding: "chunked"'),
    *(
        b"transfer-encoding\x00: chunked",
        b"transfer-encoding: chunked\x00",
        b"transfer-encoding: CHUNKED, cow",
    ),
    *(b"transfer-encoding: chu\x00nked", b"x: y\ntransfer-encoding: chunked"),
    *(
        b"x: y\rtransfer-encoding: chunked",
        b"transfer-encoding:\r\n chunked",
        b"transfer-encoding:",
    ),
    *(b"transfer-encoding: chunked\r\ntransfer-encoding: identity", b"transfer-encoding: gzip"),
    *(b"transfer-encoding: chunked;q=1", b"transfer-encoding: cow, chunked"),
)

REFUSED: dict[str, bytes] = {
    "CL.TE": _post(_length(5), _TE, body=b"0\r\n\r\n" + _HIDDEN),
    "TE.CL": _post(_TE, _length(4), body=b"%x\r\n%b\r\n0\r\n\r\n" % (len(_HIDDEN), _HIDDEN)),
    "CL.TE of HTTP/1.0": _post(
        _length(5), _TE, body=b"0\r\n\r\n", line=_LINE.replace(b"1.1", b"1.0")
    ),
    "two lengths": _post(_length(14), _length(14 + len(_HIDDEN)), body=_BODY + _HIDDEN),
    "two equal lengths": _post(_length(14), _length(14)),
    "a list of lengths": _post(b"content-length: 14, 14"),
    "a negative length": _post(b"content-length: -1"),
    "a signed length": _post(b"content-length: +14"),
    "a length in hex": _post(b"content-length: 0xe"),
    "a length with a gap": _post(b"content-length: 1 4"),
    "a length of no digits": _post(b"content-length:"),
    "a length in other digits": _post("content-length: \u0661\u0664".encode()),
    "a length past 64 bits": _post(b"content-length: 18446744073709551630"),
    "a length of many digits": _post(b"content-length: " + b"9" * 4000),
    "a space before the colon": _post(b"content-length : 14"),
    "a folded length": _post(b"x: y\r\n content-length: 14"),
    "a folded header": _post(_length(14), b"x: y\r\n\tz"),
    "a NUL in a name": _post(_length(14), b"x\x00y: z"),
    "a NUL in a value": _post(_length(14), b"x: y\x00z"),
    "a bare CR": _post(_length(14), b"x: y\rz: q"),
    "a name of none": _post(_length(14), b": y"),
    "a line without a colon": _post(_length(14), b"xyz"),
    "bare LF": _post(_length(14)).replace(b"\r\n", b"\n"),
    "one bare LF": _post(_length(14), b"x: y\nz: q"),
    "a chunk of bare LF": _post(_TE, body=_CHUNKED.replace(b"\r\n", b"\n")),
    "a bad chunk size": _post(_TE, body=b"xyz\r\n" + _CHUNKED),
    "a negative chunk": _post(_TE, body=b"-1\r\n" + _CHUNKED),
    "a chunk in 0x": _post(_TE, body=b"0x" + _CHUNKED),
    "a signed chunk": _post(_TE, body=b"+" + _CHUNKED),
    "a chunk after a space": _post(_TE, body=b" " + _CHUNKED),
    "a chunk past 64 bits": _post(_TE, body=b"f" * 17 + b"\r\n" + _CHUNKED),
    "a chunk longer than it says": _post(_TE, body=b"3\r\n" + _BODY + b"\r\n0\r\n\r\n" + _HIDDEN),
    "a chunk extension with LF": _post(_TE, body=b"e;a\n" + _BODY + b"\r\n0\r\n\r\n" + _HIDDEN),
    "a length in a trailer": _post(_TE, body=_CHUNKED[:-2] + b"content-length : 1\r\n\r\n"),
    "no version": f"GET {PATH}\r\n\r\n".encode(),
    "HTTP/2's preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "HTTP/3.7": _post(_length(14), line=_LINE.replace(b"1.1", b"3.7")),
    "a version of words": _post(_length(14), line=_LINE.replace(b"1.1", b"one")),
    "spaces in the target": _post(_length(14), line=_LINE.replace(b"/v1", b"/v 1")),
    "a target past all limits": _post(_length(14), line=_LINE.replace(b"/v1", b"/" * 99_999)),
    "a header past all limits": _post(_length(14), b"x: " + b"y" * 99_999),
    "a NUL in the target": _post(_length(14), line=_LINE.replace(b"/v1", b"/v1\x00")),
    "CONNECT": b"CONNECT 127.0.0.1:80 HTTP/1.1\r\nhost: 127.0.0.1\r\n" + _HEAD + b"\r\n" + _HIDDEN,
    "TRACE": b"TRACE / HTTP/1.1\r\nhost: 127.0.0.1\r\n" + _HEAD + b"\r\n",
    "*": _post(_length(14), line=b"OPTIONS * HTTP/1.1\r\n"),
    "dots": _post(_length(14), line=_LINE.replace(b"/v1", b"/v1/../v1")),
    "encoded dots": _post(_length(14), line=_LINE.replace(b"/v1", b"/%2e%2e/v1")),
    "an authority": _post(_length(14), line=b"POST x:80 HTTP/1.1\r\n"),
    "an unknown expectation": _post(_length(14), b"expect: 200-ok"),
}
"""Nothing of it may be carried out."""

READ: dict[str, tuple[bytes, int]] = {
    "as usual": (_post(_length(14)), 1),
    "chunks": (_post(_TE, body=_CHUNKED), 1),
    "a chunk extension": (_post(_TE, body=b"e;a=b" + _CHUNKED[1:]), 1),
    "a trailer": (_post(_TE, body=_CHUNKED[:-2] + b"x-portkey-virtual-key: no\r\n\r\n"), 1),
    "two in a row": (_post(_length(14)) * 2, 2),
    "one in the body of the other": (_post(_length(len(_HIDDEN)), body=_HIDDEN), 0),
    "one in a chunk of the other": (
        _post(_TE, body=b"%x\r\n%b\r\n0\r\n\r\n" % (len(_HIDDEN), _HIDDEN)),
        0,
    ),
    "one behind a GET": (b"GET /healthz HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n" + _HIDDEN, 1),
    "one in the body of a GET": (
        b"GET /healthz HTTP/1.1\r\nhost: 127.0.0.1\r\n%b\r\n\r\n%b"
        % (_length(len(_HIDDEN)), _HIDDEN),
        0,
    ),
    "one behind an upgrade": (
        b"GET / HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: upgrade\r\nupgrade: h2c\r\n%b\r\n\r\n%b"
        % (_length(len(_HIDDEN)), _HIDDEN),
        0,
    ),
    "an upgrade to HTTP/2": (_post(_length(14), b"connection: upgrade", b"upgrade: h2c"), 1),
    "an expectation": (_post(_length(14), b"expect: 100-continue"), 1),
    "an absolute target": (
        _post(_length(14), line=_LINE.replace(b"/v1", b"http://127.0.0.1/v1")),
        1,
    ),
    "an encoded letter": (_post(_length(14), line=_LINE.replace(b"/v1", b"/%761")), 1),
}
"""It can be read in one way only, and buys so many pictures."""


@asynccontextmanager
async def connected(
    ours: Gateway,
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """Open a bare connection."""
    url = URL(ours.url)
    reader, writer = await asyncio.open_connection(url.host, url.port)
    try:
        yield reader, writer
    finally:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


async def statuses(ours: Gateway, sent: bytes, quiet: float = 0.15) -> list[int]:
    """Send bytes as they are, and give the status of each answer that comes until it is quiet."""
    answers = b""
    async with connected(ours) as (reader, writer):
        with suppress(ConnectionError, TimeoutError):
            writer.write(sent)
            while piece := await asyncio.wait_for(reader.read(1 << 16), quiet):
                answers += piece
    found = re.findall(rb"(?:^|(?<=[}\n]))HTTP/1\.[01] (\d{3}) ", answers)
    return [int(status) for status in found]


async def _goes_on(ours: Gateway, caplog: pytest.LogCaptureFixture) -> None:
    assert (await ours.ask(method="GET", path="/healthz")).status == 200
    assert "Traceback" not in caplog.text
    assert "File " not in caplog.text


@pytest.fixture
async def both() -> AsyncIterator[tuple[Gateway, Provider]]:
    async with gateway_to() as running:
        yield running


@pytest.mark.parametrize("kind", REFUSED)
async def test_what_is_no_clear_request_is_refused(
    kind: str, both: tuple[Gateway, Provider], caplog: pytest.LogCaptureFixture
) -> None:
    ours, fake = both
    answered = await statuses(ours, REFUSED[kind])
    assert all(400 <= status < 600 for status in answered), answered
    assert len(answered) <= 1
    assert fake.requests == []
    await _goes_on(ours, caplog)


@pytest.mark.parametrize("line", _LIKE_CHUNKED)
async def test_what_only_looks_like_chunks_is_refused(
    line: bytes, both: tuple[Gateway, Provider], caplog: pytest.LogCaptureFixture
) -> None:
    ours, fake = both
    for sent in (
        _post(line, _length(5), body=b"0\r\n\r\n" + _HIDDEN),
        _post(line, _TE, body=_CHUNKED + _HIDDEN),
        _post(line, body=_CHUNKED),
    ):
        answered = await statuses(ours, sent)
        assert all(400 <= status < 600 for status in answered), (answered, sent)
    assert fake.requests == []
    await _goes_on(ours, caplog)


@pytest.mark.parametrize("kind", READ)
async def test_what_is_clear_is_read_in_one_way(
    kind: str, both: tuple[Gateway, Provider], caplog: pytest.LogCaptureFixture
) -> None:
    ours, fake = both
    sent, pictures = READ[kind]
    async with connected(ours) as (reader, writer), asyncio.timeout(10):
        writer.write(sent)
        assert (await reader.read(9)).startswith(b"HTTP/1.")
        while len(fake.bodies) < pictures:  # noqa: ASYNC110 - the provider tells nobody
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.05)  # A smuggled request would come within this time.
    assert len(fake.requests) == pictures
    assert all(body == _BODY for body in fake.bodies)
    await _goes_on(ours, caplog)


_PIECES = [
    b"\r\n",
    b"\n",
    b"\r",
    b" ",
    b":",
    b"\x00",
    b"0\r\n\r\n",
    b"HTTP/1.1",
    b"HTTP/0.9",
    b"chunked",
]
_PIECES += [
    b"transfer-encoding: ",
    b"content-length: ",
    b"GET ",
    b"POST ",
    b"/healthz",
    b"14",
    b"e",
]
_PIECES += [PATH.encode(), _HEAD, _LINE, _TE + b"\r\n", _length(14) + b"\r\n", _BODY, _CHUNKED]
_NOISE = st.lists(st.sampled_from(_PIECES) | st.binary(max_size=9), max_size=12).map(b"".join)


async def test_any_bytes_at_all_are_answered_or_closed(caplog: pytest.LogCaptureFixture) -> None:
    async with gateway_to() as (ours, fake):
        loop = asyncio.get_running_loop()

        @settings(max_examples=150, deadline=None, database=None)
        @given(sent=_NOISE)
        def shouted(sent: bytes) -> None:
            paid = len(fake.requests)
            answering = asyncio.run_coroutine_threadsafe(statuses(ours, sent, 0.02), loop)
            answered = answering.result(20)
            assert not set(answered) - {200, 400, 401, 404, 405, 408, 411, 413, 414, 415, 417, 431}
            # What buys a picture is a request from its first byte on.
            assert len(fake.requests) == paid or b"POST " in sent

        await asyncio.to_thread(shouted)
        await _goes_on(ours, caplog)
