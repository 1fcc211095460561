"""Runware: one endpoint that takes a list of tasks; models are AIR identifiers.

    POST {base}      [{"taskType": "imageInference", "taskUUID", "model", …}] -> {"data", "errors"}

If some images of a task fail, the reply has `errors` as well as `data`.

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
"""Assumed codes of a refusal; the list of codes is not public."""
_HOSTED = ("runware:", "civitai:")
"""Prefixes of models that Runware runs itself; others have their own sizes."""

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
    Param("ttl", kind=int, low=1, note="lifetime of the URL in seconds"),
)
_CONSTANT = {"taskType": "imageInference", "deliveryMethod": "sync", "includeCost": True}
_RESERVED = frozenset({"taskUUID"})
_SIZE = Param("size", convert=sizes.pixels(low=128, high=2048, step=64), default="1024x1024")
_OWN = Table((*_ROWS, _SIZE), constant=_CONSTANT, reserved=_RESERVED)
_PARTNERS = Table(
    (*_ROWS, Param("size", convert=sizes.pixels(low=64, high=8192))),
    constant=_CONSTANT,
    reserved=_RESERVED,
)


class Runware(Adapter):
    """Runware over HTTP. Webhook and upload URLs are in no table, so they are never sent."""

    id = "runware"
    name = "Runware"
    base_url = "https://api.runware.ai/v1"
    docs = "https://runware.ai/docs/platform/introduction"
    tables_by_model = ((_HOSTED, _OWN), ("", _PARTNERS))
    models = ("runware:101@1", "runware:100@1", "ideogram:4@1")
    url_lifetime = 3600
    confidence = "medium"
    unconfirmed = (
        "codes and statuses of refusals and of an empty account; the limits of size, n and prompt; "
        "the sizes of models that Runware does not run itself; how long URLs last"
    )
    status_by_code: ClassVar[Mapping[str, int]] = {
        "invalidApiKey": 401,
        "missingApiKey": 401,
        "insufficientCredits": 402,
        "timeoutProvider": 504,
    }
    # Not every word that ends in NSFW, because a parameter is called checkNSFW.
    refusal_pattern = re.compile(r"\bnsfw|moderat|content policy|inappropriate", re.IGNORECASE)

    def build_request(self, call: ImageCall) -> ProviderRequest:
        """Return the request: a list of one task."""
        model = {"model": require_model(call.model, example=self.models[0])}
        return ProviderRequest(json=[{**call.fields, **model, "taskUUID": call.uuid}])

    def parse_answer(self, call: ImageCall, reply: ProviderReply) -> Answer:
        """Parse the safe images and their total cost."""
        del call
        tree = reply.json()
        made = dig_list(tree, "data")
        fit = (it for it in made if dig(it, "NSFWContent") is not True)
        if images := tuple(image for it in fit if (image := _parse_image(it))):
            costs = [cost for it in made if (cost := dig_typed(it, "cost", kind=float))]
            usage = {"cost": round(sum(costs), 6)} if costs else {}
            return Answer(images, usage=parse_usage(usage))
        if dig_list(tree, "errors"):
            raise self.provider_error(reply)
        if made and any(dig(it, "NSFWContent") is True for it in made):
            raise errors.refusal("NSFWContent", provider_status=reply.status)
        raise errors.no_image_error(reply.status)

    def provider_error(self, reply: ProviderReply) -> errors.ProviderError:
        """Recognise a refusal by its code, too; otherwise set `param` from the first error."""
        code = dig_str(reply.json(), "errors", 0, "code")
        if _UNSAFE.search(code):
            return errors.refusal(self.error_message(reply) or code, provider_status=reply.status)
        error = super().provider_error(reply)
        param = dig_str(reply.json(), "errors", 0, "parameter")
        if param and error.status == _BAD_GATEWAY and reply.ok:
            return errors.error_from_reply(reply, status=_BAD_REQUEST, param=param)
        if error.status == _BAD_REQUEST:
            error.param = param or None
        return error


def _parse_image(entry: Any) -> Image | None:
    """Return one image, which is a URL or base64; None if there is none."""
    extra = without_none(seed=dig_typed(entry, "seed", kind=int))
    if url := dig_str(entry, "imageURL") or dig_str(entry, "imageDataURI"):
        return Image.from_url(url, **extra)
    b64 = dig_str(entry, "imageBase64Data")
    return Image(b64=b64, extra=extra) if b64 else None


ADAPTER = Runware()
