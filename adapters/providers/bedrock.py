"""Amazon Bedrock: one path, and a body for each vendor's family of models.

    POST {base}/model/{id, inference profile or ARN}/invoke      JSON, SigV4 or a bearer key

A refusal can be an HTTP 200 (`error`, `finish_reasons`, `status`, `finishReason`) or a 400 that is
known by its words. What kind an error is stands in the header `x-amzn-ErrorType`.

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

# Fewer than 4,194,304 pixels, with room to round both sides to a multiple of 16.
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

# The longest prefix that fits says which family an id belongs to; a model nobody has heard of
# gets the body that its vendor's newest models take.
_FAMILIES = (
    ("stability.stable-diffusion-xl", _SDXL),
    ("stability.stable-image", _STABLE_IMAGE),
    ("stability.", _SD3),
    ("amazon.titan-image", _TITAN),
    ("amazon.", _NOVA),
)
_ID = re.compile(r"(?:[a-z][a-z-]{1,9}\.)?((?:amazon|stability)\..+)")

_FAULTS = ("inference error",)
# By the header `x-amzn-ErrorType`, where the status says less.
_KINDS = {
    **dict.fromkeys(("InvalidSignatureException", "UnrecognizedClientException"), 401),
    "ExpiredTokenException": 401,
    "ModelNotReadyException": 503,
    "ServiceQuotaExceededException": 429,
}


class Bedrock(Adapter):
    """Image models on Amazon Bedrock: Stability AI's, and Amazon's own while they last."""

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
            "apiKey or assumedRole; without it, an access key comes before the API key",
            pattern=r"[A-Za-z]{1,32}",
        ),
        *aws.OPTIONS,
        Option(
            "aws_bedrock_model",
            "the model, profile or ARN to invoke, whatever the client names",
            pattern=r"[A-Za-z0-9][A-Za-z0-9._:/+-]{0,511}",
        ),
    )
    refusal_pattern = re.compile("content filter|responsible ai", re.IGNORECASE)
    confidence = "medium"
    unconfirmed = (
        "the reply of a model that has ended (Nova Canvas, Titan Image); webp from Stability's "
        "models; sizes and defaults of Titan; the area and the ratios of Nova Canvas"
    )

    def resolve_base_url(self, credentials: Credentials) -> str:
        """Give the region's own address."""
        return f"https://bedrock-runtime.{aws.get_region(credentials)}.amazonaws.com"

    def table_for(self, model: str) -> Table:
        """Give the table of the family; for a name that says no family, Stability's."""
        return _family(model) or _STABLE_IMAGE

    def effective_model(self, named: str, credentials: Credentials) -> str:
        """Let the operator's choice decide, unless it is an ARN that does not show its family."""
        chosen = credentials["aws_bedrock_model"]
        return chosen if _family(chosen) else named

    def missing_credentials(self, credentials: Credentials) -> str:
        """Name what the chosen way to sign needs and has not."""
        way = credentials["aws_auth_type"]
        if _bears_a_key(credentials):
            instead = "" if way else f", or {' and '.join(aws.ACCESS_KEY)}"
            return "" if credentials.api_key else f"an API key{instead}"
        needed = (*aws.ACCESS_KEY, "aws_role_arn") if way == "assumedRole" else aws.ACCESS_KEY
        return " and ".join(name for name in needed if not credentials[name])

    def sign(self, outgoing: SignableRequest, credentials: Credentials) -> Mapping[str, str]:
        """Sign with the access key, or add the API key."""
        if _bears_a_key(credentials):
            return super().sign(outgoing, credentials)
        return aws.sign(outgoing, credentials, "bedrock")

    def token_flow(self, credentials: Credentials, time: float) -> TokenFlow | None:
        """Assume a role, if that is the way in."""
        if credentials["aws_auth_type"] != "assumedRole":
            return None
        return aws.assume_role(credentials, time)

    def build_request(self, call: ImageCall) -> ProviderRequest:
        """Invoke the model; the operator's choice of it comes first."""
        invoked = call.credentials["aws_bedrock_model"] or call.model
        path = quote_model(invoked, example=self.models[0])
        if not _family(self.effective_model(call.model, call.credentials)):
            raise BadParam(
                "model",
                "No family of Bedrock's image models is known by this name, so its body cannot be "
                "written. Known are ids that begin with stability. or amazon.; a name that does "
                "not show its family, such as an application profile's ARN, belongs into "
                "aws_bedrock_model, beside the id of its model as 'model'.",
                code="model_not_found",
            )
        headers = {"accept": "application/json"}
        return ProviderRequest(f"/model/{path}/invoke", json=_seeded(call), headers=headers)

    def parse_answer(self, call: ImageCall, reply: ProviderReply) -> Answer:
        """Read the pictures that were not filtered; when none is left, say why."""
        del call
        tree = reply.json()
        if artifacts := dig_list(tree, "artifacts"):
            return stability_style.answer_from(
                map(stability_style.image_from_json, artifacts), reply
            )
        if images := tuple(_pictures(tree)):
            return Answer(images)
        said = _objection(tree)
        if said.lower() in _FAULTS:
            raise error_from_reply(reply, message=said, status=502)
        raise refusal(said, provider_status=reply.status) if said else no_image_error(reply.status)

    def error_message(self, reply: ProviderReply) -> str:
        """Find the sentence, whose key begins with a capital at times."""
        return dig_str(reply.json(), "Message") or super().error_message(reply)

    def provider_error(self, reply: ProviderReply) -> ProviderError:
        """Go by `x-amzn-ErrorType`, cut out of its name space and its address."""
        kind = reply.headers.get("x-amzn-errortype", "").partition(":")[0].rpartition("#")[2]
        if status := _KINDS.get(kind):
            return error_from_reply(reply, message=self.error_message(reply), status=status)
        return super().provider_error(reply)


def _family(model: str) -> Table | None:
    """Find the family of an id, an inference profile's id, or an ARN that ends in one.

    >>> _family("us.stability.sd3-5-large-v1:0") is _family("stability.sd4-v1:0") is _SD3
    True
    """
    if not (found := _ID.fullmatch(model.rpartition("/")[2])):
        return None
    return next(table for start, table in _FAMILIES if found[1].startswith(start))


def _seeded(call: ImageCall) -> Mapping[str, Any]:
    """Add a seed where Amazon's models would take the same one, and make the same, each time."""
    if "taskType" not in call.fields:
        return call.fields
    config = {"seed": call.nonce % _SEEDS, **(dig_typed(call.fields, _CONFIG, kind=dict) or {})}
    return {**call.fields, _CONFIG: config}


def _bears_a_key(credentials: Credentials) -> bool:
    """Tell whether the API key itself is the credential; an access key comes before it."""
    way = credentials["aws_auth_type"]
    return way == "apiKey" or (way != "assumedRole" and not credentials["aws_access_key_id"])


def _pictures(tree: Any) -> Iterator[Image]:
    """Give the pictures that nothing is said against."""
    for which, b64 in enumerate(dig_list(tree, "images")):
        if b64 and isinstance(b64, str) and dig(tree, "finish_reasons", which) is None:
            seed = dig_typed(tree, "seeds", which, kind=int)
            yield Image(b64=b64, extra=without_none(seed=seed))


def _objection(tree: Any) -> str:
    """Find the words in which a 200 says no; "" when there are none."""
    status = dig_str(tree, "status")
    said = [
        dig_str(tree, "error"),
        *dig_list(tree, "finish_reasons"),
        *dig_list(tree, "details", "Moderation Reasons"),
        status if "moderated" in status.lower() else "",
    ]
    return next((words for words in said if words and isinstance(words, str)), "")


ADAPTER = Bedrock()
