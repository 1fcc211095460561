"""Vertex AI: Gemini's image models, and Imagen, which has ended but for private endpoints.

    POST {base}/projects/{project}/locations/{region}/publishers/google/models/{model}:{verb}

The verb is `generateContent` for Gemini, `predict` for Imagen. Imagen's filter leaves out pictures,
or has `raiFilteredReason` in their place.

>>> params = {"model": "gemini-3-pro-image", "prompt": "a cube", "output_format": "jpeg"}
>>> made = ADAPTER.table_for(params["model"]).translate(params)
>>> credentials = Credentials("a-token", {"vertex_project_id": "my-project"})
>>> request = ADAPTER.build_request(ImageCall(params, made.fields, credentials))
>>> request.path
'/projects/my-project/locations/global/publishers/google/models/gemini-3-pro-image:generateContent'
>>> request.json["generationConfig"]["imageConfig"]
{'imageOutputOptions': {'mimeType': 'image/jpeg'}}
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from adapters.auth import google_service_account
from adapters.bases import gemini
from adapters.contract import (
    Adapter,
    Answer,
    Credentials,
    Image,
    ImageCall,
    Option,
    SignableRequest,
    TokenFlow,
)
from adapters.errors import no_image_error, refusal
from adapters.http import ProviderReply, ProviderRequest
from adapters.table.param import Param, nested_under
from adapters.table.table import Table
from adapters.tools import sizes
from adapters.tools.json_access import dig_list, dig_str
from adapters.tools.url_paths import quote_model

_MEDIA_TYPES = {"png": "image/png", "jpeg": "image/jpeg"}
_LABELS = Param("labels", kind=dict)


def _written(below: str) -> tuple[Param, Param]:
    """Say how the picture is written."""
    return (
        Param("output_format", f"{below}.mimeType", convert=_MEDIA_TYPES),
        Param("output_compression", f"{below}.compressionQuality"),
    )


_GEMINI = (
    *_written(f"{gemini.IMAGE}.imageOutputOptions"),
    Param(
        "personGeneration",
        f"{gemini.IMAGE}.personGeneration",
        choices=("ALLOW_ALL", "ALLOW_ADULT", "ALLOW_NONE"),
    ),
    Param("prominentPeople", f"{gemini.IMAGE}.prominentPeople"),
    _LABELS,
)

_RATIOS = ("1:1", "3:4", "4:3", "9:16", "16:9")
_RATIO = sizes.ratio(_RATIOS, field="parameters.aspectRatio")
_TIERS = {"1K": 1024, "2K": 2048}
_BLOCKS = ("block_low_and_above", "block_medium_and_above", "block_only_high", "block_none")


_OWN = (
    *_written("outputOptions"),
    Param("moderation", "safetySetting", convert={"low": "block_only_high"}),
    Param("aspectRatio", choices=_RATIOS),
    Param("negativePrompt", note="older models only"),
    Param("seed", kind=int, low=0, high=4_294_967_295, note="needs addWatermark: false"),
    Param("addWatermark", kind=bool),
    Param("enhancePrompt", kind=bool),
    Param("guidanceScale", kind=float),
    Param("personGeneration", choices=("dont_allow", "allow_adult", "allow_all")),
    Param("safetySetting", choices=_BLOCKS),
    Param("language", choices=("auto", "en", "ja", "ko", "hi", "zh", "pt", "es")),
)
"""What Imagen reads from `parameters`."""


def _imagen(size: sizes.Converter, *more: Param) -> Table:
    """Give the table of a generation of Imagen."""
    return Table(
        (
            Param("prompt", convert=lambda text: {"instances": [{"prompt": text}]}),
            # Four by default.
            Param("n", "parameters.sampleCount", high=4, default=1),
            Param("size", convert=size),
            *nested_under("parameters", *_OWN),
            _LABELS,
            *more,
        ),
        constant={"parameters.includeRaiReason": True},
        unknown_under="parameters",
    )


_IMAGEN = _imagen(_RATIO)
_IMAGEN_4 = _imagen(
    sizes.tiers(_RATIO, _TIERS, field="parameters.sampleImageSize"),
    *nested_under("parameters", Param("sampleImageSize", choices=tuple(_TIERS))),
)
_IMAGENS = (_IMAGEN, _IMAGEN_4)


class VertexAI(Adapter):
    """Google's own image models on Vertex AI, by a project and a region of it."""

    id = "vertex-ai"
    otel_provider_name = "gcp.vertex_ai"
    name = "Google Vertex AI"
    base_url = ""
    docs = "https://cloud.google.com/vertex-ai/generative-ai/docs/multimodal/image-generation"
    tables_by_model = (
        ("imagen-4.0-fast", _IMAGEN),
        ("imagen-4", _IMAGEN_4),
        (("imagen-", "imagegeneration@"), _IMAGEN),
        *gemini.build_tables(*_GEMINI),
    )
    models = gemini.MODELS
    options: ClassVar[tuple[Option, ...]] = (
        Option(
            "vertex_project_id",
            "the project; the service account's own by default",
            pattern=google_service_account.PROJECT,
        ),
        Option(
            "vertex_region",
            "the region; us and eu are multi-regions, global is the default",
            pattern=r"[a-z]{2,16}(?:-[a-z]{2,16}[0-9]{1,2})?",
        ),
        *google_service_account.OPTIONS,
    )
    status_by_code = gemini.CODES
    # Not whatever violates something: a request can violate a perimeter of the network.
    refusal_pattern = re.compile(
        r"responsible ai|\b(?:prompt|words?|images?|content)\b[^.]*\bviolat", re.IGNORECASE
    )
    confidence = "medium"
    unconfirmed = (
        f"{gemini.UNCONFIRMED}; which regions have which model; whether anybody still reaches "
        "Imagen, its longest prompt, the spelling of its words, and what seed needs on Imagen 4"
    )

    def resolve_base_url(self, credentials: Credentials) -> str:
        """Give the region's own address."""
        region = _region(credentials)
        if region == "global":
            return "https://aiplatform.googleapis.com/v1"
        if "-" not in region:
            return f"https://aiplatform.{region}.rep.googleapis.com/v1"
        return f"https://{region}-aiplatform.googleapis.com/v1"

    def effective_model(self, named: str, credentials: Credentials) -> str:
        """Take a name with its publisher before it, as Portkey writes it."""
        del credentials
        return _plain(named)

    def missing_credentials(self, credentials: Credentials) -> str:
        """Name the credential or the project that is missing."""
        key, token = (
            credentials[google_service_account.KEY],
            credentials[google_service_account.TOKEN],
        )
        if not (key or token or credentials.api_key):
            return f"an OAuth access token as its API key, or {google_service_account.KEY}"
        return "" if key or credentials["vertex_project_id"] else "vertex_project_id"

    def sign(self, outgoing: SignableRequest, credentials: Credentials) -> Mapping[str, str]:
        """Add the token: the service account's before the API key."""
        del outgoing
        token = credentials[google_service_account.TOKEN] or credentials.api_key
        return {"authorization": f"Bearer {token}"}

    def token_flow(self, credentials: Credentials, time: float) -> TokenFlow | None:
        """Buy a token for the service account, if there is one and no token yet."""
        if credentials[google_service_account.TOKEN] or not credentials[google_service_account.KEY]:
            return None
        return google_service_account.request_token(credentials, time)

    def build_request(self, call: ImageCall) -> ProviderRequest:
        """Name project, region and model in the path."""
        found, model = call.credentials, _plain(call.model)
        project = found["vertex_project_id"] or google_service_account.get_project(found)
        publisher = f"/projects/{project}/locations/{_region(found)}/publishers/google"
        path = f"{publisher}/models/{quote_model(model, safe='@', example=self.models[0])}"
        verb = "predict" if self.table_for(model) in _IMAGENS else "generateContent"
        return ProviderRequest(f"{path}:{verb}", json=call.fields)

    def parse_answer(self, call: ImageCall, reply: ProviderReply) -> Answer:
        """Read the pictures that Imagen's filter left, or Gemini's."""
        if self.table_for(_plain(call.model)) not in _IMAGENS:
            return gemini.parse_answer(reply)
        predictions = dig_list(reply.json(), "predictions")
        if images := tuple(_pictures(predictions)):
            return Answer(images)
        filtered = [said for it in predictions if (said := dig_str(it, "raiFilteredReason"))]
        if filtered:
            raise refusal(filtered[0], provider_status=reply.status)
        raise no_image_error(reply.status)


def _region(credentials: Credentials) -> str:
    return credentials["vertex_region"] or "global"


def _plain(model: str) -> str:
    return model.removeprefix("google.")


def _pictures(predictions: list[Any]) -> Iterator[Image]:
    """Give Imagen's pictures, each with the prompt that it was made of, if that is another."""
    for it in predictions:
        if b64 := dig_str(it, "bytesBase64Encoded"):
            prompt = dig_str(it, "prompt")
            extra = {"revised_prompt": prompt} if prompt else {}
            yield Image(b64=b64, media_type=dig_str(it, "mimeType"), extra=extra)


ADAPTER = VertexAI()
