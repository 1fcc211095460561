"""Parses and validates the body of a sandbox request.

Types and ranges are OpenAI's; the table here adds the sandbox's own limits and the fault
parameters. Any other parameter is ignored.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import orjson

from adapters.errors import BadParam, ImageError
from adapters.table.param import STANDARD_PARAMS, Param, validate
from adapters.tools import sizes
from proxy.sandbox.faults import PARAMS, FaultScript

MIN_SIDE: Final = 16
MAX_SIDE: Final = 3840
"""Pixels of one side."""
MAX_PIXELS: Final = 8_294_400

_PARAMS: dict[str, Param] = STANDARD_PARAMS | {
    row.name: row for row in (Param("output_format", choices=("png", "jpeg", "webp")), *PARAMS)
}
_DEFAULTS: dict[str, Any] = {
    "model": "",
    "n": 1,
    "size": "auto",
    "quality": "auto",
    "style": "vivid",
    "background": "auto",
    "output_format": "png",
    "output_compression": 100,
    "stream": False,
    "partial_images": 0,
}
# `auto`, and older names of a quality.
_QUALITY_ALIASES = {"auto": "medium", "standard": "medium", "hd": "high"}
_AUTO_SIZE = (1024, 1024)


@dataclass(frozen=True)
class SandboxRequest:
    """A request with every choice made: nothing here is `auto`."""

    prompt: str
    model: str
    n: int
    width: int
    height: int
    quality: str
    style: str
    transparent: bool
    output_format: str
    compression: int
    stream: bool
    partials: int
    faults: FaultScript

    @property
    def size(self) -> str:
        """The images' size as OpenAI writes it."""
        return f"{self.width}x{self.height}"

    @property
    def background(self) -> str:
        """The images' background as OpenAI writes it."""
        return "transparent" if self.transparent else "opaque"

    @cached_property
    def digest(self) -> str:
        """The SHA-256 of what determines the images' content, not their delivery: their seed."""
        seen = {
            "background": self.background,
            "model": self.model,
            "prompt": self.prompt,
            "quality": self.quality,
            "size": self.size,
            "style": self.style,
        }
        return hashlib.sha256(orjson.dumps(seen)).hexdigest()


def parse_request(body: bytes) -> SandboxRequest:
    """Parse a request body. Raises `ImageError` if it is invalid."""
    params = _DEFAULTS | _parse_body(body)
    width, height = _parse_size(params["size"])
    request = SandboxRequest(
        prompt=params["prompt"],
        model=params["model"],
        n=params["n"],
        width=width,
        height=height,
        quality=_QUALITY_ALIASES.get(params["quality"], params["quality"]),
        style=params["style"],
        transparent=params["background"] == "transparent",
        output_format=params["output_format"],
        compression=params["output_compression"],
        stream=params["stream"],
        partials=params["partial_images"],
        faults=FaultScript.from_params(params),
    )
    _check_combinations(request)
    return request


def _parse_body(body: bytes) -> dict[str, Any]:
    """Parse the body and validate each parameter; nulls are dropped."""
    try:
        tree = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise _bad_body(f"The body is not JSON: {error}.") from error
    if not isinstance(tree, dict):
        raise _bad_body("The body must be a JSON object.")
    params = {name: value for name, value in tree.items() if value is not None}
    for name, value in params.items():
        validate(name, value, _PARAMS.get(name))
    if "prompt" not in params:
        raise BadParam(
            "prompt",
            "'prompt' is required.",
            code="missing_required_parameter",
        )
    return params


def _bad_body(message: str) -> ImageError:
    return ImageError(message, status=400, type="invalid_request_error", code="invalid_json")


def _parse_size(size: str) -> tuple[int, int]:
    """Return width and height, within the sandbox's limits."""
    width, height = sizes.parse_size(size) or _AUTO_SIZE
    if not all(MIN_SIDE <= side <= MAX_SIDE for side in (width, height)):
        raise BadParam("size", f"'size' must have sides of {MIN_SIDE} to {MAX_SIDE} pixels.")
    if width * height > MAX_PIXELS:
        raise BadParam("size", f"'size' must have at most {MAX_PIXELS} pixels.")
    return width, height


def _check_combinations(request: SandboxRequest) -> None:
    """Reject parameters that are valid alone and contradict each other."""
    if request.transparent and request.output_format == "jpeg":
        raise BadParam(
            "background", "A jpeg cannot be transparent: send 'output_format' png or webp."
        )
    if request.partials and not request.stream:
        raise BadParam("partial_images", "'partial_images' needs 'stream': true.")
