"""Amazon Bedrock: one path, and a body for each vendor's family of models.

    POST {base}/model/{id, inference profile or ARN}/invoke      JSON, SigV4 or a bearer key

A refusal can be an HTTP 200 (`error`, `finish_reasons`, `status`, `finishReason`) or a 400 that is
known by its words. What kind an error is stands in the header `x-amzn-ErrorType`.

>>> from adapters.contract import ImageCall
>>> params = {"model": "us.stability.sd3-5-large-v1:0", "prompt": "a cube", "size": "1536x1024"}
>>> made = ADAPTER.table(params["model"]).translate(params)
>>> request = ADAPTER.request(ImageCall(params, made.fields))
>>> request.path, request.json["aspect_ratio"]
('/model/us.stability.sd3-5-large-v1%3A0/invoke', '3:2')
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import Any, ClassVar
from urllib.parse import urlencode

from adapters.contract import (
    Adapter,
    Answer,
    Credentials,
    Grant,
    GrantFlow,
    Image,
    ImageCall,
    Option,
    Outgoing,
    ProviderReply,
    ProviderRequest,
)
from adapters.errors import BadParam, ProviderError, failure, no_picture, refusal
from adapters.params import Param, Table
from adapters.paths import model_path
from adapters.reading import at, items_at, text_at
from adapters.signing import sigv4
from adapters.sizes import Converter, listed_pixels, pixels, ratio

_CONFIG = "imageGenerationConfig."
_PREMIUM = ("hd", "high", "xhigh", "max")
_QUALITY = dict.fromkeys(("standard", "low", "medium"), "standard")
_QUALITY |= dict.fromkeys(_PREMIUM, "premium")
_STYLES = (
    *("3D_ANIMATED_FAMILY_FILM", "DESIGN_SKETCH", "FLAT_VECTOR_ILLUSTRATION"),
    *("GRAPHIC_NOVEL_ILLUSTRATION", "MAXIMALISM", "MIDCENTURY_RETRO", "PHOTOREALISM"),
    "SOFT_DIGITAL_PAINTING",
)


def _amazon(size: Converter, *, text: int, least: int, seed: int, rows: tuple[Param, ...]) -> Table:
    """Give the table of an Amazon model: `taskType` and two objects."""
    shared = (
        Param("prompt", "textToImageParams.text", high=text),
        Param("negativeText", "textToImageParams.negativeText", low=least, high=text),
        Param("conditionImage", "textToImageParams.conditionImage", about="base64"),
        Param(
            "controlMode", "textToImageParams.controlMode", choices=("CANNY_EDGE", "SEGMENTATION")
        ),
        Param("controlStrength", "textToImageParams.controlStrength", kind=float, low=0, high=1),
        Param("size", to=size),
        Param("quality", f"{_CONFIG}quality", to=_QUALITY),
        Param("n", f"{_CONFIG}numberOfImages", kind=int, low=1, high=5),
        Param("cfgScale", f"{_CONFIG}cfgScale", kind=float, low=1.1, high=10),
        Param("seed", f"{_CONFIG}seed", kind=int, low=0, high=seed),
    )
    return Table((*shared, *rows), constant={"taskType": "TEXT_IMAGE"})


_NOVA = _amazon(
    # Fewer than 4,194,304 pixels, with room to round both sides to a multiple of 16.
    pixels(
        low=320,
        high=4096,
        step=16,
        most=4_128_768,
        width=f"{_CONFIG}width",
        height=f"{_CONFIG}height",
    ),
    text=1024,
    least=1,
    seed=858_993_459,
    rows=(Param("style_preset", "textToImageParams.style", choices=_STYLES),),
)
_TITAN = _amazon(
    listed_pixels(
        (
            *("1024x1024", "768x768", "512x512", "768x1152", "384x576", "1152x768", "576x384"),
            *("768x1280", "384x640", "1280x768", "640x384", "896x1152", "448x576", "1152x896"),
            *("576x448", "768x1408", "384x704", "1408x768", "704x384", "640x1408", "320x704"),
            *("1408x640", "704x320", "1152x640", "1173x640"),
        ),
        width=f"{_CONFIG}width",
        height=f"{_CONFIG}height",
    ),
    text=512,
    least=3,
    seed=2_147_483_646,
    rows=(),
)
_SEED = Param("seed", kind=int, low=0, high=4_294_967_295)
_RATIOS = ("16:9", "1:1", "21:9", "2:3", "3:2", "4:5", "5:4", "9:16", "9:21")
_STABLE_IMAGE = Table(
    (
        Param("prompt", high=10_000),
        Param("negative_prompt", high=10_000),
        Param("size", to=ratio(_RATIOS)),
        Param("aspect_ratio", choices=_RATIOS),
        Param("output_format", choices=("png", "jpeg")),
        _SEED,
    )
)
_SD3 = Table(_STABLE_IMAGE.rows, constant={"mode": "text-to-image"})
_SDXL = Table(
    (
        Param("prompt", high=2000, to=lambda text: {"text_prompts": [{"text": text, "weight": 1}]}),
        Param(
            "size",
            to=listed_pixels(
                (
                    *("1024x1024", "1152x896", "1216x832", "1344x768", "1536x640"),
                    *("640x1536", "768x1344", "832x1216", "896x1152"),
                )
            ),
        ),
        Param("cfg_scale", kind=float, low=0, high=35),
        Param("steps", kind=int, low=10, high=150),
        Param("style_preset"),
        _SEED,
    )
)

# The longest prefix that fits says which family an id belongs to; a model nobody has heard of
# gets the body that its vendor's newest models take.
_FAMILIES: dict[str, Table] = {
    "stability.stable-diffusion-xl": _SDXL,
    "stability.stable-image": _STABLE_IMAGE,
    "amazon.titan-image": _TITAN,
    "stability.": _SD3,
    "amazon.": _NOVA,
}
_ID = re.compile(r"(?:[a-z][a-z-]{1,9}\.)?((?:amazon|stability)\..+)")

_KEYS = ("aws_access_key_id", "aws_secret_access_key")
_FORM = {"content-type": "application/x-www-form-urlencoded"}
_SESSION_SECONDS = 3600

_FILTER_WORDS = ("content filter", "responsible ai")
_FAULTS = ("inference error", "error")
_BAD_KEYS = ("InvalidSignatureException", "UnrecognizedClientException", "ExpiredTokenException")


class Bedrock(Adapter):
    """Image models on Amazon Bedrock: Stability AI's, and Amazon's own while they last."""

    id = "bedrock"
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
            "aws_region", "us-east-1 by default", pattern=r"[a-z]{2}(?:-[a-z]{2,12}){1,3}-\d{1,2}"
        ),
        Option("aws_access_key_id", "an access key", pattern=r"[A-Za-z0-9_]{1,128}"),
        Option(
            "aws_secret_access_key", "its secret", pattern=r"[A-Za-z0-9+/=]{1,128}", secret=True
        ),
        Option(
            "aws_session_token",
            "for a temporary access key",
            pattern=r"[A-Za-z0-9+/=]{1,4096}",
            secret=True,
        ),
        Option(
            "aws_auth_type",
            "apiKey, assumedRole, or an access key by default",
            pattern=r"[A-Za-z]{1,32}",
        ),
        Option(
            "aws_role_arn", "for assumedRole: the role", pattern=r"arn:[A-Za-z0-9:/_+=,.@-]{1,250}"
        ),
        Option(
            "aws_external_id",
            "for assumedRole: what the role's owner asks for",
            pattern=r"[A-Za-z0-9+=,.@:/_-]{2,1224}",
        ),
        Option(
            "aws_bedrock_model",
            "the model, profile or ARN to invoke, whatever the client names",
            pattern=r"[A-Za-z0-9][A-Za-z0-9._:/+-]{0,511}",
        ),
    )
    unconfirmed = "the reply of a model that has ended (Nova Canvas, Titan Image)"

    def base(self, credentials: Credentials) -> str:
        """Give the region's own address."""
        return f"https://bedrock-runtime.{_region(credentials)}.amazonaws.com"

    def table(self, model: str) -> Table:
        """Give the table of the family; for a name that says no family, Stability's."""
        return _family(model) or _STABLE_IMAGE

    def model_in_force(self, named: str, credentials: Credentials) -> str:
        """Let the operator's choice decide, unless it is an ARN that does not show its family."""
        chosen = credentials["aws_bedrock_model"]
        return chosen if _family(chosen) else named

    def lacks(self, credentials: Credentials) -> str:
        """Name what the chosen way to sign needs and has not."""
        if _bears_a_key(credentials):
            instead = "" if credentials["aws_auth_type"] else f", or {' and '.join(_KEYS)}"
            return "" if credentials.api_key else f"an API key{instead}"
        assumes = credentials["aws_auth_type"] == "assumedRole"
        missing = [key for key in (*_KEYS, *["aws_role_arn"] * assumes) if not credentials[key]]
        return " and ".join(missing)

    def sign(self, outgoing: Outgoing, credentials: Credentials) -> Mapping[str, str]:
        """Sign with the access key, or add the API key."""
        if _bears_a_key(credentials):
            return super().sign(outgoing, credentials)
        return _signed(outgoing, credentials, "bedrock")

    def grant(self, credentials: Credentials, time: float) -> GrantFlow | None:
        """Assume a role, if that is the way in."""
        return (
            _assumed(credentials, time) if credentials["aws_auth_type"] == "assumedRole" else None
        )

    def request(self, call: ImageCall) -> ProviderRequest:
        """Invoke the model; the operator's choice of it comes first."""
        invoked = call.credentials["aws_bedrock_model"] or call.model
        path = model_path(invoked, example=self.models[0])
        if not _family(self.model_in_force(call.model, call.credentials)):
            raise BadParam(
                "model",
                "No family of Bedrock's image models is known by this name, so its body cannot be "
                "written. Known are ids that begin with stability. or amazon.; a name that does "
                "not show its family, such as an application profile's ARN, belongs into "
                "aws_bedrock_model, beside the id of its model as 'model'.",
                code="model_not_found",
            )
        headers = {"accept": "application/json"}
        return ProviderRequest(f"/model/{path}/invoke", json=call.fields, headers=headers)

    def answer(self, call: ImageCall, reply: ProviderReply) -> Answer:
        """Read the pictures that were not filtered; when none is left, say why."""
        del call
        tree = reply.json()
        if images := tuple(_pictures(tree)):
            return Answer(images)
        said = _objection(tree)
        if said.lower() in _FAULTS:
            raise ProviderError(f"The provider answered: {said}", provider_status=reply.status)
        raise refusal(said, provider_status=reply.status) if said else no_picture(reply.status)

    def error(self, reply: ProviderReply) -> ProviderError:
        """Read `x-amzn-ErrorType`, and find a refusal by its words."""
        tree = reply.json()
        said = text_at(tree, "message") or text_at(tree, "Message")
        filtered = any(words in said.lower() for words in _FILTER_WORDS)
        if filtered and reply.status == HTTPStatus.BAD_REQUEST:
            return refusal(said, provider_status=reply.status)
        error = failure(reply, message=said)
        kind = reply.headers.get("x-amzn-errortype", "").partition(":")[0].rpartition("#")[2]
        if kind in _BAD_KEYS:
            error.code = "invalid_api_key"
        if kind == "ServiceQuotaExceededException":
            error.status, error.type, error.code = 429, "rate_limit_error", "rate_limit_exceeded"
        return error


def _family(model: str) -> Table | None:
    """Find the family of an id, an inference profile's id, or an ARN that ends in one.

    >>> _family("us.stability.sd3-5-large-v1:0") is _family("stability.sd4-v1:0") is _SD3
    True
    """
    if not (found := _ID.fullmatch(model.rpartition("/")[2])):
        return None
    return next(table for prefix, table in _FAMILIES.items() if found[1].startswith(prefix))


def _region(credentials: Credentials) -> str:
    return credentials["aws_region"] or "us-east-1"


def _bears_a_key(credentials: Credentials) -> bool:
    """Tell whether the API key itself is the credential; an access key comes before it."""
    way = credentials["aws_auth_type"]
    has_access_key = bool(credentials["aws_access_key_id"])
    return way == "apiKey" or (way != "assumedRole" and not has_access_key)


def _signed(outgoing: Outgoing, credentials: Credentials, service: str) -> Mapping[str, str]:
    return sigv4(
        outgoing,
        service=service,
        region=_region(credentials),
        access_key_id=credentials["aws_access_key_id"],
        secret_access_key=credentials["aws_secret_access_key"],
        session_token=credentials["aws_session_token"],
    )


def _pictures(tree: Any) -> Iterator[Image]:
    """Give the pictures that nothing is said against."""
    for which, b64 in enumerate(items_at(tree, "images")):
        if b64 and isinstance(b64, str) and at(tree, "finish_reasons", which) is None:
            yield Image(b64=b64, extra=_seed(at(tree, "seeds", which)))
    for artifact in items_at(tree, "artifacts"):
        b64, finish = text_at(artifact, "base64"), text_at(artifact, "finishReason")
        if b64 and finish in ("", "SUCCESS"):
            yield Image(b64=b64, extra=_seed(at(artifact, "seed")))


def _seed(seed: Any) -> Mapping[str, Any]:
    return {"seed": seed} if isinstance(seed, int) else {}


def _objection(tree: Any) -> str:
    """Find the words in which a 200 says no; "" when there are none."""
    status = text_at(tree, "status")
    finishes = [text_at(one, "finishReason") for one in items_at(tree, "artifacts")]
    said = [
        text_at(tree, "error"),
        *items_at(tree, "finish_reasons"),
        *(finish for finish in finishes if finish != "SUCCESS"),
        *items_at(tree, "details", "Moderation Reasons"),
        status if "moderated" in status.lower() else "",
    ]
    return next((words for words in said if words and isinstance(words, str)), "")


def _assumed(credentials: Credentials, time: float) -> GrantFlow:
    """Ask STS for the role's own keys, signed with the access key.

    Source: https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html
    """
    url = f"https://sts.{_region(credentials)}.amazonaws.com/"
    wanted = {
        "Action": "AssumeRole",
        "Version": "2011-06-15",
        "RoleArn": credentials["aws_role_arn"],
        "RoleSessionName": "easel",
        "DurationSeconds": str(_SESSION_SECONDS),
    }
    if external_id := credentials["aws_external_id"]:
        wanted["ExternalId"] = external_id
    content = urlencode(wanted).encode()
    outgoing = Outgoing("POST", url, _FORM, content, time)
    headers = {**_FORM, **_signed(outgoing, credentials, "sts")}
    reply = yield ProviderRequest(url=url, headers=headers, content=content, signed=False)
    names = ("AccessKeyId", "SecretAccessKey", "SessionToken")
    key_id, secret, token = (_element(reply, name) for name in names)
    if not (reply.ok and key_id and secret and token):
        raise _not_assumed(reply)
    options = {"aws_access_key_id": key_id, "aws_secret_access_key": secret}
    return Grant({**options, "aws_session_token": token}, _SESSION_SECONDS)


def _element(reply: ProviderReply, name: str) -> str:
    """Read the text of an element; a parser for all of XML would be more than these few need."""
    found = re.search(rf"<{name}>([^<]*)</{name}>", reply.body.decode(errors="replace"))
    return found[1].strip() if found else ""


def _not_assumed(reply: ProviderReply) -> ProviderError:
    said = _element(reply, "Message")
    if reply.ok:
        return ProviderError("AWS STS answered without the role's keys.")
    return failure(reply, message=said and f"the role could not be assumed: {said}")


ADAPTER = Bedrock()
