"""Replicate: one endpoint for all models, each with its own input.

    POST {base}/models/{owner}/{name}/predictions          an official model, `owner/name`
    POST {base}/predictions                                `owner/name:version`, or a version alone
    POST {base}/deployments/{owner}/{name}/predictions     `deployments/owner/name`
    GET  {urls.get}                                        polling, unless the prediction has finish

The client's object `input` is merged into the model's input unchanged and overrides the table's
fields, so it can contain every parameter of a model.

>>> from adapters.contract import ImageCall
>>> body = {"model": "luma/photon", "prompt": "a cube", "input": {"style_reference_weight": 0.5}}
>>> made = ADAPTER.table_for("luma/photon").translate(body)
>>> sent = ADAPTER.build_request(ImageCall(body, made.fields))
>>> sent.path, sent.json
('/models/luma/photon/predictions', {'input': {'prompt': 'a cube', 'style_reference_weight': 0.5}})
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from adapters import errors
from adapters.bases.polling import PollingAdapter
from adapters.contract import Image, ImageCall
from adapters.http import ProviderReply, ProviderRequest
from adapters.table.param import Approximation, Param
from adapters.table.table import Table
from adapters.tools import sizes
from adapters.tools.json_access import dig, dig_str, find_urls
from adapters.tools.url_paths import quote_model

_EXAMPLE = "black-forest-labs/flux-schnell"
_VERSION = re.compile(r"[0-9a-f]{64}|[^/:]+/[^/:]+:[^/:]+")

_RATIOS = ("1:1", "16:9", "9:16", "3:2", "2:3", "4:3", "3:4")
_FLUX_RATIOS = (*_RATIOS, "4:5", "5:4", "21:9", "9:21")
_SD_RATIOS = ("1:1", "16:9", "9:16", "3:2", "2:3", "4:5", "5:4", "21:9", "9:21")
_LUMA_RATIOS = ("1:1", "16:9", "9:16", "4:3", "3:4", "21:9", "9:21")
_RECRAFT_SIZES = (
    "1024x1024 2048x1024 1024x2048 1536x1024 1024x1536 1365x1024 1024x1365 1280x1024 1024x1280 "
    "1024x1707 1707x1024 1434x1024 1024x1434 1820x1024 1024x1820"
)
_SIZED = {"aspect_ratio", "width", "height", "size", "resolution"}
"""Inputs that set the size."""
_SEEDREAM_MIN_PIXELS = 2560 * 1440


def _custom(high: int) -> sizes.Converter:
    """Return a converter to pixels, for models whose `aspect_ratio` can be `custom`."""
    exact = sizes.pixels(low=256, high=high, step=32)

    def convert(width: int, height: int) -> dict[str, Any]:
        made = exact.convert(width, height)
        return type(made)({"aspect_ratio": "custom", **made})

    return sizes.Converter(exact.description, convert)


def _seedream(width: int, height: int) -> dict[str, Any]:
    """Return a size of 2K and above in pixels, a smaller one as a ratio at 2K."""
    made = sizes.pixels(low=1024, high=4096).convert(width, height)
    if made["width"] * made["height"] >= _SEEDREAM_MIN_PIXELS:
        return type(made)({"size": "custom", **made})
    return Approximation({"size": "2K", **sizes.ratio(_RATIOS).convert(width, height)})


def _safety(maximum: int) -> tuple[Param, Param]:
    """Return the rows for moderation; `low` becomes the family's maximum tolerance."""
    return (
        Param("moderation", "safety_tolerance", convert={"low": maximum}),
        Param("safety_tolerance", kind=int, low=1, high=maximum),
    )


_UNCHECKED = (
    Param("moderation", "disable_safety_checker", convert={"low": True}),
    Param("disable_safety_checker", kind=bool),
)
_FORMAT = (
    Param("output_format", convert={"png": "png", "jpeg": "jpg", "webp": "webp"}),
    Param("output_compression", "output_quality"),
    Param("output_quality", kind=int, low=0, high=100),
)


def _table(size: sizes.Converter, *rows: Param) -> Table:
    return Table((*_ANY, Param("size", convert=size), _RATIO, *rows))


_RATIO = Param("aspect_ratio", pattern=r"\d{1,3}:\d{1,3}|custom|match_input_image")
_ANY = (Param("prompt"), Param("seed", kind=int), Param("input", kind=dict))
_FLUX_1 = _table(
    sizes.ratio(_FLUX_RATIOS),
    *(*_FORMAT, *_UNCHECKED),
    Param("n", "num_outputs", high=4),
    Param("megapixels", choices=("1", "0.25")),
    Param("num_inference_steps", kind=int, low=1),
    Param("guidance", kind=float, low=0),
    Param("go_fast", kind=bool),
)
_PRO = _table(
    _custom(1440),
    *(*_FORMAT, *_safety(6)),
    Param("prompt_upsampling", kind=bool),
    Param("image_prompt"),
)
_ULTRA = _table(
    sizes.ratio(_FLUX_RATIOS),
    *_safety(6),
    Param("output_format", convert={"png": "png", "jpeg": "jpg"}),
    Param("raw", kind=bool),
)
_FLUX_2 = _table(
    _custom(2048), *_FORMAT, *_safety(5), Param("input_images", kind=list), Param("resolution")
)
_FAMILIES = (
    (("black-forest-labs/flux-schnell", "black-forest-labs/flux-dev"), _FLUX_1),
    ("black-forest-labs/flux-1.1-pro-ultra", _ULTRA),
    (("black-forest-labs/flux-1.1-pro", "black-forest-labs/flux-pro"), _PRO),
    ("black-forest-labs/flux-2-", _FLUX_2),
    (
        "bytedance/seedream-4.5",
        _table(
            sizes.Converter("pixels from 2K up, a ratio at 2K below", _seedream),
            *_UNCHECKED,
            Param("image_input", kind=list),
            Param(
                "sequential_image_generation", note="auto: as many images as the prompt asks for"
            ),
            Param("max_images", kind=int, low=1, high=15),
        ),
    ),
    (
        "recraft-ai/recraft-v3",
        _table(sizes.nearest_size(_RECRAFT_SIZES.split()), Param("recraft_style", "style")),
    ),
    ("stability-ai/stable-diffusion-3.5-", _table(sizes.ratio(_SD_RATIOS))),
    ("luma/photon", _table(sizes.ratio(_LUMA_RATIOS))),
    # Its sizes are named.
    (
        "ideogram-ai/ideogram-v4-",
        Table(
            (*_ANY, Param("resolution"), Param("enable_copyright_detection", kind=bool)),
        ),
    ),
    ("", _table(sizes.ratio(_RATIOS))),
)


class Replicate(PollingAdapter):
    """Replicate's predictions. Webhooks are in no table, so they are never sent."""

    id = "replicate"
    name = "Replicate"
    base_url = "https://api.replicate.com/v1"
    docs = "https://replicate.com/docs/reference/http"
    tables_by_model = _FAMILIES
    models = (
        "black-forest-labs/flux-schnell",
        "black-forest-labs/flux-dev",
        "black-forest-labs/flux-1.1-pro",
        "black-forest-labs/flux-1.1-pro-ultra",
        "black-forest-labs/flux-2-pro",
        "black-forest-labs/flux-2-flex",
        "black-forest-labs/flux-2-dev",
        "bytedance/seedream-4.5",
        "recraft-ai/recraft-v3",
        "ideogram-ai/ideogram-v4-turbo",
        "stability-ai/stable-diffusion-3.5-large",
        "luma/photon",
        "qwen/qwen-image",
    )
    credential_domains = ("replicate.com",)
    url_lifetime = 3600
    success_state, failed_states = "succeeded", frozenset({"failed", "canceled", "aborted"})
    poll_interval = 0.5
    refusal_pattern = re.compile(r"nsfw|sensitive|flagged|safety|E005", re.IGNORECASE)
    unconfirmed = (
        "ratios of models without a table; safety_tolerance of flux-2-*; invalid_fields in a 422; "
        "whether outputs can be data: URLs; Retry-After on every 429"
    )

    def suppressed_params(self, call: ImageCall) -> frozenset[str]:
        """Suppress parameters that the client's own `input` overrides."""
        own = call.params.get("input")
        if not isinstance(own, dict):
            return frozenset()
        rows = self.effective_table(call).rows
        names = {row.name for row in rows if row.target in own and row.name != "input"}
        return frozenset(names | {"size"} if own.keys() & _SIZED else names)

    def build_request(self, call: ImageCall) -> ProviderRequest:
        """Return the request for a prediction, which Replicate answers after up to a minute."""
        made = dict(call.fields)
        extra = made.pop("input", {})
        body: dict[str, Any] = {"input": {**made, **extra}}
        path = quote_model(call.model, safe="/", example=_EXAMPLE)
        if _VERSION.fullmatch(call.model):
            path, body["version"] = "", call.model
        elif path.count("/") == 1:
            path = f"/models/{path}"
        elif re.fullmatch(r"deployments/[^/]+/[^/]+", path):
            path = f"/{path}"
        else:
            raise errors.BadParam(
                "model", f"Replicate's models are owner/name, such as {_EXAMPLE}."
            )
        return ProviderRequest(f"{path}/predictions", headers={"prefer": "wait"}, json=body)

    def build_poll_request(self, call: ImageCall, reply: ProviderReply) -> ProviderRequest | None:
        """Return the poll of the prediction; None if it has finished."""
        del call
        url = dig_str(reply.json(), "urls", "get")
        waits = url and not self.is_finished(reply)
        return ProviderRequest(url=url, method="GET") if waits else None

    def build_cancel_request(
        self, call: ImageCall, submitted: ProviderReply
    ) -> ProviderRequest | None:
        """Return the cancellation at the URL in the prediction."""
        del call
        url = dig_str(submitted.json(), "urls", "cancel")
        return ProviderRequest(url=url) if url else None

    def parse_images(self, reply: ProviderReply) -> Iterable[Image]:
        """Return the images; the output is a URL, or a list or object of URLs."""
        return map(Image.from_url, find_urls(dig(reply.json(), "output")))

    def provider_error(self, reply: ProviderReply) -> errors.ProviderError:
        """Return the error; only a failed prediction can be a refusal.

        A rejected request may name an input such as `safety_tolerance`, and is not a refusal.
        """
        if reply.ok:
            return super().provider_error(reply)
        field = dig_str(reply.json(), "invalid_fields", 0, "field")
        return errors.error_from_reply(reply, param=field.removeprefix("input.") or None)


ADAPTER = Replicate()
