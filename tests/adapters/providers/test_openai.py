"""OpenAI, beyond its transcripts: bytes untouched, and what makes a reply be read."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from adapters.contract import Credentials, ImageCall, SignableRequest
from adapters.errors import BadParam, ProviderError, Refusal
from adapters.http import ProviderReply
from adapters.providers.openai import ADAPTER
from adapters.table.table import UnsupportedPolicy
from tests.support.transcripts import translated


def call(body: bytes | None = None, **params: Any) -> ImageCall:
    return ImageCall(params, params, Credentials("test-key-0123456789"), body)


def make_reply(status: int, body: bytes) -> ProviderReply:
    return ProviderReply(status, {"content-type": "application/json"}, body)


def test_the_clients_own_bytes_are_sent() -> None:
    body = b'{ "prompt": "a cube",  "model":"gpt-image-2", "n": 1.0 }'
    assert ADAPTER.build_request(call(body, model="gpt-image-2", prompt="a cube")).content is body


def test_a_body_that_was_changed_is_written_anew() -> None:
    request = ADAPTER.build_request(call(None, model="gpt-image-2", prompt="ein Würfel"))
    assert request.content == '{"model":"gpt-image-2","prompt":"ein Würfel"}'.encode()


@pytest.mark.parametrize("model", ["gpt-image-2", "gpt-image-9-nova", "chatgpt-image-latest"])
def test_response_format_is_withheld_from_families_that_refuse_it(model: str) -> None:
    asked = {"model": model, "prompt": "a", "response_format": "b64_json"}
    request = ADAPTER.build_request(call(b"{...}", **asked))
    assert b"response_format" not in (request.content or b"")


@pytest.mark.parametrize("model", ["dall-e-3", "my-own-model", ""])
def test_response_format_reaches_every_other_model(model: str) -> None:
    request = ADAPTER.build_request(call(None, model=model, prompt="a", response_format="url"))
    assert b'"response_format":"url"' in (request.content or b"")
    assert request.verbatim


@pytest.mark.parametrize(
    ("params", "verbatim"),
    [
        ({}, True),
        ({"response_format": "b64_json"}, True),
        ({"response_format": "url"}, False),
        ({"response_format": "url", "stream": True}, True),
    ],
)
def test_a_reply_is_read_only_where_base64_must_become_a_url(
    *, params: dict[str, Any], verbatim: bool
) -> None:
    assert ADAPTER.build_request(call(None, model="gpt-image-2", **params)).verbatim is verbatim


def test_the_answer_keeps_the_providers_bytes() -> None:
    body = b'{"data": [{"b64_json": "aGk="}], "not_yet_invented": 1}'
    answer = ADAPTER.parse_answer(call(), make_reply(200, body))
    assert answer.body is body
    assert answer.extra == {"not_yet_invented": 1}


def test_an_error_in_the_clients_shape_is_relayed_as_it_is() -> None:
    body = b'{"error": {"message": "No.", "type": "odd", "param": null, "code": "odd"}}'
    error = ADAPTER.provider_error(make_reply(418, body))
    assert (error.status, error.body) == (418, body)


def test_an_error_of_another_shape_gets_ours() -> None:
    error = ADAPTER.provider_error(make_reply(502, b"<html>Bad gateway</html>"))
    assert (error.status, error.body, error.type) == (502, None, "server_error")


@pytest.mark.parametrize("code", ["moderation_blocked", "content_policy_violation"])
def test_the_code_makes_a_refusal(code: str) -> None:
    told = f'{{"error": {{"message": "No.", "type": "x", "code": "{code}"}}}}'.encode()
    assert isinstance(ADAPTER.provider_error(make_reply(400, told)), Refusal)


def test_the_type_alone_makes_no_refusal() -> None:
    told = (
        b'{"error": {"message": "No such model.", "type": "image_generation_user_error",'
        b' "param": "model", "code": null}}'
    )
    error = ADAPTER.provider_error(make_reply(400, told))
    assert not isinstance(error, Refusal)
    assert error.param == "model"


def test_an_error_inside_a_success_is_an_error() -> None:
    with pytest.raises(ProviderError):
        ADAPTER.parse_answer(call(), make_reply(200, b'{"error": {"message": "Later."}}'))


def test_a_server_without_keys_gets_no_authorization() -> None:
    outgoing = SignableRequest("POST", "http://127.0.0.1:1/images/generations", {}, b"", 0)
    assert ADAPTER.sign(outgoing, Credentials()) == {}


# Servers of one's own


def own(model: str = "sd-cpp-local", **params: Any) -> ImageCall:
    asked = {"model": model, "prompt": "a cube", **params}
    return ImageCall(asked, asked, Credentials("", {"openai_response_format": "b64_json"}), b"{}")


@pytest.mark.parametrize("asked", ["url", "b64_json", None])
def test_a_server_of_ones_own_is_always_asked_for_base64_and_read(asked: str | None) -> None:
    request = ADAPTER.build_request(own(response_format=asked))
    assert request.json == {"model": "sd-cpp-local", "prompt": "a cube"} | B64
    assert not request.verbatim


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("size", "auto"),
        ("stream", True),
        ("file", "http://169.254.169.254/"),
        ("files", ["http://169.254.169.254/"]),
        ("ref_images", ["http://169.254.169.254/"]),
    ],
)
def test_what_such_servers_get_wrong_is_not_sent(name: str, value: Any) -> None:
    assert name not in ADAPTER.build_request(own(**{name: value})).json
    assert ADAPTER.build_request(own(size="512x512", steps=4)).json["size"] == "512x512"


def test_no_command_for_the_server_comes_in_a_prompt() -> None:
    with pytest.raises(BadParam) as caught:
        ADAPTER.build_request(own(prompt='a <sd_cpp_extra_args>{"x": 1}</sd_cpp_extra_args>'))
    assert caught.value.param == "prompt"


def test_of_its_answer_only_what_is_the_clients_goes_on() -> None:
    entry = {"b64_json": "aGk=", "file_path": "/srv/1.png", "revised_prompt": "a cube", "seed": 7}
    tree = {"data": [entry], "peak_memory_mb": 1, "usage": {"total_tokens": 0}}
    answer = ADAPTER.parse_answer(own(), make_reply(200, orjson.dumps(tree)))
    assert (answer.body, answer.extra, answer.usage) == (None, {}, None)
    assert answer.images[0].extra == {"seed": 7}


@pytest.mark.parametrize("place", ["/v1/images/1/content", "/home/me/1.jpg", "file:///1.jpg"])
def test_a_url_that_is_of_no_use_elsewhere_is_no_image(place: str) -> None:
    with pytest.raises(ProviderError, match="without an image"):
        ADAPTER.parse_answer(own(), make_reply(200, orjson.dumps({"data": [{"url": place}]})))


def test_a_server_that_refuses_response_format_is_not_asked_for_it() -> None:
    asked = {"model": "my-deployment", "prompt": "a", "response_format": "b64_json"}
    call = ImageCall(asked, asked, Credentials("k", {"openai_response_format": "none"}))
    request = ADAPTER.build_request(call)
    assert b"response_format" not in (request.content or b"")
    assert request.verbatim


B64 = {"response_format": "b64_json"}


def test_what_such_servers_get_wrong_is_named_in_the_receipt() -> None:
    asked = {**own(size="auto", stream=True, partial_images=2, file="http://10.0.0.1/").params}
    credentials = own().credentials
    _, receipt = translated(ADAPTER, asked, credentials)
    assert str(receipt) == "dropped size=auto, dropped partial_images=2, dropped file"
    with pytest.raises(BadParam, match="OpenAI does not support the parameter 'partial_images'"):
        translated(ADAPTER, asked, credentials, UnsupportedPolicy.STRICT)
