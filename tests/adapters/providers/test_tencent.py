"""Tencent: two credentials and where they lead, jobs whose states are strings, errors in a 200."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from adapters.contract import Answer, Credentials, ImageCall, SignableRequest
from adapters.errors import BadParam, ProviderError, Refusal
from adapters.http import ProviderReply
from adapters.providers.tencent import ADAPTER

PAIR = Credentials("", {"tencent_secret_id": "id", "tencent_secret_key": "key"})
KEY = Credentials("a-key")


def translate(model: str, **params: Any) -> dict[str, Any]:
    return ADAPTER.table_for(model).translate(params).fields


def make_reply(**response: Any) -> ProviderReply:
    return ProviderReply(200, {}, orjson.dumps({"Response": response}))


def parse_answer(**response: Any) -> Answer:
    return ADAPTER.parse_answer(ImageCall({}, {}), make_reply(**response))


@pytest.mark.parametrize(
    ("options", "key", "lacking"),
    [
        ({}, "", "an API key, or tencent_secret_id and tencent_secret_key"),
        ({"tencent_secret_id": "id"}, "", "tencent_secret_key"),
        (PAIR.options, "", ""),
        ({}, "a-key", ""),
    ],
)
def test_a_pair_or_a_key_is_needed(options: dict[str, str], key: str, lacking: str) -> None:
    assert ADAPTER.missing_credentials(Credentials(key, options)) == lacking


@pytest.mark.parametrize(
    ("credentials", "named", "held"),
    [
        (PAIR, "", "hunyuan-image"),
        (PAIR, "hunyuan-image-lite", "hunyuan-image-lite"),
        (PAIR, "seedream-image-v5.0-pro", "hunyuan-image"),
        (KEY, "hunyuan-image", ""),
        (KEY, "seedream-image-v5.0-pro", "seedream-image-v5.0-pro"),
    ],
)
def test_the_credential_decides_whose_table_holds(
    credentials: Credentials, named: str, held: str
) -> None:
    assert ADAPTER.effective_model(named, credentials) == held


def test_a_pair_comes_before_a_key() -> None:
    both = Credentials("a-key", PAIR.options)
    outgoing = SignableRequest(
        "POST", ADAPTER.resolve_base_url(both) + "/", {"content-type": "a/b"}, b"{}", 0
    )
    signed = ADAPTER.sign(outgoing, both)
    assert outgoing.url == "https://hunyuan.tencentcloudapi.com/"
    assert signed["authorization"].startswith("TC3-HMAC-SHA256 Credential=id/1970-01-01/hunyuan/")


def test_a_key_without_a_model_asks_for_one() -> None:
    with pytest.raises(BadParam):
        ADAPTER.build_request(ImageCall({}, {}, KEY))


@pytest.mark.parametrize(
    ("size", "sent"),
    [
        ("1024x1024", "1024:1024"),
        ("512x512", "768:768"),
        ("1536x1024", "1280:768"),
        ("1024x1792", "720:1280"),
    ],
)
def test_a_size_has_a_colon(size: str, sent: str) -> None:
    assert translate("hunyuan-image", size=size)["Resolution"] == sent


def test_no_mark_is_drawn_unless_the_client_wants_one() -> None:
    assert translate("hunyuan-image")["LogoAdd"] == translate("hunyuan-image-lite")["LogoAdd"] == 0
    assert translate("hunyuan-image", LogoAdd=1)["LogoAdd"] == 1


def test_the_style_of_openai_is_not_tencents() -> None:
    assert "Style" not in translate("hunyuan-image", style="vivid")
    assert translate("hunyuan-image", Style="101")["Style"] == "101"


def test_only_tokenhub_is_told_of_the_end_user() -> None:
    assert translate("", user="user-7") == {"user": "user-7"}
    assert "user" not in translate("hunyuan-image", user="user-7")


def test_the_recommended_model_is_at_the_address_of_a_key() -> None:
    first = ADAPTER.models[0]
    assert ADAPTER.effective_model(first, KEY) == first


def test_what_came_of_a_job_is_kept() -> None:
    answer = parse_answer(
        JobStatusCode="5", ResultImage=["", "https://p.test/1"], RevisedPrompt=["x", "y"]
    )
    shown = [(image.url, image.extra) for image in answer.images]
    assert shown == [("https://p.test/1", {"revised_prompt": "y"})]


@pytest.mark.parametrize("code", ["RequestLimitExceeded", "RequestLimitExceeded.JobNumExceed"])
def test_a_job_goes_on_while_the_question_comes_too_early(code: str) -> None:
    assert not ADAPTER.is_finished(make_reply(Error={"Code": code}))
    assert ADAPTER.is_finished(make_reply(Error={"Code": "InternalError"}))


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("AuthFailure.SecretIdNotFound", 401),
        ("AuthFailure.UnauthorizedOperation", 403),
        ("InvalidParameter.InvalidParameter", 400),
        ("ResourceUnavailable.InArrears", 429),
        ("ResourceInsufficient.ChargeResourceExhaust", 429),
        ("FailedOperation.EngineRequestTimeout", 504),
        ("InternalError", 502),
    ],
)
def test_a_code_is_known_by_how_it_begins(code: str, status: int) -> None:
    with pytest.raises(ProviderError) as caught:
        parse_answer(Error={"Code": code, "Message": "no"})
    assert caught.value.status == status


@pytest.mark.parametrize(
    "code", ["OperationDenied.ImageIllegalDetected", "FailedOperation.GenerateImageFailed"]
)
def test_a_job_can_end_in_a_refusal(code: str) -> None:
    with pytest.raises(Refusal, match="illegal"):
        parse_answer(JobStatusCode="4", JobErrorCode=code, JobErrorMsg="illegal")
