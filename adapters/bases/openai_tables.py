"""The parameters of OpenAI's own models, for the documentation only.

Passthrough providers get every parameter as sent; these tables neither convert nor check anything.

Sources: https://platform.openai.com/docs/api-reference/images/create; for the range of pixels
https://learn.microsoft.com/en-us/azure/ai-foundry/openai/how-to/dall-e
"""

from __future__ import annotations

from adapters.table.param import STANDARD_PARAMS, Param
from adapters.table.table import Table, TablesByModel

_THREE = ("1024x1024", "1536x1024", "1024x1536")
_LANDSCAPE = ("1024x1024", "1792x1024", "1024x1792")
_SQUARE = ("256x256", "512x512", "1024x1024")
_LEVELS = ("auto", "low", "medium", "high")

_ANY = Param(
    "size",
    note="auto, or sides in steps of 16 up to 3840, 655,360 to 8,294,400 pixels in all, ratios "
    "from 1:3 to 3:1; above 2560x1440 experimental",
)
_FROM_A_LIST = Param("size", choices=("auto", *_THREE))
_AS_URL = Param("response_format", choices=("url", "b64_json"), note="url by default")
_GIF = (
    Param("frame_count", kind=int, low=2, high=16, note="of a gif; 9 by default"),
    Param("frame_duration_ms", kind=int, low=1, note="of a gif; 200 by default"),
)
_SVG = Param("svg", kind=dict, note="model and reasoning effort, for output_format svg")
_NEWER = (Param("complexity", choices=("low", "medium", "high")), *_GIF, _SVG)


def build_tables(*formats: str, newer: tuple[Param, ...] = _NEWER) -> TablesByModel:
    """Return the tables of all model families.

    `formats` are the output formats of the service. `newer` are the additional parameters that the
    newest models have there.
    """
    more = ("xhigh", "max") if newer else ()
    listed = Param("output_format", choices=formats)
    still = Param("output_format", choices=tuple(it for it in formats if it not in ("gif", "svg")))
    return (
        ("gpt-image-2.", _gpt_image(_ANY, listed, *newer, more=more)),
        ("gpt-image-2", _gpt_image(_ANY, still)),
        (("gpt-image-1", "chatgpt-image-"), _gpt_image(_FROM_A_LIST, still)),
        ("dall-e-3", _dall_e(4000, 1, _LANDSCAPE, ("standard", "hd"), "style")),
        ("dall-e-2", _dall_e(1000, 10, _SQUARE, ("standard",))),
        ("", Table(tuple(row for row in STANDARD_PARAMS.values() if row.name != "model"))),
    )


def _gpt_image(size: Param, *rows: Param, more: tuple[str, ...] = ()) -> Table:
    return Table(
        (
            Param("prompt", high=32_000),
            Param("n", high=10),
            size,
            Param("quality", choices=(*_LEVELS, *more)),
            Param(
                "background",
                choices=("auto", "transparent", "opaque"),
                note="transparent: not in jpeg",
            ),
            Param("moderation", choices=("auto", "low")),
            *rows,
            Param("output_compression", note="of jpeg and webp; 100 by default"),
            Param("stream", kind=bool),
            Param("partial_images", high=3, note="with stream; 0 by default"),
            Param("user", note="replaced by safety_identifier"),
            Param("safety_identifier"),
        )
    )


def _dall_e(
    prompt: int, n: int, offered: tuple[str, ...], qualities: tuple[str, ...], *others: str
) -> Table:
    return Table(
        (
            Param("prompt", high=prompt),
            Param("n", high=n),
            Param("size", choices=offered),
            Param("quality", choices=qualities),
            *(Param(name) for name in others),
            _AS_URL,
            Param("user"),
        )
    )
