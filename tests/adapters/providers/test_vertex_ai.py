"""Vertex AI: the place of a model, which credential is sent, and Imagen beside Gemini."""

from __future__ import annotations

import re
from typing import Any

import orjson
import pytest

from adapters.contract import Answer, Credentials, ImageCall, SignableRequest
from adapters.errors import BadParam, ProviderError, Refusal
from adapters.http import ProviderReply
from adapters.providers.vertex_ai import ADAPTER

PATTERNS = {option.name: option.pattern for option in ADAPTER.options}
OUTGOING = SignableRequest("POST", "https://aiplatform.googleapis.com/v1", {}, b"", 0)
FILE = orjson.dumps({"project_id": "account-project"}).decode()
IMAGEN = "imagen-4.0-generate-001"


def credentials_with(api_key: str = "", **options: str) -> Credentials:
    return Credentials(api_key, {f"vertex_{name}": value for name, value in options.items()})


def path(model: str, credentials: Credentials) -> str:
    return ADAPTER.build_request(ImageCall({"model": model}, {}, credentials)).path


def translate(model: str, **params: Any) -> dict[str, Any]:
    fields = ADAPTER.table_for(model).translate(params).fields
    return dict(fields.get("parameters", fields))


def parse_answer(*predictions: Any) -> Answer:
    reply = ProviderReply(body=orjson.dumps({"predictions": predictions}))
    return ADAPTER.parse_answer(ImageCall({"model": IMAGEN}, {}), reply)


# Places


@pytest.mark.parametrize(
    ("region", "host"),
    [
        ("", "aiplatform.googleapis.com"),
        ("global", "aiplatform.googleapis.com"),
        ("us", "aiplatform.us.rep.googleapis.com"),
        ("eu", "aiplatform.eu.rep.googleapis.com"),
        ("us-central1", "us-central1-aiplatform.googleapis.com"),
        ("northamerica-northeast1", "northamerica-northeast1-aiplatform.googleapis.com"),
    ],
)
def test_a_region_has_its_host(region: str, host: str) -> None:
    assert ADAPTER.resolve_base_url(credentials_with(region=region)) == f"https://{host}/v1"
    assert not region or re.fullmatch(PATTERNS["vertex_region"], region)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("vertex_region", "evil.test/"),
        ("vertex_region", "evil.test#"),
        ("vertex_region", "us-central1.evil"),
        ("vertex_region", "a@b"),
        ("vertex_region", "-us"),
        ("vertex_project_id", "a/../b"),
        ("vertex_project_id", ".."),
        ("vertex_project_id", "a?b"),
        ("vertex_project_id", "a%2fb"),
        ("vertex_access_token", "a\r\nx: y"),
    ],
)
def test_a_value_that_would_leave_its_place_is_not_of_the_form(option: str, value: str) -> None:
    assert not re.fullmatch(PATTERNS[option], value)


def test_the_project_named_comes_before_the_accounts_own() -> None:
    own = credentials_with(service_account_json=FILE)
    assert path("gemini-new", own).startswith("/projects/account-project/locations/global/")
    named = credentials_with(service_account_json=FILE, project_id="my-project")
    assert path("gemini-new", named).startswith("/projects/my-project/")


@pytest.mark.parametrize(
    ("model", "end"),
    [
        ("gemini-new", "/publishers/google/models/gemini-new:generateContent"),
        ("google.gemini-new", "/publishers/google/models/gemini-new:generateContent"),
        (IMAGEN, f"/{IMAGEN}:predict"),
        (f"google.{IMAGEN}", f"/{IMAGEN}:predict"),
        ("imagegeneration@006", "/imagegeneration@006:predict"),
    ],
)
def test_the_model_is_named_with_what_it_is_to_do(model: str, end: str) -> None:
    assert path(model, credentials_with("t", project_id="p")).endswith(end)


@pytest.mark.parametrize("model", ["", "google.", "../x", "a?b", "google.a/../b"])
def test_a_name_that_could_leave_its_place_is_refused(model: str) -> None:
    with pytest.raises(BadParam):
        path(model, credentials_with("t", project_id="p"))


def test_a_name_with_its_publisher_has_the_table_of_the_plain_one() -> None:
    assert ADAPTER.effective_model(f"google.{IMAGEN}", credentials_with()) == IMAGEN


# Credentials


@pytest.mark.parametrize(
    ("credentials", "lacking"),
    [
        (credentials_with(), "access token"),
        (credentials_with(project_id="p"), "vertex_service_account_json"),
        (credentials_with("t"), "vertex_project_id"),
        (credentials_with(access_token="t"), "vertex_project_id"),
        (credentials_with("t", project_id="p"), ""),
        (credentials_with(service_account_json=FILE), ""),
    ],
)
def test_what_is_lacking_is_named(credentials: Credentials, lacking: str) -> None:
    assert lacking in ADAPTER.missing_credentials(credentials)
    assert bool(ADAPTER.missing_credentials(credentials)) is bool(lacking)


def test_a_token_is_bought_only_for_an_account_that_has_none() -> None:
    assert ADAPTER.token_flow(credentials_with("t", project_id="p"), 0) is None
    assert (
        ADAPTER.token_flow(credentials_with(service_account_json=FILE, access_token="t"), 0) is None
    )
    assert ADAPTER.token_flow(credentials_with("t", service_account_json=FILE), 0) is not None


def test_the_accounts_token_comes_before_the_key() -> None:
    assert ADAPTER.sign(OUTGOING, credentials_with("k")) == {"authorization": "Bearer k"}
    assert ADAPTER.sign(OUTGOING, credentials_with("k", access_token="t")) == {
        "authorization": "Bearer t"
    }


# Imagen


@pytest.mark.parametrize(
    ("model", "tier"),
    [
        ("imagen-4.0-ultra-generate-001", {"sampleImageSize": "2K"}),
        ("imagen-4.0-fast-generate-001", {}),
        ("imagen-3.0-generate-002", {}),
    ],
)
def test_only_the_newest_imagen_has_tiers(model: str, tier: dict[str, str]) -> None:
    sent = translate(model, size="2048x1152")
    assert sent == {"aspectRatio": "16:9", "sampleCount": 1, "includeRaiReason": True, **tier}


def test_imagen_is_told_how_many_or_it_would_make_four() -> None:
    assert translate(IMAGEN, prompt="a")["sampleCount"] == 1
    assert (
        ADAPTER.table_for(IMAGEN).translate({"n": 4}, n=4).fields["parameters"]["sampleCount"] == 4
    )
    assert ADAPTER.table_for(IMAGEN).images_per_call == 4


def test_gemini_makes_one_image_a_call() -> None:
    assert ADAPTER.table_for("gemini-new").images_per_call == 1


def test_a_storage_of_the_clients_is_never_written_to() -> None:
    assert "storageUri" not in translate(IMAGEN, storageUri="gs://bucket/")


def test_what_the_filter_left_is_the_answer() -> None:
    images = parse_answer({"raiFilteredReason": "no"}, {"bytesBase64Encoded": "aGk="}).images
    assert [image.b64 for image in images] == ["aGk="]


@pytest.mark.parametrize(
    ("said", "is_refusal"),
    [
        ("Words that violate Google's Responsible AI practices.", True),
        ("The prompt violates our usage guidelines.", True),
        ("Request violates VPC Service Controls.", False),
        ("Invalid prompt. The project violates its quota.", False),
    ],
)
def test_a_refused_prompt_is_known_by_its_words(said: str, *, is_refusal: bool) -> None:
    body = orjson.dumps({"error": {"message": said, "status": "INVALID_ARGUMENT"}})
    assert isinstance(ADAPTER.provider_error(ProviderReply(400, body=body)), Refusal) is is_refusal


def test_a_filter_that_left_nothing_is_a_refusal_and_silence_is_a_fault() -> None:
    with pytest.raises(Refusal, match="58061214"):
        parse_answer({}, {"raiFilteredReason": "codes: 58061214"})
    with pytest.raises(ProviderError, match="without an image"):
        parse_answer()
