"""Prices of images in US dollars, from a YAML file.

    provider-id:
      model-name: 0.04                 # per image
      other-model: {megapixel: 0.025}  # per million pixels

The longest key that is a prefix of the model's name applies; `""` matches every model.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Any

import msgspec
import yaml

Price = float | Mapping[str, float]
Prices = Mapping[str, Mapping[str, Price]]

_Dollars = Annotated[float, msgspec.Meta(ge=0, lt=1_000_000)]

_MEGAPIXEL = 1_000_000


def load_prices(file: str | Path) -> Prices:
    """Read a price table from a file.

    Raises `OSError`, `yaml.YAMLError`, and `msgspec.ValidationError`, a `ValueError`.
    """
    return _parse(Path(file).read_text(encoding="utf-8"))


@cache
def bundled_prices() -> Prices:
    """Return the price table that is shipped inside the package; raises as `load_prices`."""
    from importlib.resources import files  # noqa: PLC0415 - 4 ms that most commands do not need

    return _parse(files(__package__).joinpath("prices.yaml").read_text(encoding="utf-8"))


def _parse(text: str) -> Prices:
    tree = yaml.load(text, Loader=yaml.CSafeLoader)
    return msgspec.convert(tree or {}, dict[str, dict[str, _Dollars | dict[str, _Dollars]]])


def image_price(prices: Prices, provider: str, model: str, pixels: int | None) -> float | None:
    """Return the price of one image in US dollars, or None if it is unknown.

    >>> table = {"acme": {"flux": 0.04, "flux-2": {"megapixel": 0.02}}}
    >>> image_price(table, "acme", "flux-1", None), image_price(table, "acme", "flux-2", 2_000_000)
    (0.04, 0.04)
    >>> image_price(table, "acme", "flux-2", None), image_price(table, "other", "flux", None)
    (None, None)
    """
    known: Mapping[str, Any] = prices.get(provider) or {}
    found = max((name for name in known if model.startswith(name)), key=len, default=None)
    if found is None:
        return None
    price = known[found]
    if isinstance(price, Mapping):
        by = price.get("megapixel")
        return None if pixels is None or by is None else round(by * pixels / _MEGAPIXEL, 6)
    return float(price)
