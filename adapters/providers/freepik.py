"""Freepik, now Magnific: polling, with a path for each model.

    POST {base}/ai/mystic                     JSON -> {"data": {"task_id", "status"}}
    POST {base}/ai/text-to-image/{model}      the same
    POST {base}/ai/text-to-image              `classic-fast`: {"data": [{"base64"}]}
    GET  {the same path}/{task_id}            {"data": {"status", "generated", "has_nsfw"}}

A model with a slash in its name is a path: `ai/flux-2-pro` is POST {base}/ai/flux-2-pro.
The old host https://api.freepik.com/v1, as a custom host, gets the key in another header.

>>> from adapters.contract import ImageCall
>>> made = ADAPTER.table_for("mystic").translate({"prompt": "a cube", "size": "1536x1024"})
>>> sent = ADAPTER.build_request(ImageCall({"model": "mystic"}, made.fields))
>>> sent.path, sent.json
('/ai/mystic', {'prompt': 'a cube', 'aspect_ratio': 'standard_3_2', 'resolution': '1k'})
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import zip_longest
from urllib.parse import urlsplit

from adapters import errors
from adapters.bases.polling import PollingAdapter
from adapters.contract import Credentials, Image, ImageCall, SignableRequest
from adapters.http import ProviderReply, ProviderRequest
from adapters.table.param import Param
from adapters.table.table import Table
from adapters.tools import sizes
from adapters.tools.json_access import dig, dig_list, dig_str
from adapters.tools.url_paths import quote_model

_PATHS = {"mystic": "/ai/mystic", "classic-fast": "/ai/text-to-image"}
_OLD_HOST = "freepik.com"
_FIELD_PATH = ("problem", "invalid_params", 0, "name")

_NAMED_RATIOS = {
    "1:1": "square_1_1",
    "4:3": "classic_4_3",
    "3:4": "traditional_3_4",
    "16:9": "widescreen_16_9",
    "9:16": "social_story_9_16",
    "20:9": "smartphone_horizontal_20_9",
    "9:20": "smartphone_vertical_9_20",
    "3:2": "standard_3_2",
    "2:3": "portrait_2_3",
    "2:1": "horizontal_2_1",
    "1:2": "vertical_1_2",
    "5:4": "social_5_4",
    "4:5": "social_post_4_5",
}
_TIERS = {"1k": 1024, "2k": 2048, "4k": 4096}

_PROMPT, _SEED = Param("prompt"), Param("seed", kind=int)
_ASPECT = Param("aspect_ratio", choices=tuple(_NAMED_RATIOS.values()))
_FILTER = (
    Param("moderation", "filter_nsfw", convert={"auto": True}),
    Param("filter_nsfw", kind=bool),
)
_MYSTIC = Table(
    (
        *(_PROMPT, _SEED, _ASPECT, *_FILTER),
        Param("size", convert=sizes.tiers(sizes.ratio(_NAMED_RATIOS), _TIERS)),
        # Freepik's own default is documented as 2k.
        Param("resolution", choices=tuple(_TIERS), default="1k"),
        Param("mystic_model", "model", note="realism, fluid, zen, flexible …"),
        Param("creative_detailing", kind=int, low=0, high=100),
        Param("engine"),
        Param("structure_reference"),
        Param("style_reference"),
        Param("styling", kind=dict),
    )
)
_CLASSIC = Table(
    (
        *(_PROMPT, _SEED, *_FILTER),
        Param("n", "num_images", high=4),
        Param("size", convert=sizes.ratio(_NAMED_RATIOS, field="image.size")),
        Param("styling", kind=dict),
    )
)
_NANO_RATIOS = ("1:1", "16:9", "9:16", "4:3", "3:4", "3:2", "2:3", "5:4", "4:5")
_NANO = Table(
    (
        _PROMPT,
        Param("size", convert=sizes.ratio(_NANO_RATIOS)),
        Param("aspect_ratio", choices=_NANO_RATIOS),
    )
)
_OTHER = Table((_PROMPT, _SEED, Param("size", convert=sizes.ratio(_NAMED_RATIOS)), _ASPECT))


class Freepik(PollingAdapter):
    """Freepik's API. `webhook_url` is in no table, so it is never sent."""

    id = "freepik"
    name = "Freepik (Magnific)"
    base_url = "https://api.magnific.com/v1"
    docs = "https://docs.freepik.com"
    tables_by_model = (
        (("mystic", "ai/mystic"), _MYSTIC),
        ("classic-fast", _CLASSIC),
        (("nano-banana", "ai/nano-banana"), _NANO),
        ("", _OTHER),
    )
    models = (
        "mystic",
        "flux-2-pro",
        "flux-2-turbo",
        "flux-pro-v1-1",
        "flux-dev",
        "hyperflux",
        "seedream-v4-5",
        "nano-banana-pro",
        "classic-fast",
    )
    url_lifetime = 3600
    confidence = "medium"
    unconfirmed = (
        "the paths of models other than mystic, and mystic's default resolution; whether the old "
        "host and header still work; the reply of classic-fast and its image.size; ratios and "
        "fields of other models; the format of a 400 and the wording of refusals; how long URLs "
        "last (one hour is assumed)"
    )
    refusal_pattern = re.compile("moderat|nsfw", re.IGNORECASE)

    state_path = ("data", "status")
    id_path = ("data", "task_id")
    success_state, failed_states = "COMPLETED", frozenset({"FAILED"})
    poll_interval = 2.0

    def sign(self, request: SignableRequest, credentials: Credentials) -> Mapping[str, str]:
        """Return the key in the header that the host expects."""
        host = f".{urlsplit(request.url).hostname}"
        brand = "freepik" if host.endswith(f".{_OLD_HOST}") else "magnific"
        return {f"x-{brand}-api-key": credentials.api_key}

    def request_path(self, call: ImageCall) -> str:
        """Return the model's URL path."""
        name = quote_model(call.model, safe="/", example=self.models[0])
        if "/" in name:
            return "/ai/" + name.removeprefix("ai/")
        return _PATHS.get(name, f"/ai/text-to-image/{name}")

    def build_request(self, call: ImageCall) -> ProviderRequest:
        """Return the request that submits the task."""
        return ProviderRequest(self.request_path(call), json=call.fields)

    def build_poll_request(self, call: ImageCall, reply: ProviderReply) -> ProviderRequest | None:
        """Return the poll, below the path of the submission; None for a list of images."""
        if dig_list(reply.json(), "data"):
            return None
        return ProviderRequest(
            f"{self.request_path(call)}/{self.parse_job_id(reply)}", method="GET"
        )

    def parse_state(self, reply: ProviderReply) -> str:
        """Return the task's state; a list of images is a finished task."""
        return self.success_state if dig_list(reply.json(), "data") else super().parse_state(reply)

    def parse_images(self, reply: ProviderReply) -> Iterator[Image]:
        """Yield the images; one marked as unsafe is delivered with the mark."""
        tree = reply.json()
        for made in dig_list(tree, "data"):
            if b64 := dig_str(made, "base64"):
                yield Image(b64=b64, extra=_marked(dig(made, "has_nsfw")))
        marks = dig_list(tree, "data", "has_nsfw")
        for url, mark in zip_longest(dig_list(tree, "data", "generated"), marks):
            if isinstance(url, str) and url:
                yield Image.from_url(url, **_marked(mark))

    def error_message(self, reply: ProviderReply) -> str:
        """Return the message; that of an invalid field is nested deeper."""
        return dig_str(reply.json(), "problem", "message") or super().error_message(reply)

    def provider_error(self, reply: ProviderReply) -> errors.ProviderError:
        """Return the error, with the name of an invalid field as `param`."""
        error = super().provider_error(reply)
        error.param = error.param or dig_str(reply.json(), *_FIELD_PATH) or None
        return error


def _marked(mark: object) -> dict[str, bool]:
    return {"nsfw": True} if mark is True else {}


ADAPTER = Freepik()
