"""Amazon Bedrock: one path, and a different body for each model family.

    POST {base}/model/{id, inference profile or ARN}/invoke      JSON, SigV4 or a bearer key

A refusal is an HTTP 200 (`error`, `finish_reasons`, `status`, `finishReason`) or a 400 recognised
by its message. The header `x-amzn-ErrorType` has the type of an error.

>>> from adapters.contract import ImageCall
>>> params = {"model": "us.stability.sd3-5-large-v1:0", "prompt": "a cube", "size": "1536x1024"}
>>> made = ADAPTER.table_for(params["model"]).translate(params)
>>> request = ADAPTER.build_request(ImageCall(params, made.fields))
>>> request.path, request.json["aspect_ratio"]
('/model/us.stability.sd3-5-large-v1%3A0/invoke', '3:2')
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from adapters.auth import aws
from adapters.bases import stability_style
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
from adapters.errors import BadParam, ProviderError, error_from_reply, no_image_error, refusal
from adapters.http import ProviderReply, ProviderRequest
from adapters.table.param import Param, nested_under
from adapters.table.table import Table
from adapters.tools import sizes
from adapters.tools.json_access import dig, dig_list, dig_str, dig_typed, without_none
from adapters.tools.url_paths import quote_model

_STYLES = (
    "3D_ANIMATED_FAMILY_FILM DESIGN_SKETCH FLAT_VECTOR_ILLUSTRATION GRAPHIC_NOVEL_ILLUSTRATION "
    "MAXIMALISM MIDCENTURY_RETRO PHOTOREALISM SOFT_DIGITAL_PAINTING"
)
_TITAN_SIZES = (
    "1024x1024 768x768 512x512 768x1152 384x576 1152x768 576x384 768x1280 384x640 1280x768 640x384 "
    "896x1152 448x576 1152x896 576x448 768x1408 384x704 1408x768 704x384 640x1408 320x704 1408x640 "
    "704x320 1152x640 1173x640"
)
_SDXL_SIZES = "1024x1024 1152x896 1216x832 1344x768 1536x640 640x1536 768x1344 832x1216 896x1152"
_RATIOS = ("16:9", "1:1", "21:9", "2:3", "3:2", "4:5", "5:4", "9:16", "9:21")
_QUALITY = dict.fromkeys(("standard", "low", "medium"), "standard")
_QUALITY |= dict.fromkeys(("hd", "high", "xhigh", "max"), "premium")
_TEXT, _CONFIG = "textToImageParams", "imageGenerationConfig"
_SEEDS = 858_993_460
_SIDES: dict[str, Any] = {"width": f"{_CONFIG}.width", "height": f"{_CONFIG}.height"}

# Less than 4,194,304 pixels, so that both sides can be rounded to a multiple of 16.
_NOVA_SIZE = sizes.pixels(low=320, high=4096, step=16, max_pixels=4_128_768, max_ratio=4, **_SIDES)

_AMAZON = (
    *nested_under(
        _TEXT,
        Param("conditionImage", note="base64"),
        Param("controlMode", choices=("CANNY_EDGE", "SEGMENTATION")),
        Param("controlStrength", kind=float, low=0, high=1),
    ),
    *nested_under(
        _CONFIG,
        Param("quality", convert=_QUALITY),
        Param("n", "numberOfImages", high=5),
        Param("cfgScale", kind=float, low=1.1, high=10),
    ),
)
_NOVA = Table(
    (
        Param("prompt", f"{_TEXT}.text", high=1024),
        Param("negativeText", f"{_TEXT}.negativeText", low=1, high=1024),
        Param("size", convert=_NOVA_SIZE),
        Param("seed", f"{_CONFIG}.seed", kind=int, low=0, high=_SEEDS - 1),
        Param("style_preset", f"{_TEXT}.style", choices=tuple(_STYLES.split())),
        *_AMAZON,
    ),
    constant={"taskType": "TEXT_IMAGE"},
)
_TITAN = Table(
    (
        Param("prompt", f"{_TEXT}.text", high=512),
        Param("negativeText", f"{_TEXT}.negativeText", low=3, high=512),
        Param("size", convert=sizes.nearest_sides(_TITAN_SIZES.split(), **_SIDES)),
        Param("seed", f"{_CONFIG}.seed", kind=int, low=0, high=2_147_483_646),
        *_AMAZON,
    ),
    constant=_NOVA.constant,
)
_SEED = Param("seed", kind=int, low=0, high=4_294_967_295)
_STABLE_IMAGE = Table(
    (
        Param("prompt", high=10_000),
        Param("negative_prompt", high=10_000),
        Param("size", convert=sizes.ratio(_RATIOS)),
        Param("aspect_ratio", choices=_RATIOS),
        Param("output_format", choices=("png", "jpeg")),
        _SEED,
    )
)
_SD3 = Table(_STABLE_IMAGE.rows, constant={"mode": "text-to-image"})
_SDXL = Table(
    (
        Param(
            "prompt",
            high=2000,
            convert=lambda text: {"text_prompts": [{"text": text, "weight": 1}]},
        ),
        Param("size", convert=sizes.nearest_sides(_SDXL_SIZES.split())),
        Param("cfg_scale", kind=float, low=0, high=35),
        Param("steps", kind=int, low=10, high=150),
        Param("style_preset"),
        _SEED,
    )
)

# The first matching prefix decides the family. An unknown model gets the body of its vendor's
# newest models.
_FAMILIES = (
    ("stability.stable-diffusion-xl", _SDXL),
    ("stability.stable-image", _STABLE_IMAGE),
    ("stability.", _SD3),
    ("amazon.titan-image", _TITAN),
    ("amazon.", _NOVA),
)
_ID = re.compile(r"(?:[a-z][a-z-]{1,9}\.)?((?:amazon|stability)\..+)")

_SERVER_FAULTS = ("inference error",)
# Error types (header `x-amzn-ErrorType`) whose HTTP status is less specific.
_STATUS_BY_TYPE = {
    **dict.fromkeys(("InvalidSignatureException", "UnrecognizedClientException"), 401),
    "ExpiredTokenException": 401,
    "ModelNotReadyException": 503,
    "ServiceQuotaExceededException": 429,
}


class Bedrock(Adapter):
    """Image models on Amazon Bedrock: Stability AI's and Amazon's own."""

    id = "bedrock"
    otel_provider_name = "aws.bedrock"
    name = "Amazon Bedrock"
    base_url = ""
    docs = "https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_InvokeModel.html"
    models = (
        "stability.sd3-5-large-v1:0",
        "stability.stable-image-core-v1:1",
        "stability.stable-image-ultra-v1:1",
    )
    options: ClassVar[tuple[Option, ...]] = (
        Option(
            "aws_auth_type",
            "apiKey or assumedRole; by default an access key if one is set, else the API key",
            pattern=r"[A-Za-z]{1,32}",
        ),
        *aws.OPTIONS,
        Option(
            "aws_bedrock_model",
            "the model, profile or ARN to invoke instead of the client's model",
            pattern=r"[A-Za-z0-9][A-Za-z0-9._:/+-]{0,511}",
        ),
    )
    refusal_pattern = re.compile("content filter|responsible ai", re.IGNORECASE)
    confidence = "medium"
    unconfirmed = (
        "the reply of a retired model (Nova Canvas, Titan Image); webp from Stability's models; "
        "sizes and defaults of Titan; the area and the ratios of Nova Canvas"
    )

    def resolve_base_url(self, credentials: Credentials) -> str:
        """Return the region's URL."""
        return f"https://bedrock-runtime.{aws.get_region(credentials)}.amazonaws.com"

    def table_for(self, model: str) -> Table:
        """Return the family's table; Stability's if the name shows no family."""
        return _family(model) or _STABLE_IMAGE

    def effective_model(self, model: str, credentials: Credentials) -> str:
        """Return the operator's model, unless it is an ARN that does not show its family."""
        chosen = credentials["aws_bedrock_model"]
        return chosen if _family(chosen) else model

    def missing_credentials(self, credentials: Credentials) -> str:
        """Return the missing credentials of the selected auth type."""
        auth_type = credentials["aws_auth_type"]
        if _uses_api_key(credentials):
            alternative = "" if auth_type else f", or {' and '.join(aws.ACCESS_KEY)}"
            return "" if credentials.api_key else f"an API key{alternative}"
        is_role = auth_type == "assumedRole"
        required = (*aws.ACCESS_KEY, "aws_role_arn") if is_role else aws.ACCESS_KEY
        return " and ".join(name for name in required if not credentials[name])

    def sign(self, request: SignableRequest, credentials: Credentials) -> Mapping[str, str]:
        """Return the headers of a signature with the access key, or the API key as bearer token."""
        if _uses_api_key(credentials):
            return super().sign(request, credentials)
        return aws.sign(request, credentials, "bedrock")

    def token_flow(self, credentials: Credentials, time: float) -> TokenFlow | None:
        """Return the flow that assumes a role, if the auth type is assumedRole."""
        if credentials["aws_auth_type"] != "assumedRole":
            return None
        return aws.assume_role(credentials, time)

    def build_request(self, call: ImageCall) -> ProviderRequest:
        """Return the request for the operator's model, else the client's."""
        invoked = call.credentials["aws_bedrock_model"] or call.model
        path = quote_model(invoked, example=self.models[0])
        if not _family(self.effective_model(call.model, call.credentials)):
            raise BadParam(
                "model",
                "'model' belongs to no known family of image models on Bedrock. Known model ids "
                "begin with stability. or amazon. If a name does not show its family, such as the "
                "ARN of an application inference profile, set it as aws_bedrock_model, and send "
                "the model's id as 'model'.",
                code="model_not_found",
            )
        headers = {"accept": "application/json"}
        return ProviderRequest(f"/model/{path}/invoke", json=_seeded(call), headers=headers)

    def parse_answer(self, call: ImageCall, reply: ProviderReply) -> Answer:
        """Parse the images that were not filtered. Raises `ProviderError` if there are none."""
        del call
        tree = reply.json()
        if artifacts := dig_list(tree, "artifacts"):
            return stability_style.answer_from(
                map(stability_style.image_from_json, artifacts), reply
            )
        if images := tuple(_unfiltered_images(tree)):
            return Answer(images)
        reason = _failure_reason(tree)
        if reason.lower() in _SERVER_FAULTS:
            raise error_from_reply(reply, message=reason, status=502)
        if reason:
            raise refusal(reason, provider_status=reply.status)
        raise no_image_error(reply.status)

    def error_message(self, reply: ProviderReply) -> str:
        """Return the message, which is in `Message` or `message`."""
        return dig_str(reply.json(), "Message") or super().error_message(reply)

    def provider_error(self, reply: ProviderReply) -> ProviderError:
        """Return the error for `x-amzn-ErrorType`, without its namespace and URL."""
        error_type = reply.headers.get("x-amzn-errortype", "").partition(":")[0].rpartition("#")[2]
        if status := _STATUS_BY_TYPE.get(error_type):
            return error_from_reply(reply, message=self.error_message(reply), status=status)
        return super().provider_error(reply)


def _family(model: str) -> Table | None:
    """Return the family of a model id, an inference profile id, or an ARN that ends in one.

    >>> _family("us.stability.sd3-5-large-v1:0") is _family("stability.sd4-v1:0") is _SD3
    True
    """
    if not (found := _ID.fullmatch(model.rpartition("/")[2])):
        return None
    return next(table for start, table in _FAMILIES if found[1].startswith(start))


def _seeded(call: ImageCall) -> Mapping[str, Any]:
    """Return the fields with a random seed for Amazon's models, whose own seed is constant."""
    if "taskType" not in call.fields:
        return call.fields
    config = {"seed": call.nonce % _SEEDS, **(dig_typed(call.fields, _CONFIG, kind=dict) or {})}
    return {**call.fields, _CONFIG: config}


def _uses_api_key(credentials: Credentials) -> bool:
    """Whether the API key is the credential; by default an access key takes precedence."""
    auth_type = credentials["aws_auth_type"]
    return auth_type == "apiKey" or (
        auth_type != "assumedRole" and not credentials["aws_access_key_id"]
    )


def _unfiltered_images(tree: Any) -> Iterator[Image]:
    """Yield the images without a finish reason."""
    for which, b64 in enumerate(dig_list(tree, "images")):
        if b64 and isinstance(b64, str) and dig(tree, "finish_reasons", which) is None:
            seed = dig_typed(tree, "seeds", which, kind=int)
            yield Image(b64=b64, extra=without_none(seed=seed))


def _failure_reason(tree: Any) -> str:
    """Return the reason of a failure in a 200, "" if there is none."""
    status = dig_str(tree, "status")
    reasons = [
        dig_str(tree, "error"),
        *dig_list(tree, "finish_reasons"),
        *dig_list(tree, "details", "Moderation Reasons"),
        status if "moderated" in status.lower() else "",
    ]
    return next((reason for reason in reasons if reason and isinstance(reason, str)), "")


ADAPTER = Bedrock()
