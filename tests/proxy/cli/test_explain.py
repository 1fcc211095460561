"""`easel explain`: the translation as text and as JSON."""

from __future__ import annotations

import orjson
import pytest
from click.testing import CliRunner

import adapters
from proxy.cli.main import main
from tests.support.transcripts import secrets_of, transcripts_of


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(main, ["explain", *arguments])
    return result.exit_code, result.output


def test_the_translation_is_printed() -> None:
    status, told = run("--provider", "stability-ai", "--size", "1792x1024", "--quality", "hd")
    assert status == 0
    assert "POST https://api.stability.ai/v2beta/stable-image/generate/core" in told
    assert '"aspect_ratio": "16:9"' in told
    assert "rounded size=1792x1024>aspect_ratio=16:9" in told
    assert "dropped quality=hd" in told


def test_what_is_asked_several_times_is_told_once() -> None:
    told = run("--provider", "luma", "--n", "3")[1]
    assert told.startswith("3 times:\nPOST ")
    assert told.count("POST ") == 1


def test_json_is_what_a_dry_run_answers() -> None:
    named = ("--provider", "bfl", "--model", "flux-2-pro", "--param", "seed=7", "--json")
    told = orjson.loads(run(*named)[1])
    assert told["requests"][0]["body"]["seed"] == 7
    assert told["provider"] == "black-forest-labs"


def test_a_needed_option_that_is_missing_has_a_stand_in() -> None:
    assert "accounts/***/ai/run" in run("--provider", "workers-ai")[1]
    given = run("--provider", "workers-ai", "--option", "workers_ai_account_id=acc0")
    assert "accounts/acc0/ai/run" in given[1]


def test_the_price_is_that_of_the_model_in_force() -> None:
    named = ("--provider", "tencent", "--model", "seedream-image-v5.0-pro")
    pair = ("--option", "tencent_secret_id=id", "--option", "tencent_secret_key=key")
    assert "Price: 0.09" in run(*named)[1]
    assert "Price: unknown" in run(*named, *pair)[1]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--provider", "stability"), "did you mean stability-ai"),
        (("--provider", "stability-ai", "--size", "huge"), "WIDTHxHEIGHT"),
        (("--provider", "stability-ai", "--param", "seed"), "NAME=VALUE"),
        (("--provider", "stability-ai", "--option", "x=y"), "not an option"),
        (("--provider", "luma", "--style", "vivid", "--unsupported", "strict"), "does not support"),
    ],
)
def test_what_is_wrong_is_said(arguments: tuple[str, ...], said: str) -> None:
    if arguments[1] in ("stability", *adapters.NAMES):
        status, told = run(*arguments)
        assert status != 0
        assert said in told


@pytest.mark.parametrize("provider", adapters.PROVIDERS)
def test_every_provider_can_be_explained(provider: str) -> None:
    transcripts = transcripts_of(provider)
    options = next(it for it in transcripts if it.kind == "success").credentials.options
    given = [part for name, value in options.items() for part in ("--option", f"{name}={value}")]
    status, told = run("--provider", provider, "--size", "1536x1024", "--n", "2", *given)
    assert status == 0, told
    assert "Changes to parameters:" in told


@pytest.mark.parametrize("provider", adapters.PROVIDERS)
def test_no_secret_option_is_printed(provider: str) -> None:
    for transcript in transcripts_of(provider):
        options = transcript.credentials.options
        given = [part for name, it in options.items() for part in ("--option", f"{name}={it}")]
        _, told = run("--provider", provider, *given)
        assert not [secret for secret in secrets_of(transcript) if secret in told]
