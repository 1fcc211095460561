"""What a client spells otherwise: numbers, unknown parameters and misspelled headers."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.gateway import OURS, PATH, gateway_to

CUBE = {"prompt": "a cube", "model": "gpt-image-1"}


async def test_a_whole_number_may_have_a_point() -> None:
    async with gateway_to() as (ours, theirs):
        numbers = {"n": 1.0, "seed": 42.0, "output_compression": 80.0, "partial_images": 0.0}
        assert (await ours.draw(params={**CUBE, **numbers}, virtual_key="up")).status == 200
        assert {name: repr(theirs.sent[name]) for name in numbers} == {
            "n": "1",
            "seed": "42",
            "output_compression": "80",
            "partial_images": "0",
        }


async def test_a_whole_number_of_a_config_may_have_a_point() -> None:
    inline = '{"virtual_key": "up", "%s": {"n": 1.0, "seed": 42.0, "strength": 1.0}}'
    saved = "configs: {whole: {virtual_key: up, override_params: {n: 1.0, seed: 42.0}}}\n"
    async with gateway_to(more=saved) as (ours, theirs):
        for config in (inline % "override_params", inline % "default_params", "whole"):
            assert (await ours.draw(params=CUBE, config=config)).status == 200
            assert [repr(theirs.sent[name]) for name in ("n", "seed")] == ["1", "42"], config


@pytest.mark.parametrize("value", [2**63, 2**64 - 1, -(2**63), 2**53 + 1, 1e20, 0.1])
async def test_a_number_that_fits_is_sent_as_it_is(value: float) -> None:
    async with gateway_to() as (ours, theirs):
        assert (await ours.draw(params={**CUBE, "seed": value}, virtual_key="up")).status == 200
        assert theirs.sent["seed"] == value


@pytest.mark.parametrize(
    ("text", "param"),
    [
        ('"seed": 123456789012345678901', "seed"),
        ('"seed": -9223372036854775809', "seed"),
        ('"seed":18446744073709551616', "seed"),
        ('"input": {"seeds": [1, 123456789012345678901]}', "input"),
    ],
)
async def test_a_number_beyond_64_bits_is_refused_by_name(text: str, param: str) -> None:
    async with gateway_to() as (ours, theirs):
        got = await ours.ask(b'{"prompt": "a cube", ' + text.encode() + b"}", virtual_key="up")
        assert (got.status, got.error["param"]) == (400, param)
        assert got.error["code"] == "integer_too_large"
        assert theirs.requests == []


async def test_digits_in_a_text_are_no_number() -> None:
    async with gateway_to() as (ours, theirs):
        prompt = 'cost: 123456789012345678901, [123456789012345678901]: "7"'
        assert (await ours.draw(prompt, params={"model": "x"}, virtual_key="up")).status == 200
        assert theirs.sent["prompt"] == prompt


def misspelled(count: int) -> dict[str, Any]:
    return {f"qualty{it}": "high" for it in range(count)}


@pytest.mark.parametrize(
    ("params", "line"),
    [
        ({"qualty": "high"}, "unknown qualty, did you mean quality"),
        ({"background": "auto", "Size": "1024x1024"}, "unknown Size, did you mean size"),
        ({"zzz": {"a": 1}}, "unknown zzz"),
        ({"qualty": None}, ""),
        ({"quality": "high", "n": 1, "user": "u", "stream": False}, ""),
        ({"a b,c\r\n": 1}, "unknown ?"),
    ],
)
async def test_a_parameter_that_no_table_knows_is_in_the_receipt(
    params: dict[str, Any], line: str
) -> None:
    async with gateway_to(more="sandbox: true\n") as (ours, theirs):
        got = await ours.draw(params={**CUBE, **params}, virtual_key="up")
        assert got.status == 200
        lines = got.headers["x-easel-receipt"].split(", measured")[0]
        assert (lines if line else "") == line
        assert theirs.sent == {**CUBE, **params}
        boxed = await ours.draw(params={**CUBE, "size": "16x16", **params}, provider="sandbox")
        receipt = boxed.headers.get("x-easel-receipt", "")
        assert line in receipt or "Size" in params


async def test_strict_refuses_it_and_many_cost_no_time() -> None:
    async with gateway_to() as (ours, theirs):
        strict = {"x_easel_unsupported": "strict", "virtual_key": "up"}
        got = await ours.draw(params={**CUBE, "qualty": "high"}, **strict)
        assert (got.status, got.error["param"]) == (400, "qualty")
        assert "'quality'" in got.error["message"]
        assert theirs.requests == []
        many = await ours.draw(params={**CUBE, **misspelled(900)}, virtual_key="up")
        assert many.headers["x-easel-receipt"].count("did you mean") == 10


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("x-easel-dry-rn", "x-easel-dry-run"),
        ("x-Easel-DryRun", "x-easel-dry-run"),
        ("x-easel-keep-alive", "x-easel-keepalive"),
        ("x_easel_dry_run", "did you mean x-easel-dry-run"),
        ("X-Easel_Unsupported", "did you mean x-easel-unsupported"),
        ("x-easle-dry-run", "did you mean x-easel-dry-run"),
        ("x-portkey-dry-run", "did you mean x-easel-dry-run"),
        ("Easel-Dry-Run", "did you mean x-easel-dry-run"),
        ("x-dryrun", "Known: x-easel-dry-run"),
        ("x-easel-receipt", "Known: "),
        ("x-easel-", "Known: "),
    ],
)
async def test_a_misspelled_header_never_buys(name: str, meant: str) -> None:
    async with gateway_to() as (ours, theirs):
        headers = {**OURS, "x-portkey-virtual-key": "up", name: "true"}
        async with ours.session.post(ours.url + PATH, json=CUBE, headers=headers) as got:
            error = (await got.json())["error"]
        assert (got.status, error["param"]) == (400, name.lower())
        assert meant in error["message"]
        assert theirs.requests == []


async def test_a_number_in_metadata_is_not_rounded() -> None:
    async with gateway_to() as (ours, theirs):
        for text in ('{"id": 123456789012345678901}', '{"a": {"b": [-9223372036854775809]}}'):
            got = await ours.draw(params=CUBE, virtual_key="up", metadata=text)
            assert (got.status, got.error["param"]) == (400, "x-portkey-metadata"), text
            assert got.error["code"] == "integer_too_large", text
        assert theirs.requests == []
        for text in ('{"id": 18446744073709551615}', '{"id": "123456789012345678901"}'):
            got = await ours.draw(params=CUBE, virtual_key="up", metadata=text)
            assert got.status == 200, text
