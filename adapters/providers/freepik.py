"""Freepik, now Magnific: a task at each model's own path.

    POST {base}/ai/mystic                     JSON -> {"data": {"task_id", "status"}}
    POST {base}/ai/text-to-image/{model}      the same
    POST {base}/ai/text-to-image              `classic-fast`: {"data": [{"base64"}]} at once
    GET  {the same path}/{task_id}            {"data": {"status", "generated", "has_nsfw"}}

A model with a slash in its name is a path: `ai/flux-2-pro` is POST {base}/ai/flux-2-pro.
A custom host can be https://api.freepik.com/v1, which has another header for the key.

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
_COMPLAINT = ("problem", "invalid_params", 0, "name")

_WORDS = {
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
_ASPECT = Param("aspect_ratio", choices=tuple(_WORDS.values()))
_FILTER = (
    Param("moderation", "filter_nsfw", convert={"auto": True}),
    Param("filter_nsfw", kind=bool),
)
_MYSTIC = Table(
    (
        *(_PROMPT, _SEED, _ASPECT, *_FILTER),
        Param("size", convert=sizes.tiers(sizes.ratio(_WORDS), _TIERS)),
        # Freepik's own is said to be 2k.
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
        Param("size", convert=sizes.ratio(_WORDS, field="image.size")),
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
_OTHER = Table((_PROMPT, _SEED, Param("size", convert=sizes.ratio(_WORDS)), _ASPECT))


class Freepik(PollingAdapter):
    """Freepik's API. Its `webhook_url` is in no table: none is ever sent."""

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
        "the paths of models other than mystic, and mystic's own resolution; that the old host and "
        "header still work; the reply of classic-fast and its image.size; ratios and fields of "
        "other models; the form of a 400 and the words of a refusal; how long a picture's URL "
        "lasts (an hour is a guess)"
    )
    refusal_pattern = re.compile("moderat|nsfw", re.IGNORECASE)

    state_path = ("data", "status")
    pending_states = frozenset({"CREATED", "IN_PROGRESS"})
    id_path = ("data", "task_id")
    success_state = "COMPLETED"
    poll_interval = 2.0

    def sign(self, outgoing: SignableRequest, credentials: Credentials) -> Mapping[str, str]:
        """Put the key into the header of the host's age."""
        host = f".{urlsplit(outgoing.url).hostname}"
        brand = "freepik" if host.endswith(f".{_OLD_HOST}") else "magnific"
        return {f"x-{brand}-api-key": credentials.api_key}

    def request_path(self, call: ImageCall) -> str:
        """Give the model's path."""
        named = quote_model(call.model, safe="/", example=self.models[0])
        if "/" in named:
            return "/ai/" + named.removeprefix("ai/")
        return _PATHS.get(named, f"/ai/text-to-image/{named}")

    def build_request(self, call: ImageCall) -> ProviderRequest:
        """Submit the task."""
        return ProviderRequest(self.request_path(call), json=call.fields)

    def poll_request(self, call: ImageCall, reply: ProviderReply) -> ProviderRequest | None:
        """Ask below the path that took the task; a list of pictures is none."""
        if dig_list(reply.json(), "data"):
            return None
        return ProviderRequest(f"{self.request_path(call)}/{self.job_id(reply)}", method="GET")

    def parse_state(self, reply: ProviderReply) -> str:
        """Give the task's state; a list of pictures is done."""
        return self.success_state if dig_list(reply.json(), "data") else super().parse_state(reply)

    def parse_images(self, reply: ProviderReply) -> Iterator[Image]:
        """Read the pictures; one marked as not safe for work is delivered, with the mark."""
        tree = reply.json()
        for made in dig_list(tree, "data"):
            if b64 := dig_str(made, "base64"):
                yield Image(b64=b64, extra=_marked(dig(made, "has_nsfw")))
        marks = dig_list(tree, "data", "has_nsfw")
        for place, mark in zip_longest(dig_list(tree, "data", "generated"), marks):
            if isinstance(place, str) and place:
                yield Image.from_url(place, **_marked(mark))

    def error_message(self, reply: ProviderReply) -> str:
        """Find what an error says, which a complaint about a field says further in."""
        return dig_str(reply.json(), "problem", "message") or super().error_message(reply)

    def provider_error(self, reply: ProviderReply) -> errors.ProviderError:
        """Name the field that a complaint is about."""
        error = super().provider_error(reply)
        error.param = error.param or dig_str(reply.json(), *_COMPLAINT) or None
        return error


def _marked(mark: object) -> dict[str, bool]:
    return {"nsfw": True} if mark is True else {}


ADAPTER = Freepik()
