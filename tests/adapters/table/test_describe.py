"""What is told of parameters, for every provider."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from adapters import PROVIDERS, get_adapter
from adapters.table.describe import describe_model, describe_parameters
from adapters.table.param import STANDARD_PARAMS, Param
from adapters.table.table import Table
from adapters.tools import sizes


def describe(*rows: Param) -> list[dict[str, Any]]:
    return describe_parameters(Table(rows))


def test_a_parameter_of_openais_has_openais_range_and_what_the_provider_can_do_of_it() -> None:
    [compression] = describe(Param("output_compression", "quality", low=20))
    assert (compression["minimum"], compression["provider_minimum"]) == (0, 20)
    assert compression["sent_as"] == "quality"


def test_a_conversion_is_told_by_its_words_or_by_what_it_does() -> None:
    quality, size, prompt = describe(
        Param("quality", convert={"hd": "premium"}),
        Param("size", convert=sizes.ratio(("1:1", "3:2"))),
        Param("prompt", convert=lambda text: {"input": {"text": text}}),
    )
    assert quality["conversion"] == {"hd": "premium"}
    assert size["conversion"] == "the nearest ratio of 1:1, 3:2"
    assert prompt["conversion"]


def test_a_providers_own_parameter_has_its_range_and_default() -> None:
    [steps] = describe(Param("steps", kind=int, low=1, high=50, default=30, note="more is slower"))
    assert steps == {
        "name": "steps",
        "type": "integer",
        "minimum": 1,
        "maximum": 50,
        "default": 30,
        "about": "more is slower",
    }


@pytest.mark.parametrize("provider", PROVIDERS)
def test_every_model_can_be_described_in_json(provider: str) -> None:
    found = get_adapter(provider)
    for model in (*found.models, "never-heard-of-it"):
        page = describe_model(found, model)
        assert orjson.dumps(page)
        names = [one["name"] for one in page["parameters"]]
        assert len(names) == len(set(names))
        assert (
            {"n", "response_format", "stream", "user"} <= set(names) <= {*names, *STANDARD_PARAMS}
        )
