"""The values that travel with a request."""

from __future__ import annotations

from base64 import b64encode

from msgspec.structs import replace

from adapters import adapter
from adapters.contract import Adapter, Answer, Credentials, Image, ImageCall, Option
from proxy.routing.plan import Attempt, Recording, Target

HOST = "https://api.openai.com/v1"


def test_a_fingerprint_tells_credentials_apart_and_reveals_none() -> None:
    keys = ("key-1", "key-2")
    prints = [Target(adapter("openai"), Credentials(key), HOST).fingerprint for key in keys]
    assert prints[0] != prints[1]
    assert not any(key in text for key in keys for text in prints)


class Acme(Adapter):
    """Has an option that is secret, and one that is not."""

    options = (Option("client", "who"), Option("secret", "its word", secret=True))


def test_secrets_are_the_key_and_the_secret_options() -> None:
    options = {"client": "a-public-name", "secret": "a/long/secret"}
    target = Target(Acme(), Credentials("key-0123456789", options), "")
    assert target.secrets == {"key-0123456789", "a/long/secret", "a\\/long\\/secret"}


def test_a_password_in_base64_is_as_secret_as_the_password() -> None:
    options = {"automatic1111_user": "me", "automatic1111_password": "a long password"}
    target = Target(adapter("automatic1111"), Credentials("", options), "http://127.0.0.1:7860")
    assert target.secrets == {"a long password", b64encode(b"me:a long password").decode()}


def test_a_placeholder_is_no_secret() -> None:
    assert Target(Acme(), Credentials("x"), "").secrets == frozenset()


def test_a_target_shows_no_secret() -> None:
    assert "key-1" not in repr(Target(adapter("openai"), Credentials("key-1"), HOST))


def test_an_edition_is_that_of_what_the_operator_wrote_whoever_asks() -> None:
    stored = Target(adapter("openai"), Credentials("key-1"), HOST, stored=True)
    same = replace(stored, forwarded={"x-tenant": "a"}, request_timeout=9.0)
    others = (
        replace(stored, credentials=Credentials("key-2")),
        replace(stored, base_url="https://other.test/v1"),
        replace(stored, override_params={"model": "another"}),
        replace(stored, adapter=adapter("stability-ai")),
    )
    assert same.edition == stored.edition
    assert len({stored.edition, *(it.edition for it in others)}) == 5
    theirs = [replace(stored, credentials=Credentials(it), stored=False) for it in ("a", "b")]
    assert theirs[0].edition == theirs[1].edition


def test_a_recording_keeps_the_chunks_themselves() -> None:
    recording, chunk = Recording(10), b"12345"
    recording.begin(200, "application/json", None)
    recording.add(chunk)
    assert recording.chunks is not None
    assert recording.chunks[0] is chunk


def test_a_recording_gives_up_what_is_too_long() -> None:
    recording = Recording(10)
    recording.begin(200, "application/json", None)
    recording.add(b"123456")
    recording.add(b"123456")
    assert recording.chunks is None


def test_what_is_known_to_be_too_long_is_not_begun() -> None:
    recording = Recording(10)
    recording.begin(200, "application/json", 11)
    assert recording.chunks is None


def test_of_an_answer_that_was_put_together_the_pictures_are_recorded_and_no_bytes() -> None:
    recording = Recording(100)
    answer = Answer((Image(b64="AAAA"), Image(data=b"12345"), Image(b64="AAAA", preview=0)))
    recording.consists_of(answer)
    recording.add(b"12345")
    [noted] = recording.answers
    assert [it.preview for it in noted.images] == [None, None]
    assert (recording.chunks, recording.held) == (None, 8)


def test_a_preview_alone_is_not_recorded() -> None:
    recording = Recording(100)
    recording.consists_of(Answer((Image(b64="AAAA", preview=0),)))
    assert recording.answers == []


def test_pictures_that_are_too_much_spoil_it() -> None:
    recording = Recording(10)
    for _ in range(3):
        recording.consists_of(Answer((Image(data=b"12345"),)))
    assert (recording.spoiled, recording.answers, recording.held) == (True, [], 10)


def test_what_is_spoiled_stays_so() -> None:
    recording = Recording(10)
    recording.spoil()
    recording.consists_of(Answer((Image(data=b"1"),)))
    assert recording.spoiled


def test_the_progress_of_an_attempt_is_that_of_all_its_calls() -> None:
    target = Target(adapter("openai"), Credentials("key-1"), HOST)
    attempt = Attempt(target, {}, None, calls=(ImageCall({}, {}), ImageCall({}, {})))
    seen = [attempt.progress]
    for call, progress in ((1, 0.5), (2, 1.0)):
        attempt.tries.progress[call] = progress
        seen.append(attempt.progress)
    assert seen == [None, 0.25, 0.75]
