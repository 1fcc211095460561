"""Ideogram: a path for each model generation; multipart requests, but JSON for the oldest.

    POST {base}/v1/ideogram-v3/generate                  multipart
    POST {base}/v1/ideogram-v3/generate-transparent      multipart, for a transparent background
    POST {base}/v1/ideogram-v4/generate                  multipart
    POST {base}/generate                                 {"image_request"}, for V_1 to V_2A

Of several images some can be withheld: the entry of an unsafe image in a 200 has no URL.

>>> from adapters.contract import ImageCall
>>> params = {"model": "ideogram-v3", "prompt": "a cube", "size": "1536x1024", "quality": "high"}
>>> made = ADAPTER.table_for(params["model"]).translate(params)
>>> sent = ADAPTER.build_request(ImageCall(params, made.fields))
>>> sent.path, dict(sent.form)
('/v1/ideogram-v3/generate', \
{'prompt': 'a cube', 'aspect_ratio': '3x2', 'rendering_speed': 'QUALITY'})
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from adapters import errors
from adapters.contract import Adapter, Answer, Credentials, Image, ImageCall, SignableRequest
from adapters.http import ProviderReply, ProviderRequest
from adapters.table.param import Param, nested_under
from adapters.table.table import Table
from adapters.tools import sizes
from adapters.tools.json_access import dig, dig_list, dig_str, dig_typed, without_none
from adapters.tools.url_paths import quote_model

# Known resolutions of v3; any other size is sent as a ratio.
_RESOLUTIONS = (
    "1024x1024 1312x736 736x1312 1248x832 832x1248 1152x864 864x1152 1280x704 1344x768 768x1344 "
    "512x1536 1536x640"
)
_V4_SIZES = (
    "2048x2048 1440x2880 2880x1440 1664x2496 2496x1664 1792x2240 2240x1792 1440x2560 2560x1440 "
    "1600x2560 2560x1600 1728x2304 2304x1728 1296x3168 3168x1296 1152x2944 2944x1152 1248x3328 "
    "3328x1248 1280x3072 3072x1280"
)
_V3_RATIOS = "1x3 3x1 1x2 2x1 9x16 16x9 10x16 16x10 2x3 3x2 3x4 4x3 4x5 5x4 1x1"
_OLD_RATIOS = "10_16 16_10 9_16 16_9 3_2 2_3 4_3 3_4 1_1 1_3 3_1"
_STYLES = "AUTO GENERAL REALISTIC DESIGN FICTION CUSTOM STYLIZED"
_SPEEDS = dict.fromkeys(("medium", "standard"), "DEFAULT") | {"low": "TURBO"}
_SPEEDS |= dict.fromkeys(("high", "hd", "xhigh", "max"), "QUALITY")
_OLD = ("V_1", "V_2", "AUTO")

_RATIO = sizes.ratio({it.replace("x", ":"): it for it in _V3_RATIOS.split()})


def _resolution_or_ratio(width: int, height: int) -> dict[str, Any]:
    size = f"{width}x{height}"
    return {"resolution": size} if size in _RESOLUTIONS.split() else _RATIO.convert(width, height)


_QUALITY = Param("quality", "rendering_speed", convert=_SPEEDS)
_MAGIC = ("AUTO", "ON", "OFF")
_SEED = Param("seed", kind=int, low=0, high=2_147_483_647)
_V3 = Table(
    (
        Param("prompt"),
        Param(
            "size",
            convert=sizes.Converter(
                f"pixels if it is listed; else {_RATIO.description}", _resolution_or_ratio
            ),
        ),
        Param("resolution", pattern=r"[1-9][0-9]{2,3}x[1-9][0-9]{2,3}"),
        Param("aspect_ratio", choices=tuple(_V3_RATIOS.split())),
        Param("n", "num_images", high=8),
        Param("background", "transparent", convert={"transparent": True, "opaque": False}),
        _QUALITY,
        Param("rendering_speed", choices=("FLASH", "TURBO", "BALANCED", "DEFAULT", "QUALITY")),
        Param("magic_prompt", choices=_MAGIC),
        Param("negative_prompt"),
        _SEED,
        Param("style_type", choices=tuple(_STYLES.split())),
        Param("style_preset", pattern=r"[A-Z0-9_]{1,64}"),
        Param("custom_model_uri"),
        Param("upscale_factor", pattern=r"X[0-9]", note="for a transparent background"),
    ),
    reserved=frozenset({"transparent"}),
)
_IN_RATIOS = {
    "size": Param("size", convert=_RATIO),
    "rendering_speed": Param("rendering_speed", choices=("TURBO", "DEFAULT", "QUALITY")),
    "resolution": Param("resolution", pattern=_V3.rows[2].pattern, convert=_RATIO),
}
_TRANSPARENT = Table(
    tuple(_IN_RATIOS.get(row.name, row) for row in _V3.rows if not row.name.startswith("style_")),
    reserved=frozenset({"transparent"}),
)
_V4 = Table(
    (
        Param("prompt", "text_prompt"),
        Param("size", convert=sizes.nearest_size(_V4_SIZES.split(), field="resolution")),
        Param("resolution", choices=tuple(_V4_SIZES.split())),
        _QUALITY,
        Param("rendering_speed", choices=("TURBO", "DEFAULT", "QUALITY")),
        Param("enable_copyright_detection", kind=bool),
    )
)


_BEFORE_V3 = Table(
    (
        Param("prompt", "image_request.prompt"),
        Param(
            "size",
            convert=sizes.ratio(
                {it.replace("_", ":"): f"ASPECT_{it}" for it in _OLD_RATIOS.split()},
                field="image_request.aspect_ratio",
            ),
        ),
        *nested_under(
            "image_request",
            Param("aspect_ratio", pattern=r"ASPECT_[0-9]{1,2}_[0-9]{1,2}"),
            Param("resolution", pattern=r"RESOLUTION_[0-9]{3,4}_[0-9]{3,4}"),
            Param("n", "num_images", high=8),
            Param("magic_prompt_option", choices=_MAGIC),
            Param("negative_prompt"),
            _SEED,
            Param("style_type", pattern=r"[A-Z0-9_]{1,32}"),
            Param("color_palette", kind=dict),
        ),
    ),
    unknown_under="image_request",
)


class Ideogram(Adapter):
    """Ideogram's API."""

    id = "ideogram"
    name = "Ideogram"
    base_url = "https://api.ideogram.ai"
    docs = "https://developer.ideogram.ai/v1/api-reference/generate-images/generate-v3"
    tables_by_model = ((_OLD, _BEFORE_V3), (("ideogram-v4", "V_4"), _V4), ("", _V3))
    models = ("ideogram-v3", "ideogram-v4", "V_2A", "V_2A_TURBO", "V_2", "V_2_TURBO", "V_1")
    url_lifetime = 1800
    unconfirmed = (
        "how long URLs last (third parties report about an hour); whether images can be fetched "
        "without a key; seed on ideogram-v4; later models; the format of errors other than a "
        "failed safety check"
    )
    refusal_pattern = re.compile(r"safety check|prohibited content", re.IGNORECASE)

    def sign(self, request: SignableRequest, credentials: Credentials) -> Mapping[str, str]:
        """Return the key as `Api-Key`."""
        del request
        return {"api-key": credentials.api_key}

    def effective_table(self, call: ImageCall) -> Table:
        """Return the table; a transparent background has its own, without styles."""
        table = super().effective_table(call)
        is_transparent = table is _V3 and call.params.get("background") == "transparent"
        return _TRANSPARENT if is_transparent else table

    def suppressed_params(self, call: ImageCall) -> frozenset[str]:
        """Suppress a ratio beside a resolution, since Ideogram refuses both together."""
        table, asked = self.effective_table(call), call.params
        if table in (_V3, _BEFORE_V3) and asked.get("resolution") is not None:
            return frozenset({"size", "aspect_ratio"})
        is_listed = table is _V3 and asked.get("size") in _RESOLUTIONS.split()
        return frozenset({"aspect_ratio"} if is_listed else ())

    def build_request(self, call: ImageCall) -> ProviderRequest:
        """Return the request at the path of the model's generation."""
        name = quote_model(call.model, example=self.models[0])
        if name.startswith(_OLD):
            asked = {"model": name, **call.fields.get("image_request", {})}
            return ProviderRequest("/generate", json={"image_request": asked})
        form = call.multipart_fields
        is_transparent = form.pop("transparent", "") == "true"
        verb = "generate-transparent" if is_transparent else "generate"
        return ProviderRequest(f"/v1/{_generation(name)}/{verb}", form=form)

    def parse_answer(self, call: ImageCall, reply: ProviderReply) -> Answer:
        """Parse the safe images. Raises `Refusal` if there are none."""
        del call
        tree = reply.json()
        if images := tuple(_safe_images(tree)):
            return Answer(images)
        if any(dig(it, "is_image_safe") is False for it in dig_list(tree, "data")):
            raise errors.refusal("no image passed the safety check", provider_status=reply.status)
        if errors.find_error_message(reply):
            raise self.provider_error(reply)
        raise errors.no_image_error(reply.status)


def _generation(name: str) -> str:
    """Return the generation's name in the path, without a tier, in the current spelling.

    >>> _generation("V_3"), _generation("ideogram-v4-turbo"), _generation("ideogram-v5")
    ('ideogram-v3', 'ideogram-v4', 'ideogram-v5')
    """
    known = re.match(r"(?:V_|ideogram-v)([34])(?![0-9])", name)
    return f"ideogram-v{known[1]}" if known else name


def _safe_images(tree: Any) -> Iterator[Image]:
    """Yield the safe images, each with the prompt that was used."""
    for entry in dig_list(tree, "data"):
        url = dig_str(entry, "url")
        if url and dig(entry, "is_image_safe") is not False:
            prompt = dig_str(entry, "prompt") or None
            extra = without_none(revised_prompt=prompt, seed=dig_typed(entry, "seed", kind=int))
            yield Image.from_url(url, **extra)


ADAPTER = Ideogram()
