"""Vertex AI: Gemini's image models, and Imagen, which is retired except for private endpoints.

    POST {base}/projects/{project}/locations/{region}/publishers/google/models/{model}:{verb}

The verb is `generateContent` for Gemini, `predict` for Imagen. Imagen's filter omits images or
replaces them by `raiFilteredReason`.

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


def _output(parent: str) -> tuple[Param, Param]:
    """Return the rows for format and compression."""
    return (
        Param("output_format", f"{parent}.mimeType", convert=_MEDIA_TYPES),
        Param("output_compression", f"{parent}.compressionQuality"),
    )


_GEMINI = (
    *_output(f"{gemini.IMAGE}.imageOutputOptions"),
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
    *_output("outputOptions"),
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
"""Imagen's own parameters."""


def _imagen(size: sizes.Converter, *more: Param) -> Table:
    """Return the table of an Imagen generation."""
    return Table(
        (
            Param("prompt", convert=lambda text: {"instances": [{"prompt": text}]}),
            # Imagen's own default is four.
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
_IMAGEN_TABLES = (_IMAGEN, _IMAGEN_4)


class VertexAI(Adapter):
    """Google's image models on Vertex AI, in a project and a region."""

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
            "the project; by default that of the service account",
            pattern=google_service_account.PROJECT,
        ),
        Option(
            "vertex_region",
            "the region, global by default; us and eu are multi-regions",
            pattern=r"[a-z]{2,16}(?:-[a-z]{2,16}[0-9]{1,2})?",
        ),
        *google_service_account.OPTIONS,
    )
    status_by_code = gemini.CODES
    # Not every violation: a request can also violate a network perimeter.
    refusal_pattern = re.compile(
        r"responsible ai|\b(?:prompt|words?|images?|content)\b[^.]*\bviolat", re.IGNORECASE
    )
    confidence = "medium"
    unconfirmed = (
        f"{gemini.UNCONFIRMED}; the models of each region; whether Imagen is still available, its "
        "maximum prompt length, the spelling of its values, and what seed requires on Imagen 4"
    )

    def resolve_base_url(self, credentials: Credentials) -> str:
        """Return the region's URL."""
        region = _region(credentials)
        if region == "global":
            return "https://aiplatform.googleapis.com/v1"
        if "-" not in region:
            return f"https://aiplatform.{region}.rep.googleapis.com/v1"
        return f"https://{region}-aiplatform.googleapis.com/v1"

    def effective_model(self, model: str, credentials: Credentials) -> str:
        """Return the model without a publisher prefix, which Portkey's names have."""
        del credentials
        return _plain(model)

    def missing_credentials(self, credentials: Credentials) -> str:
        """Return the missing credential or project."""
        key, token = (
            credentials[google_service_account.KEY],
            credentials[google_service_account.TOKEN],
        )
        if not (key or token or credentials.api_key):
            return f"an OAuth access token as its API key, or {google_service_account.KEY}"
        return "" if key or credentials["vertex_project_id"] else "vertex_project_id"

    def sign(self, request: SignableRequest, credentials: Credentials) -> Mapping[str, str]:
        """Return the token as a bearer token: the service account's, else the API key."""
        del request
        token = credentials[google_service_account.TOKEN] or credentials.api_key
        return {"authorization": f"Bearer {token}"}

    def token_flow(self, credentials: Credentials, time: float) -> TokenFlow | None:
        """Return the flow for the service account's token, if there is no token yet."""
        if credentials[google_service_account.TOKEN] or not credentials[google_service_account.KEY]:
            return None
        return google_service_account.request_token(credentials, time)

    def build_request(self, call: ImageCall) -> ProviderRequest:
        """Return the request, with project, region and model in the path."""
        found, model = call.credentials, _plain(call.model)
        project = found["vertex_project_id"] or google_service_account.get_project(found)
        publisher = f"/projects/{project}/locations/{_region(found)}/publishers/google"
        path = f"{publisher}/models/{quote_model(model, safe='@', example=self.models[0])}"
        verb = "predict" if self.table_for(model) in _IMAGEN_TABLES else "generateContent"
        return ProviderRequest(f"{path}:{verb}", json=call.fields)

    def parse_answer(self, call: ImageCall, reply: ProviderReply) -> Answer:
        """Parse Gemini's images, or those that Imagen's filter did not remove."""
        if self.table_for(_plain(call.model)) not in _IMAGEN_TABLES:
            return gemini.parse_answer(reply)
        predictions = dig_list(reply.json(), "predictions")
        if images := tuple(_images(predictions)):
            return Answer(images)
        filtered = [message for it in predictions if (message := dig_str(it, "raiFilteredReason"))]
        if filtered:
            raise refusal(filtered[0], provider_status=reply.status)
        raise no_image_error(reply.status)


def _region(credentials: Credentials) -> str:
    return credentials["vertex_region"] or "global"


def _plain(model: str) -> str:
    return model.removeprefix("google.")


def _images(predictions: list[Any]) -> Iterator[Image]:
    """Yield Imagen's images, each with its prompt if that was revised."""
    for it in predictions:
        if b64 := dig_str(it, "bytesBase64Encoded"):
            prompt = dig_str(it, "prompt")
            extra = {"revised_prompt": prompt} if prompt else {}
            yield Image(b64=b64, media_type=dig_str(it, "mimeType"), extra=extra)


ADAPTER = VertexAI()
