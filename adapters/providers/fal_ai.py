"""fal: each model behind a queue, with one of three kinds of fields.

    POST {base}/{owner}/{app}[/{path}]   JSON -> {"status_url", "response_url"}
    GET  {status_url}                    202 while IN_QUEUE or IN_PROGRESS, 200 when COMPLETED
    GET  {response_url}                  the model's own reply, a success or an error

The two URLs do not contain the model's {path}, so they are taken from the reply. A custom host can
be https://fal.run, which replies with the images directly. `sync_mode` is in no table, because its
images are not stored and could not be fetched from the queue.

>>> from adapters.contract import ImageCall
>>> made = ADAPTER.table_for("fal-ai/flux/dev").translate({"prompt": "a cube", "size": "1536x1024"})
>>> sent = ADAPTER.build_request(ImageCall({"model": "fal-ai/flux/dev"}, made.fields))
>>> sent.path, sent.json
('/fal-ai/flux/dev', {'prompt': 'a cube', 'image_size': {'width': 1536, 'height': 1024}})
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import zip_longest

from adapters import errors
from adapters.bases.polling import PollingAdapter
from adapters.contract import Answer, Credentials, Flow, Image, ImageCall, SignableRequest
from adapters.http import ProviderReply, ProviderRequest
from adapters.table.param import Param
from adapters.table.table import Table
from adapters.tools import sizes
from adapters.tools.json_access import dig, dig_list, dig_str, dig_typed, without_none
from adapters.tools.url_paths import quote_model

_NAMED_SIZES = "square_hd square portrait_4_3 portrait_16_9 landscape_4_3 landscape_16_9"
_FLUX_RATIOS = ("21:9", "16:9", "4:3", "3:2", "1:1", "2:3", "3:4", "9:16", "9:21")
_NANO_RATIOS = ("21:9", "16:9", "3:2", "4:3", "5:4", "1:1", "4:5", "3:4", "2:3", "9:16")
_IMAGEN_RATIOS = ("1:1", "16:9", "9:16", "3:4", "4:3")
_LUMA_RATIOS = ("1:1", "16:9", "9:16", "4:3", "3:4", "21:9", "9:21")
_BRIA_RATIOS = ("1:1", "2:3", "3:2", "3:4", "4:3", "4:5", "5:4", "9:16", "16:9")
_TIERS = {"1K": 1024, "2K": 2048, "4K": 4096}
_QUALITIES = {it: it for it in ("auto", "low", "medium", "high")} | {"standard": "medium"}
_QUALITIES |= dict.fromkeys(("hd", "xhigh", "max"), "high")

_PROMPT, _SEED, _NEGATIVE = Param("prompt"), Param("seed", kind=int), Param("negative_prompt")
_SIMPLE = (_PROMPT, _SEED)
_UP_TO_4 = Param("n", "num_images", high=4)
_FORMAT = Param("output_format", choices=("jpeg", "png"))
_ANY_FORMAT = Param("output_format", choices=("jpeg", "png", "webp"))
_CHECKER = Param("enable_safety_checker", kind=bool)
_UNCHECKED = Param("moderation", "enable_safety_checker", convert={"low": False})
_GUIDANCE = Param("guidance_scale", kind=float, low=0)
_STEPS = Param("num_inference_steps", kind=int, low=1)


def _size(  # noqa: PLR0913 - as for `sizes.pixels`
    *,
    low: int,
    high: int,
    step: int = 1,
    min_pixels: int | None = None,
    max_pixels: int | None = None,
    max_ratio: float | None = None,
) -> tuple[Param, Param]:
    """Return the rows for a size in pixels or as one of fal's names; fal's default is 4:3."""
    exact = sizes.pixels(
        low=low,
        high=high,
        step=step,
        min_pixels=min_pixels,
        max_pixels=max_pixels,
        max_ratio=max_ratio,
        width="image_size.width",
        height="image_size.height",
    )
    return (
        Param("size", convert=exact, default="1024x1024", default_unless=("image_size",)),
        Param("image_size", choices=tuple(_NAMED_SIZES.split())),
    )


def _ratio(ratios: tuple[str, ...], *, default: str | None = None) -> tuple[Param, Param]:
    """Return the rows for a size as a ratio."""
    return (
        Param(
            "size", convert=sizes.ratio(ratios), default=default, default_unless=("aspect_ratio",)
        ),
        Param("aspect_ratio", choices=ratios),
    )


def _tolerance(maximum: int) -> tuple[Param, ...]:
    """Return the rows for moderation; the tolerance is a number as a string."""
    levels = tuple(map(str, range(1, maximum + 1)))
    return (
        Param("moderation", "safety_tolerance", convert={"low": str(maximum)}),
        Param("safety_tolerance", choices=levels),
        _CHECKER,
    )


_DIFFUSION = Table(
    (
        *(*_SIMPLE, _NEGATIVE, _UP_TO_4, _FORMAT, _UNCHECKED, _CHECKER, _STEPS, _GUIDANCE),
        *_size(low=256, high=2048, step=8),
        Param("acceleration"),
    )
)
_FLUX_2 = Table(
    (
        *(*_SIMPLE, _UP_TO_4, _ANY_FORMAT, _UNCHECKED, _CHECKER, _STEPS, _GUIDANCE),
        *_size(low=512, high=2048, step=16),
        Param("acceleration"),
    )
)
_FLUX_2_PRO = Table((*_SIMPLE, _FORMAT, *_tolerance(5), *_size(low=512, high=2048, step=16)))
_PRO = Table(
    (
        *(*_SIMPLE, _UP_TO_4, _FORMAT, *_tolerance(6), *_size(low=256, high=1440, step=32)),
        Param("enhance_prompt", kind=bool),
    )
)
_ULTRA = Table(
    (
        *(*_SIMPLE, _UP_TO_4, _FORMAT, *_tolerance(6)),
        *_ratio(_FLUX_RATIOS, default="1024x1024"),
        Param("raw", kind=bool),
    )
)
_KONTEXT = Table(
    (*_SIMPLE, _FORMAT, *_tolerance(6), *_ratio(_FLUX_RATIOS, default="1024x1024"), _GUIDANCE)
)


def _seedream(min_pixels: int) -> Table:
    return Table(
        (
            *(*_SIMPLE, _UNCHECKED, _CHECKER, Param("n", "num_images", high=6)),
            *_size(low=256, high=4096, min_pixels=min_pixels, max_pixels=4096 * 4096),
            Param("max_images", kind=int, low=1, high=6),
        )
    )


_RECRAFT = Table(
    (
        Param("prompt", high=1000),
        *_size(low=256, high=2048),
        Param("style_preset", "style", note="e.g. realistic_image; vector_illustration gives SVG"),
        Param("style_id"),
        Param("colors", kind=list),
    )
)
_IDEOGRAM = Table(
    (
        *(*_SIMPLE, _NEGATIVE, _UP_TO_4, *_size(low=256, high=2048)),
        Param("rendering_speed", choices=("TURBO", "BALANCED", "QUALITY")),
        Param("expand_prompt", kind=bool),
        Param("style_preset", "style"),
        Param("style_codes", kind=list),
        Param("color_palette", kind=dict),
    )
)
_NANO = Table((*_SIMPLE, _UP_TO_4, _ANY_FORMAT, *_ratio(_NANO_RATIOS)))
_NANO_2 = Table(
    (
        *(*_SIMPLE, _UP_TO_4, _ANY_FORMAT),
        Param("size", convert=sizes.tiers(sizes.ratio(_NANO_RATIOS), _TIERS)),
        Param("aspect_ratio", choices=(*_NANO_RATIOS, "auto")),
        Param("resolution", choices=tuple(_TIERS)),
    )
)


def _gpt(*qualities: str) -> Table:
    """Return the table of an OpenAI model; quality is always sent, as fal's default is `high`."""
    return Table(
        (
            *(_PROMPT, _UP_TO_4, _ANY_FORMAT),
            *_size(
                low=16, high=3840, step=16, min_pixels=655_360, max_pixels=3840 * 2160, max_ratio=3
            ),
            Param(
                "quality", convert={**_QUALITIES, **{it: it for it in qualities}}, default="auto"
            ),
        )
    )


_FAMILIES: tuple[tuple[str | tuple[str, ...], Table], ...] = (
    (("fal-ai/flux-2-pro", "fal-ai/flux-2-max", "fal-ai/flux-2-flex"), _FLUX_2_PRO),
    ("fal-ai/flux-2", _FLUX_2),
    ("fal-ai/flux-pro/v1.1-ultra", _ULTRA),
    ("fal-ai/flux-pro/kontext", _KONTEXT),
    ("fal-ai/flux-pro", _PRO),
    (("fal-ai/bytedance/seedream/v4.5", "fal-ai/bytedance/seedream/v5"), _seedream(2560 * 1440)),
    ("fal-ai/bytedance/seedream/v4", _seedream(960 * 960)),
    ("fal-ai/recraft/", _RECRAFT),
    ("fal-ai/ideogram/", _IDEOGRAM),
    (("fal-ai/nano-banana-2", "fal-ai/nano-banana-pro"), _NANO_2),
    (("fal-ai/nano-banana", "google/nano-banana", "fal-ai/gemini-25-flash-image"), _NANO),
    ("fal-ai/imagen4/", Table((*_SIMPLE, _NEGATIVE, *_ratio(_IMAGEN_RATIOS)))),
    ("fal-ai/luma-photon", Table((_PROMPT, *_ratio(_LUMA_RATIOS, default="1024x1024")))),
    ("bria/", Table((*_SIMPLE, _NEGATIVE, *_ratio(_BRIA_RATIOS)))),
    ("xai/", Table((_PROMPT, *_ratio(_NANO_RATIOS)))),
    ("openai/gpt-image-2.5", _gpt("xhigh", "max")),
    ("openai/", _gpt()),
    ("", _DIFFUSION),
)


class FalAI(PollingAdapter):
    """fal's queue. `fal_webhook` is a query parameter, and no parameter is sent in the query."""

    id = "fal-ai"
    name = "fal"
    base_url = "https://queue.fal.run"
    docs = "https://fal.ai/docs/documentation/model-apis/inference/queue"
    tables_by_model = _FAMILIES
    models = (
        "fal-ai/flux-2-pro",
        "fal-ai/flux-2",
        "fal-ai/flux-2/klein/4b",
        "fal-ai/flux/dev",
        "fal-ai/flux/schnell",
        "fal-ai/flux-pro/v1.1",
        "fal-ai/flux-pro/v1.1-ultra",
        "fal-ai/flux-pro/kontext/text-to-image",
        "fal-ai/flux-pro/kontext/max/text-to-image",
        "fal-ai/nano-banana-2",
        "fal-ai/nano-banana-pro",
        "fal-ai/nano-banana",
        "openai/gpt-image-2",
        "openai/gpt-image-2.5/flare/text-to-image",
        "openai/gpt-image-2.5/sunburst/text-to-image",
        "fal-ai/bytedance/seedream/v4/text-to-image",
        "fal-ai/bytedance/seedream/v4.5/text-to-image",
        "fal-ai/ideogram/v3",
        "fal-ai/recraft/v3/text-to-image",
        "fal-ai/qwen-image",
        "fal-ai/stable-diffusion-v35-large",
        "fal-ai/luma-photon",
        "bria/text-to-image/3.2",
    )
    credential_domains = ("fal.run", "falrun.com")
    url_lifetime = 86_400
    success_state = "COMPLETED"
    unconfirmed = (
        "the size limits of each model; how long the CDN keeps an image (one day is assumed); "
        "the wording of a 403 for an empty balance; background of openai/*; ratios of bria/* and "
        "xai/*; whether every image marked has_nsfw_concepts is black"
    )
    status_by_code = {
        "content_policy_violation": errors.REFUSED,
        # nano-banana's code for a refusal.
        "no_media_generated": errors.REFUSED,
        "auth_error": 401,
        "not_found": 404,
        "generation_timeout": 504,
        "request_timeout": 504,
        "startup_timeout": 504,
        "downstream_service_unavailable": 503,
        "runner_": 503,
        "runner_incomplete_response": 502,
        "runner_server_error": 502,
        "downstream_service_error": 502,
        "internal_": 502,
    }
    status_by_phrase = {"exhausted balance": 402}

    def sign(self, request: SignableRequest, credentials: Credentials) -> Mapping[str, str]:
        """Return the key with the scheme `Key`."""
        del request
        return {"authorization": f"Key {credentials.api_key}"} if credentials.api_key else {}

    def build_request(self, call: ImageCall) -> ProviderRequest:
        """Return the request that enters the queue."""
        path = quote_model(call.model, safe="/", example=self.models[0])
        return ProviderRequest(f"/{path}", json=call.fields)

    def flow(self, call: ImageCall) -> Flow:
        """Poll the queue, then fetch the model's reply, which COMPLETED does not contain."""
        reply = self.raise_for_status((yield self.build_request(call)))
        if status_url := dig_str(reply.json(), "status_url"):
            question = ProviderRequest(url=status_url, method="GET")
            url = dig_str(reply.json(), "response_url")
            reply = yield from self.poll_job(call, reply, question)
            if url:
                reply = self.raise_for_status((yield ProviderRequest(url=url, method="GET")))
        return self.parse_answer(call, reply)

    def build_cancel_request(
        self, call: ImageCall, submitted: ProviderReply
    ) -> ProviderRequest | None:
        """Return the cancellation at the URL in the reply."""
        del call
        url = dig_str(submitted.json(), "cancel_url")
        return ProviderRequest(url=url, method="PUT") if url else None

    def parse_answer(self, call: ImageCall, reply: ProviderReply) -> Answer:
        """Parse the images, without those that the safety checker turned black."""
        tree = reply.json()
        prompt = dig_str(tree, "prompt")
        extra = without_none(
            seed=dig_typed(tree, "seed", kind=int),
            revised_prompt=prompt if prompt and prompt != call.fields.get("prompt") else None,
        )
        found = dig_list(tree, "images") or [dig(tree, "image")]
        marks = dig_list(tree, "has_nsfw_concepts") or dig_list(tree, "nsfw_content_detected")
        images = tuple(
            Image.from_url(url, **extra)
            for it, unsafe in zip_longest(found, marks)
            if unsafe is not True and (url := dig_str(it, "url"))
        )
        if images:
            return Answer(images)
        if True in marks:
            raise errors.refusal("the safety checker marked every image")
        raise errors.no_image_error(reply.status)


ADAPTER = FalAI()
