"""The price table: the longest prefix applies, and an unknown price is not guessed."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

import adapters
from proxy.settings.prices import Prices, bundled_prices, image_price, load_prices

TABLE: Prices = {
    "acme": {"": 0.01, "flux": 0.04, "flux-2": {"megapixel": 0.02}, "odd": {"hour": 1.0}}
}


@pytest.mark.parametrize(
    ("model", "pixels", "price"),
    [
        *(("flux", None, 0.04), ("flux-1", None, 0.04), ("other", None, 0.01), ("", None, 0.01)),
        *(("flux-2-pro", 1024 * 1024, 0.020972), ("flux-2-pro", None, None), ("odd", 1, None)),
    ],
)
def test_the_longest_name_counts(model: str, pixels: int | None, price: float | None) -> None:
    assert image_price(TABLE, "acme", model, pixels) == price


def test_nobody_has_a_price_that_the_table_does_not_give() -> None:
    assert image_price(TABLE, "other", "flux", 1) is None
    assert image_price({"acme": {"flux": 0.04}}, "acme", "sd", 1) is None


def test_the_table_that_comes_along_is_of_providers_and_positive_prices() -> None:
    prices = bundled_prices()
    assert prices.keys() <= set(adapters.PROVIDERS)
    for models in prices.values():
        for price in models.values():
            [value] = price.values() if isinstance(price, dict) else [price]
            assert 0 < value < 5  # type: ignore[operator]  # a number, or the test fails


def test_a_table_of_ones_own_is_read_and_a_broken_one_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("acme: {flux: 0.5}")
    assert image_price(load_prices(str(tmp_path / "mine.yaml")), "acme", "flux", None) == 0.5
    (tmp_path / "broken.yaml").write_text("acme: {")
    with pytest.raises(yaml.YAMLError):
        load_prices(str(tmp_path / "broken.yaml"))


MISTAKES = [
    *("[1]", "a: [1]", "a: {m: free}", "a: {m: null}", "a: {5: 1}", "a: {m: .nan}", "a: {m: .inf}"),
    *("a: {m: -1}", "a: {m: {megapixel: x}}"),
]


@pytest.mark.parametrize("text", MISTAKES)
def test_a_table_that_is_none_is_found_when_it_is_read(text: str, tmp_path: Path) -> None:
    file = tmp_path / "prices.yaml"
    file.write_text(text)
    with pytest.raises(ValueError, match=r"."):
        load_prices(str(file))
