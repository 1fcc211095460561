"""Runware: one endpoint, a list of tasks in, a list of pictures out; models are AIR identifiers.

    POST {base}      [{"taskType": "imageInference", "taskUUID", "model", …}] -> {"data", "errors"}

Of the pictures of one task some can fail: then `errors` stands beside `data`.

>>> from adapters.contract import ImageCall
>>> params = {"model": "runware:101@1", "prompt": "a cube", "size": "1536x1024"}
>>> made = ADAPTER.table_for(params["model"]).translate(params)
>>> [task] = ADAPTER.build_request(ImageCall(params, made.fields)).json
>>> task["model"], task["positivePrompt"], task["width"], task["height"]
('runware:101@1', 'a cube', 1536, 1024)
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar

from adapters import errors
from adapters.contract import Adapter, Answer, Image, ImageCall
from adapters.http import ProviderReply, ProviderRequest
from adapters.table.param import Param
from adapters.table.table import Table
from adapters.tools import sizes
from adapters.tools.json_access import dig, dig_list, dig_str, dig_typed, parse_usage, without_none
from adapters.tools.url_paths import require_model

_BAD_REQUEST, _BAD_GATEWAY = 400, 502
_UNSAFE = re.compile(r"^nsfw|moderat", re.IGNORECASE)
"""What the code of a refusal may look like: the list of codes is not public."""
_HOSTED = ("runware:", "civitai:")
"""Models that Runware runs itself; those of others have sizes of their own."""

_ROWS = (
    Param("prompt", "positivePrompt", low=2),
    Param("n", "numberResults", high=10),
    Param("response_format", "outputType", convert={"url": "URL", "b64_json": "base64Data"}),
    Param("output_format", "outputFormat", convert={"jpeg": "JPG", "png": "PNG", "webp": "WEBP"}),
    Param("output_compression", "outputQuality", low=20, high=99),
    Param("outputQuality", kind=int, low=20, high=99),
    Param("moderation", "safety.checkContent", convert={"auto": True, "low": False}),
    Param("safety", kind=dict),
    Param("negativePrompt"),
    Param("seed", kind=int, low=0),
    Param("steps", kind=int, low=1),
    Param("CFGScale", kind=float, low=0),
    Param("scheduler"),
    Param("vae"),
    Param("clipSkip", kind=int, low=0),
    Param("strength", kind=float, low=0, high=1),
    Param("resolution"),
    Param("seedImage"),
    Param("maskImage"),
    Param("referenceImages", kind=list),
    Param("inputs", kind=dict),
    Param("lora", kind=list),
    Param("controlNet", kind=list),
    Param("refiner", kind=dict),
    Param("acceleratorOptions", kind=dict),
    Param("providerSettings", kind=dict),
    Param("ttl", kind=int, low=1, note="seconds that the URL stays good"),
)
_CONSTANT = {"taskType": "imageInference", "deliveryMethod": "sync", "includeCost": True}
_NEVER = frozenset({"taskUUID"})
_SIZE = Param("size", convert=sizes.pixels(low=128, high=2048, step=64), default="1024x1024")
_OWN = Table((*_ROWS, _SIZE), constant=_CONSTANT, reserved=_NEVER)
_PARTNERS = Table(
    (*_ROWS, Param("size", convert=sizes.pixels(low=64, high=8192))),
    constant=_CONSTANT,
    reserved=_NEVER,
)


class Runware(Adapter):
    """Runware over HTTP. Addresses that it would call or send to are in no table."""

    id = "runware"
    name = "Runware"
    base_url = "https://api.runware.ai/v1"
    docs = "https://runware.ai/docs/platform/introduction"
    tables_by_model = ((_HOSTED, _OWN), ("", _PARTNERS))
    models = ("runware:101@1", "runware:100@1", "ideogram:4@1")
    url_lifetime = 3600
    confidence = "medium"
    unconfirmed = (
        "which codes a refusal and empty credits have, and under which status; bounds of size, "
        "number and prompt; the sizes of models that Runware does not run itself; how long a URL "
        "is kept"
    )
    status_by_code: ClassVar[Mapping[str, int]] = {
        "invalidApiKey": 401,
        "missingApiKey": 401,
        "insufficientCredits": 402,
        "timeoutProvider": 504,
    }
    # Not whatever ends so: a parameter is called checkNSFW.
    refusal_pattern = re.compile(r"\bnsfw|moderat|content policy|inappropriate", re.IGNORECASE)

    def build_request(self, call: ImageCall) -> ProviderRequest:
        """Give a list with the one task in it."""
        named = {"model": require_model(call.model, example=self.models[0])}
        return ProviderRequest(json=[{**call.fields, **named, "taskUUID": call.uuid}])

    def parse_answer(self, call: ImageCall, reply: ProviderReply) -> Answer:
        """Read the pictures that nothing is said against, and what they cost together."""
        del call
        tree = reply.json()
        made = dig_list(tree, "data")
        fit = (it for it in made if dig(it, "NSFWContent") is not True)
        if images := tuple(image for it in fit if (image := _picture(it))):
            costs = [cost for it in made if (cost := dig_typed(it, "cost", kind=float))]
            told = {"usage": {"cost": round(sum(costs), 6)} if costs else {}}
            return Answer(images, usage=parse_usage(told, "usage"))
        if dig_list(tree, "errors"):
            raise self.provider_error(reply)
        if made and any(dig(it, "NSFWContent") is True for it in made):
            raise errors.refusal("NSFWContent", provider_status=reply.status)
        raise errors.no_image_error(reply.status)

    def provider_error(self, reply: ProviderReply) -> errors.ProviderError:
        """Know a refusal by its code, too; else name the parameter that the first complains of."""
        code = dig_str(reply.json(), "errors", 0, "code")
        if _UNSAFE.search(code):
            return errors.refusal(self.error_message(reply) or code, provider_status=reply.status)
        found = super().provider_error(reply)
        named = dig_str(reply.json(), "errors", 0, "parameter")
        if named and found.status == _BAD_GATEWAY and reply.ok:
            return errors.error_from_reply(reply, status=_BAD_REQUEST, param=named)
        if found.status == _BAD_REQUEST:
            found.param = named or None
        return found


def _picture(told: Any) -> Image | None:
    """Read one picture, in whichever form it came."""
    extra = without_none(seed=dig_typed(told, "seed", kind=int))
    if place := dig_str(told, "imageURL") or dig_str(told, "imageDataURI"):
        return Image.from_url(place, **extra)
    b64 = dig_str(told, "imageBase64Data")
    return Image(b64=b64, extra=extra) if b64 else None


ADAPTER = Runware()
