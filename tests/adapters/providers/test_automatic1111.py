"""AUTOMATIC1111: settings that last, Basic authentication, and what a 404 means."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from adapters.contract import Credentials, ImageCall, SignableRequest
from adapters.errors import ProviderError
from adapters.http import ProviderReply
from adapters.providers.automatic1111 import ADAPTER
from adapters.table.table import UnsupportedPolicy

OUTGOING = SignableRequest("POST", "", {}, b"", 0)


def build_body(
    policy: UnsupportedPolicy = UnsupportedPolicy.ADAPT, **params: Any
) -> dict[str, Any]:
    fields = ADAPTER.table_for("").translate(params, policy).fields
    body: dict[str, Any] = ADAPTER.build_request(ImageCall(params, fields)).json
    return body


def parse_error(status: int, **tree: Any) -> ProviderError:
    return ADAPTER.provider_error(ProviderReply(status, body=orjson.dumps(tree)))


def test_the_model_that_is_loaded_stays_unless_another_is_named() -> None:
    assert "sd_model_checkpoint" not in build_body()["override_settings"]
    assert "sd_model_checkpoint" not in build_body(model="default")["override_settings"]
    assert build_body(model="sdxl")["override_settings"]["sd_model_checkpoint"] == "sdxl"


def test_settings_are_not_put_back_before_the_images_are_written() -> None:
    assert build_body(prompt="a")["override_settings_restore_afterwards"] is False


@pytest.mark.parametrize("name", ["script_name", "script_args", "alwayson_scripts", "save_images"])
def test_no_script_of_a_clients_is_run_under_any_policy(name: str) -> None:
    assert name not in build_body(UnsupportedPolicy.PASS, **{name: "x"})


def test_no_setting_of_the_server_is_a_clients() -> None:
    settings = {"outdir_samples": "/etc", "sd_model_checkpoint": "x"}
    made = build_body(UnsupportedPolicy.PASS, override_settings=settings, cfg_rescale=0.5)
    assert made["override_settings"] == {"samples_format": "png", "jpeg_quality": 100}
    assert made["cfg_rescale"] == 0.5


def test_steps_are_the_clients_or_follow_the_quality() -> None:
    assert build_body(steps=12)["steps"] == 12
    assert build_body(steps=12, quality="auto")["steps"] == 12
    assert build_body(quality="low")["steps"] == 15
    assert build_body(quality="xhigh")["steps"] == build_body(quality="max")["steps"] == 40
    assert build_body()["steps"] == 25


def test_a_size_said_in_two_numbers_is_kept() -> None:
    made = build_body(width=768, height=512)
    assert (made["width"], made["height"]) == (768, 512)


def test_user_and_password_are_sent_unasked_and_a_key_else() -> None:
    options = {"automatic1111_user": "Aladdin", "automatic1111_password": "open sesame"}
    basic = ADAPTER.sign(OUTGOING, Credentials("k", options))
    assert basic == {"authorization": "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="}
    assert ADAPTER.sign(OUTGOING, Credentials("k")) == {"authorization": "Bearer k"}
    assert ADAPTER.sign(OUTGOING, Credentials()) == {}


@pytest.mark.parametrize("info", ["", "{", "[]", '{"all_seeds": 7}', '{"all_seeds": ["7"]}'])
def test_seeds_that_cannot_be_read_are_left_out(info: str) -> None:
    body = orjson.dumps({"images": ["aGk="], "info": info})
    (image,) = ADAPTER.parse_answer(ImageCall({}, {}), ProviderReply(body=body)).images
    assert image.extra == {}


def test_a_404_is_a_name_that_the_server_has_not_or_no_api_at_all() -> None:
    missing = parse_error(404, error="HTTPException", detail="Checkpoint not found", errors="")
    assert (missing.status, missing.code) == (400, None)
    assert missing.message.endswith("Checkpoint not found")
    assert parse_error(404, detail="Not Found").status == 502


def test_the_words_of_an_error_come_before_its_kind() -> None:
    error = parse_error(500, error="OutOfMemoryError", detail="", errors="CUDA out of memory")
    assert error.message.endswith("CUDA out of memory")
