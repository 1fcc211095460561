"""What processes tell each other of a job: all that is needed, nothing that breaks an answer."""

from __future__ import annotations

import msgspec
import pytest

from adapters.errors import ImageError, ProviderError
from proxy.errors import BadRequest
from proxy.jobs.records import Failure, Record, read, written

GOOD = Record("test", b"d" * 32, "p", 1.5, state="done", headers=[("x-a", "b")], size=3)


def told(error: ImageError, *, doubt: bool = False) -> ImageError:
    """Give an error as another process gives it."""
    failed = Record("c", b"d", "o", 1.0, state="failed", failure=Failure.of(error, doubt=doubt))
    found = read(written(failed))
    assert found is not None
    assert found.failure is not None
    return found.failure.as_error()


def test_a_record_is_read_as_it_was_written() -> None:
    assert read(written(GOOD)) == GOOD


@pytest.mark.parametrize(
    "data",
    [None, b"", b"\xff", msgspec.msgpack.encode([1]), written(GOOD)[:-1]],
)
def test_what_is_no_record_is_none(data: bytes | None) -> None:
    assert read(data) is None


@pytest.mark.parametrize("header", [("x-a", "b\r\nx-b: c"), ("x a", "b"), ("content-length", "4")])
def test_headers_that_would_break_an_answer_are_not_read(header: tuple[str, str]) -> None:
    fields = {**msgspec.to_builtins(GOOD, builtin_types=(bytes,)), "headers": [header]}
    assert read(msgspec.msgpack.encode(fields)) is None


def test_a_failure_is_told_elsewhere_as_it_is_here() -> None:
    error = BadRequest("Say more.", code="short", param="prompt")
    error.headers = {"x-should-retry": "false", "x-own": "1"}
    found = told(error)
    assert (found.status, found.as_object()) == (error.status, error.as_object())
    assert found.headers == {"x-should-retry": "false"}


def test_a_providers_own_error_keeps_its_bytes() -> None:
    error = ProviderError("No.", body=b'{"error": {"own": 1}}', status=429)
    found = told(error)
    assert isinstance(found, ProviderError)
    assert (found.body, found.status) == (error.body, 429)


def test_only_a_failure_that_nobody_has_to_hear_of_is_useless() -> None:
    failed = [
        Record("c", b"d", "o", 1.0, failure=Failure.of(BadRequest("x"), doubt=it))
        for it in (True, False)
    ]
    assert [it.is_useless for it in (*failed, GOOD)] == [False, True, False]
