"""What the process log shows of a reply without an image."""

from __future__ import annotations

import base64
import json
from urllib.parse import quote, quote_plus

import pytest

from proxy.upstream.reply_excerpt import MAX_BYTES, excerpt

PROMPT = 'A "quiet" harbour at dawn,\nfishing boats & gulls, café'
PARAMS = {"prompt": PROMPT, "model": "m-1", "n": 1}
KEY = "sk-live-0123456789abcdef"
SECRETS = frozenset({KEY})
IMAGE = base64.b64encode(bytes(range(256)) * 4).decode()


def shown(body: str | bytes) -> str:
    return excerpt(body.encode() if isinstance(body, str) else body, PARAMS, SECRETS)


def test_the_reason_of_a_provider_is_shown() -> None:
    body = {"status": "done", "images": [], "reason": "NO_IMAGE", "seconds": 1.5}
    assert json.loads(shown(json.dumps(body))) == body


@pytest.mark.parametrize(
    "echo",
    [
        PROMPT,
        PROMPT.upper(),
        PROMPT[:25],
        PROMPT[20:],
        json.dumps(PROMPT),
        json.dumps(PROMPT, ensure_ascii=False),
        json.dumps(json.dumps(PROMPT)),
        quote(PROMPT),
        quote_plus(PROMPT),
        "".join(f"&#{ord(it)};" for it in PROMPT),
        PROMPT.replace(" ", "\n"),
        "fishing   boats",
    ],
)
def test_a_prompt_is_not_shown_however_it_is_quoted(echo: str) -> None:
    bodies = [
        echo,
        json.dumps({"error": f"I cannot draw {echo}."}),
        json.dumps({"text": echo, "status": "failed"}, ensure_ascii=False),
        f"<html><body>No image for {echo}</body></html>",
        f"{{'revised': '{echo}'}}",
    ]
    for body in bodies:
        text = shown(body).casefold()
        for word in ("harbour", "fishing", "gulls", "café", "quiet"):
            assert word not in text, (body, text)


def test_what_does_not_quote_the_prompt_stays_beside_what_does() -> None:
    told = shown(json.dumps({"revised_prompt": f"{PROMPT}, oil", "finish": "NO_IMAGE"}))
    assert json.loads(told) == {"revised_prompt": "[private]", "finish": "NO_IMAGE"}


def test_a_short_prompt_is_not_shown_either() -> None:
    assert "owl" not in excerpt(b'{"error": "no Owl for you"}', {"prompt": "owl"}, frozenset())
    assert "\U0001f989" not in excerpt(
        "I see \U0001f989.".encode(), {"prompt": "\U0001f989"}, SECRETS
    )


@pytest.mark.parametrize(
    "data",
    [
        IMAGE,
        IMAGE.replace("+", "-").replace("/", "_"),
        "\n".join(IMAGE[at : at + 76] for at in range(0, len(IMAGE), 76)),
        quote(IMAGE, safe=""),
        f"data:image/png;base64,{IMAGE}",
        IMAGE.replace("/", "\\/"),
    ],
)
def test_base64_is_not_shown(data: str) -> None:
    for body in (data, json.dumps({"b64": data}), f'{{"b64":"{data}', f"no image: {data}"):
        told = shown(body)
        assert not any(IMAGE[at : at + 30] in told for at in range(0, len(IMAGE), 10)), told
        assert "characters]" in told


def test_a_key_is_not_shown_also_where_the_excerpt_is_cut() -> None:
    for padding in range(MAX_BYTES - 60, MAX_BYTES + 10, 7):
        told = shown("no " * (padding // 3) + KEY)
        assert "sk-live" not in told


@pytest.mark.parametrize("spelled", [KEY.upper(), quote(KEY + "/+"), KEY.replace("-", "\\u002d")])
def test_a_key_is_not_shown_however_it_is_written(spelled: str) -> None:
    for body in (f"bad key {spelled}!", f'{{"error": "bad key {spelled}"}}'):
        assert "live" not in shown(body).casefold()


def test_an_id_is_shown() -> None:
    body = '{"id": "0f8fad5b-d9cb-469f-a165-70867728950e"}'
    assert shown(body) == body


def test_an_excerpt_is_bounded_also_where_characters_are_escaped() -> None:
    for body in (
        "no " * 5000,
        "nö " * 5000,
        "\x07 no " * 5000,
        '"' + "no " * 5000,
        "\u2028n " * 9000,
    ):
        assert len(shown(body).encode()) <= MAX_BYTES
        assert shown(body).isprintable()


def test_binary_data_is_not_shown() -> None:
    assert shown(b"\x89PNG\r\n\x1a\n\x00\x00") == "[binary data]"


def test_a_large_reply_and_a_large_prompt_are_looked_at_quickly() -> None:
    params = {"prompt": "word " * 8000}
    assert len(excerpt(b'{"a":"' + b"x y" * 400_000, params, SECRETS)) <= MAX_BYTES
