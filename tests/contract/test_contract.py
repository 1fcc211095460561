"""What is promised for every adapter, asserted for every adapter, transcript and table row."""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import suppress
from datetime import date
from functools import cache
from io import BytesIO
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as Picture

import adapters
from adapters import ALIASES, PROVIDERS, get_adapter
from adapters.contract import (
    IN_PROCESS,
    Answer,
    Credentials,
    Image,
    ImageCall,
    SignableRequest,
)
from adapters.errors import BadParam, FlowCancelled, ImageError, Refusal
from adapters.http import ProviderReply, ProviderRequest
from adapters.table.param import STANDARD_PARAMS, accepts, validate
from adapters.table.table import Table
from tests.support import boundary_values, malformed
from tests.support.transcripts import (
    CANCELLING,
    FOLDER,
    Failure,
    Transcript,
    Wire,
    conversation,
    finished,
    load,
    naming,
    playing,
    receipt_of,
    secrets_of,
    shown,
    transcripts_of,
)

UNGUARDED = {"automatic1111", "comfyui", "invokeai"}
"""Self-hosted servers without a safety system: they refuse nothing."""

MAX_STEPS = 5_000
"""Steps after which a conversation counts as endless."""

FILES = {it.stem for it in Path(adapters.__file__).parent.glob("providers/*.py")} - {"__init__"}
WRITTEN = [name for name in PROVIDERS if name.replace("-", "_") in FILES]

every_provider = pytest.mark.parametrize("provider", WRITTEN)


def every_transcript(claim: Callable[[Transcript], None]) -> Callable[[str], None]:
    """Make one test for each provider that asserts a claim for all of its transcripts.

    The failure names the transcript.
    """

    @every_provider
    def test(provider: str) -> None:
        for transcript in transcripts_of(provider):
            with naming(transcript):
                claim(transcript)

    test.__name__, test.__doc__ = claim.__name__, claim.__doc__
    return test


# Listed, written, proved


def test_every_listed_provider_is_a_file_and_every_file_is_listed() -> None:
    assert sorted(FILES) == sorted(name.replace("-", "_") for name in PROVIDERS)


def test_every_listed_provider_has_transcripts_and_every_folder_is_listed() -> None:
    assert sorted(path.name for path in FOLDER.iterdir() if path.is_dir()) == sorted(PROVIDERS)


def test_the_list_is_alphabetical_and_its_aliases_lead_into_it() -> None:
    assert list(PROVIDERS) == sorted(PROVIDERS)
    assert set(ALIASES.values()) <= set(PROVIDERS)
    assert not ALIASES.keys() & set(PROVIDERS)


@pytest.mark.parametrize("provider", PROVIDERS)
def test_every_provider_shows_a_success_a_refusal_and_an_error(provider: str) -> None:
    kinds = {load(path).kind for path in (FOLDER / provider).glob("*.json")}
    refusal = set() if provider in UNGUARDED else {"refusal"}
    assert kinds == {"success", "error"} | refusal


@every_provider
def test_an_adapter_says_who_it_is(provider: str) -> None:
    found = get_adapter(provider)
    assert found.id == provider
    assert found.name
    assert found.models
    assert found.docs.startswith("https://")
    assert not found.base_url.endswith("/")
    own = found.keyless and found.base_url.startswith("http://127.0.0.1:")
    assert own or found.base_url.startswith(("https://", IN_PROCESS)) or found.options


@every_provider
def test_no_two_options_share_a_name_an_alias_or_a_header(provider: str) -> None:
    options = get_adapter(provider).options
    names = [name for option in options for name in (option.name, *option.aliases)]
    headers = [name for option in options for name in (option.header, *option.headers)]
    assert len(set(names)) == len(names)
    assert len(set(headers)) == len(headers)
    assert all(name == name.lower() for name in headers)


# Transcripts


@every_transcript
def test_a_transcript_says_where_it_is_from(transcript: Transcript) -> None:
    assert transcript.about
    assert transcript.source.startswith("https://")
    assert date.fromisoformat(transcript.read)


@every_transcript
def test_a_transcripts_options_are_declared_and_of_their_form(transcript: Transcript) -> None:
    options = {option.name: option for option in get_adapter(transcript.provider).options}
    for name, value in transcript.credentials.options.items():
        assert re.fullmatch(options[name].pattern, value)


@every_transcript
def test_the_pictures_of_a_transcript_are_real(transcript: Transcript) -> None:
    entries = (transcript.answer or {}).get("data", [])
    assert {entry["url"] for entry in entries if "url" in entry} == transcript.downloads.keys()
    inline = [entry["b64_json"] for entry in entries if "b64_json" in entry]
    for text in (*inline, *transcript.downloads.values()):
        Picture.open(BytesIO(b64decode(text, validate=True))).verify()


@every_transcript
def test_a_conversation_comes_to_what_is_written_down(transcript: Transcript) -> None:
    assert finished(_outcome(transcript)) == (transcript.answer or transcript.error)


@every_transcript
def test_a_call_leaves_the_receipt_written_down(transcript: Transcript) -> None:
    never_made = not transcript.exchanges
    assert never_made or receipt_of(transcript) == transcript.receipt


@every_transcript
def test_a_refusal_is_a_refusal_and_nothing_else_is(transcript: Transcript) -> None:
    outcome = _ended(transcript, malformed.replies(transcript))
    assert isinstance(outcome, Refusal) is (transcript.kind == "refusal")


@every_transcript
def test_secrets_are_not_shown(transcript: Transcript) -> None:
    requests = _requests(transcript)
    call = transcript.first_call if requests else ()
    told = repr([transcript.credentials, *call, *requests])
    assert not [secret for secret in secrets_of(transcript) if secret in told]


@every_transcript
def test_two_conversations_of_one_adapter_do_not_meet(transcript: Transcript) -> None:
    alone = finished(_outcome(transcript))
    others = transcripts_of(transcript.provider)
    for other in (transcript, others[others.index(transcript) - 1]):
        together = _in_turns(_outcome(transcript), _outcome(other))
        assert together == [alone, finished(_outcome(other))]


# Nobody waits any more


@every_transcript
def test_an_abandoned_job_is_cancelled_once_and_at_home(transcript: Transcript) -> None:
    provider, replies = get_adapter(transcript.provider), malformed.replies(transcript)
    wire = Wire(provider, transcript.credentials)
    for count in range(len(replies)):
        waiting, asked = _abandoned(transcript, replies[:count])
        is_waited_for = bool(waiting and waiting.delay)
        assert len(asked) <= (transcript.provider in CANCELLING), waiting and wire.line(waiting)
        assert asked or not (transcript.provider in CANCELLING and is_waited_for)
        for request in asked:
            assert wire.is_ours(request.url), wire.line(request)
            assert request.method != "GET"
            assert request.authenticated


@pytest.mark.parametrize("provider", sorted(CANCELLING))
def test_every_cancellation_has_been_seen(provider: str) -> None:
    seen = [
        _abandoned(one, malformed.replies(one)[:count])[1]
        for one in transcripts_of(provider)
        for count in range(len(one.exchanges))
    ]
    assert any(seen)


@every_transcript
def test_after_a_damaged_reply_a_job_can_be_abandoned_too(transcript: Transcript) -> None:
    if transcript.provider in CANCELLING:
        for what, replies in _damaged(transcript):
            for count in range(len(replies)):
                assert len(_abandoned(transcript, replies[:count])[1]) <= 1, what


@every_transcript
def test_progress_is_a_part_of_one_or_not_told(transcript: Transcript) -> None:
    provider = get_adapter(transcript.provider)
    damaged = (replies for _, replies in _damaged(transcript))
    for replies in chain([malformed.replies(transcript)], damaged):
        told = [provider.parse_progress(reply) for reply in replies]
        assert all(it is None or 0 <= it <= 1 for it in told)


# Replies as nobody wrote them down


@every_transcript
def test_a_reply_that_never_changes_comes_to_an_end(transcript: Transcript) -> None:
    replies = malformed.replies(transcript)
    for count in range(1, len(replies) + 1):
        _ended(transcript, replies[:count], "with its last reply repeated")


@every_transcript
def test_a_damaged_reply_is_an_answer_or_an_error_for_the_client(transcript: Transcript) -> None:
    for what, replies in _damaged(transcript):
        outcome = _ended(transcript, replies, what)
        assert outcome is None or _is_whole(outcome), what


@every_transcript
def test_a_web_page_or_a_cut_body_is_never_a_picture(transcript: Transcript) -> None:
    for what, replies in malformed.with_no_picture(transcript):
        assert isinstance(_ended(transcript, replies, what), ImageError), what


# Tables


@every_provider
def test_a_table_has_one_row_for_a_parameter(provider: str) -> None:
    for table in _tables(provider):
        names = [row.name for row in table.rows]
        assert len(set(names)) == len(names)
        assert "prompt" in names


@every_provider
def test_what_is_inside_of_a_range_is_accepted(provider: str) -> None:
    for table, name in _ruled(provider):
        for value in boundary_values.inside(boundary_values.rule(table, name)):
            assert orjson.dumps(table.translate({name: value}).fields)


@every_provider
def test_what_is_outside_of_a_range_is_refused_by_name(provider: str) -> None:
    for table, name in _ruled(provider):
        for value in boundary_values.outside(boundary_values.rule(table, name)):
            if _is_the_providers_own(table, name, value):
                continue
            with pytest.raises(BadParam) as caught:
                table.translate({name: value})
            assert caught.value.param == name, value


@every_provider
def test_a_conversion_maps_only_values_that_a_client_may_send(provider: str) -> None:
    for row in chain.from_iterable(table.rows for table in _tables(provider)):
        for value in row.convert if isinstance(row.convert, Mapping) else ():
            validate(row.name, value, STANDARD_PARAMS.get(row.name, row))


@settings(deadline=None)  # the first example imports every adapter
@given(size=st.from_regex(STANDARD_PARAMS["size"].pattern, fullmatch=True))
def test_every_size_of_the_contract_is_accepted(size: str) -> None:
    for provider in WRITTEN:
        for table in _tables(provider):
            try:
                assert orjson.dumps(table.translate({"size": size}).fields)
            except BadParam as refused:
                raise AssertionError(f"{provider} refuses the size {size}") from refused


# Support functions


def _damaged(transcript: Transcript) -> Iterator[malformed.Damaged]:
    """Yield the replies with one key or list entry removed, then with one value replaced."""
    yield from malformed.with_a_key_gone(transcript)
    yield from malformed.with_another_value(transcript)


def _is_the_providers_own(table: Table, name: str, value: Any) -> bool:
    """Whether a value is one of a provider's parameter that is called `name` on its side."""
    rows = [row for row in table.rows if row.field == name and row.name not in STANDARD_PARAMS]
    return name in STANDARD_PARAMS and any(accepts(row, value) for row in rows)


@cache
def _tables(provider: str) -> list[Table]:
    """Return the tables of all model families."""
    found = get_adapter(provider)
    used = [one.call.get("model", "") for one in transcripts_of(provider)]
    models = dict.fromkeys([*found.models, *used, "", "never-heard-of-it"])
    tables = [found.table_for(model) for model in models]
    return [table for at, table in enumerate(tables) if table not in tables[:at]]


def _ruled(provider: str) -> Iterator[tuple[Table, str]]:
    """Yield every parameter that a table has a rule for: its own rows, and the contract's."""
    for table in _tables(provider):
        yield from ((table, name) for name in {*STANDARD_PARAMS, *(row.name for row in table.rows)})


def _ended(
    transcript: Transcript, replies: list[ProviderReply], what: str = ""
) -> Answer | ImageError | None:
    """Run a conversation on replies, the last repeated without end, and return its outcome."""
    flow = conversation(transcript)
    try:
        next(flow)
        for reply in chain(replies, repeat(replies[-1], MAX_STEPS)):
            flow.send(reply)
    except StopIteration as end:
        answer: Answer | None = end.value
        return answer
    except ImageError as failure:
        return _discreet(failure, transcript)
    raise AssertionError(f"{transcript.place} goes on for ever: {what}")


def _abandoned(
    transcript: Transcript, replies: list[ProviderReply]
) -> tuple[ProviderRequest | None, list[ProviderRequest]]:
    """Abandon a conversation after some replies.

    Returns the request that was pending, and the requests sent because of it. Empty for an
    adapter that buys a token first: no image has been requested by then.
    """
    provider = get_adapter(transcript.provider)
    if provider.token_flow(transcript.credentials, 0.0):
        return None, []
    asked: list[ProviderRequest] = []
    waiting: ProviderRequest | None = None
    with suppress(StopIteration, ImageError):
        flow = provider.flow(transcript.first_call[0])
        waiting = next(flow)
        for reply in replies:
            waiting = flow.send(reply)
        with suppress(FlowCancelled):
            asked.append(flow.throw(FlowCancelled()))
            asked.append(flow.send(ProviderReply(200)))
        return waiting, asked
    return None, []


def _discreet(error: ImageError, transcript: Transcript) -> ImageError:
    """Return the error after checking that no secret is in its message."""
    assert not [secret for secret in secrets_of(transcript) if secret in error.message]
    return error


def _outcome(transcript: Transcript) -> Generator[None, None, Any]:
    """Play a transcript step by step and return what the client would see."""
    try:
        answer = yield from playing(transcript)
    except ImageError as error:
        return Failure.of(error)
    return answer and shown(answer)


def _in_turns(*stepped: Generator[None, None, Any]) -> list[Any]:
    """Take one step of each in turn until all have ended, and return their results."""
    ends: dict[int, Any] = {}
    while len(ends) < len(stepped):
        for which, one in enumerate(stepped):
            try:
                next(one)
            except StopIteration as end:
                ends.setdefault(which, end.value)
    return [ends[which] for which in range(len(stepped))]


def _requests(transcript: Transcript) -> list[ProviderRequest]:
    """Collect the requests of a conversation."""
    flow, asked = conversation(transcript), []
    with suppress(StopIteration, ImageError):
        asked.append(next(flow))
        for reply in malformed.replies(transcript):
            asked.append(flow.send(reply))  # noqa: PERF401 - keeps what came before the end
    return asked


def _is_whole(outcome: Answer | ImageError) -> bool:
    """Whether an outcome can be put into JSON as the contract describes it."""
    if isinstance(outcome, ImageError):
        words = (outcome.message, outcome.type, outcome.code or "", outcome.param or "")
        return 400 <= outcome.status < 600 and all(isinstance(word, str) for word in words)
    rest = (outcome.usage or {}, outcome.extra, *(image.extra for image in outcome.images))
    assert all(isinstance(one, Mapping) and orjson.dumps(one) for one in rest)
    return bool(outcome.images) and all(map(_is_picture, outcome.images))


def _is_picture(image: Image) -> bool:
    """Whether an image is exactly one of a URL, base64 text or bytes."""
    held = [it for it in (image.url, image.b64, image.data) if it]
    kinds = (isinstance(image.url, str), isinstance(image.b64, str), isinstance(image.data, bytes))
    return len(held) == 1 and all(kinds)


KNOWN_AS = {
    *("anthropic", "aws.bedrock", "azure.ai.inference", "azure.ai.openai", "cohere", "deepseek"),
    *("gcp.gemini", "gcp.gen_ai", "gcp.vertex_ai", "groq", "ibm.watsonx.ai", "mistral_ai"),
    *("openai", "perplexity", "x_ai"),
}
"""The providers that OpenTelemetry's GenAI conventions have a name for."""


@pytest.mark.parametrize("name", PROVIDERS)
def test_a_provider_has_another_name_in_traces_only_where_the_conventions_have_one(
    name: str,
) -> None:
    known_as = get_adapter(name).otel_provider_name
    assert known_as in {"", *KNOWN_AS}
    assert known_as != name


_OPTION_VALUES = ("a", "v1", "true", "mine-1", "error", "us-east-1", "intl", "b64_json")


def _option_value(pattern: str) -> str:
    return next((it for it in _OPTION_VALUES if re.fullmatch(pattern, it)), "")


@every_provider
def test_every_header_that_carries_an_option_is_declared_by_it(provider: str) -> None:
    adapter = get_adapter(provider)
    model = adapter.models[0] if adapter.models else "m"
    params = {"prompt": "a cube", "model": model}

    def carried(options: Mapping[str, str]) -> set[tuple[str, str]]:
        credentials = Credentials("key-0123456789", options)
        call = ImageCall(params, params, credentials, nonce=1)
        sent = next(adapter.flow(call))
        outgoing = SignableRequest("POST", "https://example.com/", {}, b"", 0.0)
        signed = adapter.sign(outgoing, credentials)
        return {(name.lower(), it) for name, it in {**sent.headers, **signed}.items()}

    for option in (it for it in adapter.options if not it.secret):
        value = _option_value(option.pattern)
        with suppress(BadParam):
            added = carried({option.name: value}) - carried({})
            names = {name for name, it in added if it == value}
            assert names <= {*option.provider_headers}, option.name
