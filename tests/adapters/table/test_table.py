"""Tables and their interpreter: what is sent, what is refused, what the receipt says."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.errors import BadParam
from adapters.table.param import STANDARD_PARAMS, Param
from adapters.table.receipt import RECEIPT_LIMIT
from adapters.table.table import Table, UnsupportedPolicy, passthrough_receipt
from adapters.tools import sizes

TABLE = Table(
    (
        Param("prompt", "text", high=100),
        Param("n", "count", high=4),
        Param("size", convert=sizes.ratio(("1:1", "3:2"))),
        Param("quality", "mode", convert={"low": "fast", "high": "slow"}),
        Param("output_format", choices=("png", "jpeg")),
        Param("output_compression", "options.quality", low=20, high=90),
        Param("seed", "options.seed", kind=int, low=0, high=9),
        Param("options", kind=dict),
        Param("steps", kind=int, default=30),
        Param("look", choices=("flat", "deep")),
        Param("strength", kind=float, low=0.5, high=1),
        Param("tags", kind=list, high=2),
        Param("fast", kind=bool),
    ),
    constant={"watermark": False},
)

STEPS = {"steps": 30}


def translate(**params: Any) -> dict[str, Any]:
    """Give what a table makes of parameters, without its constant."""
    return {k: v for k, v in TABLE.translate(params).fields.items() if k != "watermark"}


def receipt(**params: Any) -> str:
    """Write the receipt, without the line on the default."""
    return str(TABLE.translate({"steps": 5, **params}).receipt)


def expect_refusal(policy: UnsupportedPolicy = UnsupportedPolicy.ADAPT, **params: Any) -> BadParam:
    with pytest.raises(BadParam) as caught:
        TABLE.translate(params, policy)
    return caught.value


# What is sent


def test_a_field_has_the_providers_name() -> None:
    assert translate(prompt="a cube") == {"text": "a cube", **STEPS}


def test_a_constant_is_always_sent() -> None:
    assert TABLE.translate({}).fields["watermark"] is False


@pytest.mark.parametrize("silence", [{}, {"steps": None}])
def test_a_default_is_sent_when_the_client_says_nothing(silence: dict[str, Any]) -> None:
    assert translate(**silence) == STEPS


def test_a_default_gives_way_to_the_client() -> None:
    assert translate(steps=5) == {"steps": 5}


def test_a_default_is_sent_when_the_providers_words_lack_the_clients() -> None:
    table = Table(
        (Param("quality", "mode", convert={"high": "slow", "low": "fast"}, default="low"),)
    )
    assert table.translate({"quality": "medium"}).fields == {"mode": "fast"}


def test_a_default_never_covers_another_parameter_with_the_same_field() -> None:
    rows = (
        Param("moderation", "safety", convert={"low": 5, "auto": 2}, default="auto"),
        Param("safety", kind=int),
    )
    assert Table(rows).translate({"safety": 0}).fields == {"safety": 0}


@pytest.mark.parametrize("name", [row.name for row in TABLE.rows])
def test_null_is_as_good_as_absent(name: str) -> None:
    assert TABLE.translate({name: None}) == TABLE.translate({})


def test_n_is_what_the_one_call_shall_make() -> None:
    assert TABLE.translate({"n": 10}, n=4).fields["count"] == 4
    assert "count" not in TABLE.translate({}, n=4).fields


def test_images_per_call_is_the_bound_of_n() -> None:
    assert TABLE.images_per_call == 4
    assert Table((Param("n"),)).images_per_call == 10
    assert Table(()).images_per_call == 1


def test_a_value_that_the_providers_words_lack_is_left_out() -> None:
    assert translate(quality="medium") == STEPS
    assert translate(output_format="webp") == STEPS


def test_a_legal_number_is_brought_within_the_providers_bounds() -> None:
    assert translate(output_compression=100)["options"] == {"quality": 90}
    assert translate(output_compression=0)["options"] == {"quality": 20}


def test_dotted_fields_share_an_object() -> None:
    assert translate(output_compression=50, seed=7)["options"] == {"quality": 50, "seed": 7}


def test_a_default_is_a_clients_value_and_converted_like_one() -> None:
    table = Table((Param("size", convert=sizes.ratio(("1:1", "3:2")), default="1536x1024"),))
    made = table.translate({"size": "auto"})
    assert made.fields == {"aspect_ratio": "3:2"}
    assert str(made.receipt) == "dropped size=auto, defaulted aspect_ratio=3:2"


def test_a_default_is_not_taken_beside_what_says_the_same_in_another_way() -> None:
    size = Param(
        "size", convert=sizes.pixels(low=8, high=99), default="64x64", default_unless=("ratio",)
    )
    assert Table((size, Param("ratio"))).translate({"ratio": "1:1"}).fields == {"ratio": "1:1"}


def test_a_nested_field_is_not_written_into_the_clients_own_object() -> None:
    options = {"a": 1}
    assert translate(options=options, seed=7)["options"] == {"a": 1, "seed": 7}
    assert options == {"a": 1}


def test_what_the_table_does_not_know_is_not_sent() -> None:
    assert translate(webhook_url="https://evil.test", stream=True, user="u") == STEPS


@pytest.mark.parametrize("policy", UnsupportedPolicy)
def test_what_no_row_knows_is_passed_on_only_where_the_policy_says_so(
    policy: UnsupportedPolicy,
) -> None:
    params = (
        {"look": "flat", "turbo": {"a": 1}}
        if policy is not UnsupportedPolicy.STRICT
        else {"user": "u"}
    )
    passed = {"turbo": {"a": 1}} if policy is UnsupportedPolicy.PASS else {}
    made = TABLE.translate({**params, "steps": 5, "user": "u"}, policy)
    assert made.fields.items() >= passed.items()
    assert ("turbo" in made.fields) is bool(passed)
    assert "user" not in made.fields


@pytest.mark.parametrize("name", ["webhook", "webhook_url", "callback_url", "fal_webhook"])
def test_an_address_to_be_called_is_never_passed_on(name: str) -> None:
    made = TABLE.translate({name: "https://evil.test"}, UnsupportedPolicy.PASS)
    assert name not in made.fields
    assert f"dropped {name}" in str(made.receipt)


# What is refused


WRONG: dict[str, tuple[Any, ...]] = {
    "prompt": ("", 7, ["a cube"], "x" * 101),
    "n": (0, 11, 1.5, "2", True),
    "size": ("huge", "1024", "1x1", "1024x", "\u0661024x1024", 1024),
    "quality": ("best", 1, {}),
    "style": ("abstract",),
    "stream": ("true", 1),
    "partial_images": (-1, 4),
    "output_compression": (-1, 101),
    "seed": (-1, 10, 1.5, True),
    "strength": (0.4, 2, "1"),
    "look": ("round", 0),
    "tags": (["a", "b", "c"], "a"),
    "fast": (1, "yes"),
}


@pytest.mark.parametrize("name", ["a\r\nb", "\0", "\x7f"])
def test_a_name_that_would_end_a_line_is_never_passed_on(name: str) -> None:
    assert name not in TABLE.translate({"prompt": "a", name: 1}, UnsupportedPolicy.PASS).fields


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, values in WRONG.items() for value in values]
)
def test_what_is_no_legal_value_is_refused_by_name(name: str, value: Any) -> None:
    error = expect_refusal(**{name: value})
    assert (error.status, error.type, error.param) == (400, "invalid_request_error", name)
    assert f"'{name}'" in error.message


def test_a_wrong_type_has_a_code_of_its_own() -> None:
    assert expect_refusal(seed="7").code == "invalid_type"
    assert expect_refusal(seed=10).code == "invalid_value"


def test_a_whole_number_is_a_number() -> None:
    assert translate(strength=1)["strength"] == 1


def test_a_text_is_never_cut_to_fit() -> None:
    assert expect_refusal(prompt="x" * 101).param == "prompt"


def test_what_no_table_lists_is_held_against_the_contract_too() -> None:
    with pytest.raises(BadParam):
        Table(()).translate({"size": "huge"})


# What strict refuses


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("style", "vivid"), ("quality", "medium"), ("output_format", "webp")),
        *(("guidance", 0), ("webhook_url", "auto"), ("partial_images", 2)),
    ],
)
def test_strict_refuses_what_would_be_left_out(name: str, value: Any) -> None:
    error = expect_refusal(UnsupportedPolicy.STRICT, **{name: value})
    assert (error.status, error.code, error.param) == (400, "unsupported_parameter", name)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("quality", "auto"), ("background", "auto"), ("size", "auto"), ("moderation", "auto")),
        *(("stream", True), ("partial_images", 0), ("response_format", "url")),
        *(("model", "m"), ("n", 3), ("user", "u-1"), ("safety_identifier", "s"), ("style", None)),
    ],
)
def test_strict_lets_pass_what_asks_for_nothing_or_is_ours(name: str, value: Any) -> None:
    TABLE.translate({name: value}, UnsupportedPolicy.STRICT)


def test_strict_lets_a_value_be_said_in_other_words() -> None:
    made = TABLE.translate({"size": "1536x1024", "quality": "high"}, UnsupportedPolicy.STRICT)
    assert made.fields["aspect_ratio"] == "3:2"


@pytest.mark.parametrize(
    ("name", "value", "nearest"),
    [("size", "1792x1024", "aspect_ratio=3:2"), ("output_compression", 100, "quality=90")],
)
def test_strict_refuses_another_meaning_and_names_the_nearest(
    name: str, value: Any, nearest: str
) -> None:
    error = expect_refusal(UnsupportedPolicy.STRICT, **{name: value})
    assert (error.code, error.param) == ("unsupported_parameter", name)
    assert nearest in error.message


def test_strict_names_the_provider() -> None:
    with pytest.raises(BadParam, match="Acme does not support the parameter 'style'"):
        TABLE.translate({"style": "vivid"}, UnsupportedPolicy.STRICT, provider="Acme")


def test_strict_says_what_the_provider_can_do() -> None:
    assert "low, high" in expect_refusal(UnsupportedPolicy.STRICT, quality="medium").message
    assert "png, jpeg" in expect_refusal(UnsupportedPolicy.STRICT, output_format="webp").message


# What the receipt says


@pytest.mark.parametrize(
    ("params", "line"),
    [
        ({"strength": 0.7, "seed": None, "look": "flat"}, ""),
        ({"model": "m", "n": 2, "stream": True, "response_format": "url"}, ""),
        ({"prompt": "a cube"}, "renamed prompt>text"),
        ({"seed": 7}, "renamed seed>options.seed"),
        ({"size": "1536x1024"}, "converted size=1536x1024>aspect_ratio=3:2"),
        ({"size": "1024x1536"}, "rounded size=1024x1536>aspect_ratio=1:1"),
        ({"quality": "high"}, "converted quality=high>mode=slow"),
        ({"output_compression": 100}, "clamped output_compression=100>options.quality=90"),
        ({"size": "auto"}, "dropped size=auto"),
        ({"style": "vivid", "turbo": True}, "dropped style=vivid, dropped turbo=true"),
        ({"webhook_url": "https://a.test"}, "dropped webhook_url"),
        ({"user": "ada@example.org"}, "dropped user"),
    ],
)
def test_a_receipt_says_what_became_of_each(params: dict[str, Any], line: str) -> None:
    assert receipt(**params) == line


def test_a_receipt_names_defaults_and_what_was_passed_on() -> None:
    written = str(
        TABLE.translate({"turbo": 2, "words": "a secret"}, UnsupportedPolicy.PASS).receipt
    )
    assert written == "passed turbo=2, passed words, defaulted steps=30"


def test_a_receipt_never_holds_a_prompt() -> None:
    table = Table(
        (Param("prompt", convert=lambda text: {"inputs": [{"text": text}], "raw": text}),)
    )
    assert str(table.translate({"prompt": "secret"}).receipt) == "renamed prompt>inputs;raw"


@given(st.dictionaries(st.text(), st.none() | st.booleans() | st.integers() | st.text()))
def test_a_receipt_can_stand_in_a_header(params: dict[str, Any]) -> None:
    unknown = {name: value for name, value in params.items() if name not in STANDARD_PARAMS}
    written = str(Table(()).translate(unknown).receipt)
    assert re.fullmatch(r"[A-Za-z0-9_.:*/?=>;, -]*", written)
    assert len(written.encode()) <= RECEIPT_LIMIT


# Two parameters for one field

TIERS = Table(
    (
        Param("prompt", "text"),
        Param("size", convert=lambda _: {"image.ratio": "1:1", "image.tier": "1K"}),
        Param("tier", "image.tier", choices=("1K", "2K")),
        Param("ratio", "image.ratio"),
        Param("image", kind=dict),
    ),
    constant={"image.kind": "png"},
)


@pytest.mark.parametrize(
    ("params", "image", "lines"),
    [
        (
            {"size": "1024x1024", "tier": "2K"},
            {"ratio": "1:1", "tier": "2K"},
            "converted size=1024x1024>image.ratio=1:1, renamed tier>image.tier",
        ),
        (
            {"tier": "2K", "size": "1024x1024"},
            {"ratio": "1:1", "tier": "1K"},
            "dropped tier=2K, converted size=1024x1024>image.ratio=1:1;image.tier=1K",
        ),
        (
            {"tier": "2K", "image": {"ratio": "3:2"}},
            {"ratio": "3:2", "tier": "2K"},
            "renamed tier>image.tier",
        ),
        (
            {"image": {"ratio": "3:2"}, "ratio": "1:1"},
            {"ratio": "1:1"},
            "dropped image, renamed ratio>image.ratio",
        ),
        ({"image": {"kind": "gif"}}, {}, "dropped image"),
    ],
)
def test_of_two_that_say_one_field_the_later_counts_and_the_receipt_says_so(
    params: dict[str, Any], image: dict[str, Any], lines: str
) -> None:
    made = TIERS.translate(params)
    assert made.fields == {"image": {**image, "kind": "png"}}
    assert str(made.receipt) == lines


def test_two_that_say_the_same_are_both_right() -> None:
    made = TIERS.translate({"tier": "1K", "size": "1024x1024"}, UnsupportedPolicy.STRICT)
    assert "dropped" not in str(made.receipt)


@pytest.mark.parametrize("params", [{"size": "1x1", "tier": "2K"}, {"tier": "2K", "size": "1x1"}])
def test_strict_refuses_two_that_contradict_each_other(params: dict[str, str]) -> None:
    asked = {name: value.replace("1x1", "1024x1024") for name, value in params.items()}
    with pytest.raises(BadParam) as caught:
        TIERS.translate(asked, UnsupportedPolicy.STRICT)
    assert caught.value.param == next(iter(asked))


def test_a_default_gives_way_to_a_text_where_its_object_would_be() -> None:
    size = Param("size", convert=lambda _: {"image.width": 8}, default="64x64")
    made = Table((size, Param("image"))).translate({"image": "square"})
    assert made.fields == {"image": "square"}


# What no row knows, under pass


def test_what_no_row_knows_goes_into_the_object_that_is_for_it() -> None:
    table = Table((Param("seed", "options.seed", kind=int),), unknown_under="options")
    made = table.translate({"seed": 7, "turbo": True, "options": {"a": 1}}, UnsupportedPolicy.PASS)
    assert made.fields == {"options": {"a": 1, "seed": 7, "turbo": True}}
    assert str(made.receipt) == "renamed seed>options.seed, passed turbo=true, passed options"


@pytest.mark.parametrize(
    ("table", "name"),
    [
        (Table((), reserved=frozenset({"headers"})), "headers"),
        (Table((), closed=True), "anything"),
        (Table((), constant={"kind": "png"}), "kind"),
        (Table((Param("seed", "options.seed", kind=int),)), "options"),
        (Table((Param("prompt", "text"),)), "text"),
        (Table(()), "a.b"),
    ],
)
def test_what_has_no_place_of_its_own_is_dropped(table: Table, name: str) -> None:
    made = table.translate({"prompt": "a cube", name: "mine"}, UnsupportedPolicy.PASS)
    assert "mine" not in str(made.fields)
    assert f"dropped {name}" in str(made.receipt)


def test_an_address_to_be_called_is_not_passed_on_deep_inside_either() -> None:
    asked = {"extra": [{"webhook": {"url": "https://evil.test"}}]}
    assert Table(()).translate(asked, UnsupportedPolicy.PASS).fields == {}


@pytest.mark.parametrize("policy", UnsupportedPolicy)
def test_what_is_nested_too_deeply_is_refused_by_name(policy: UnsupportedPolicy) -> None:
    deep: Any = 1
    for _ in range(500):
        deep = {"a": [deep]}
    for name in ("options", "never_heard_of"):
        assert expect_refusal(policy, **{name: deep}).param == name


# What is withheld, or so anyway


def test_what_is_withheld_is_not_sent_and_has_no_default() -> None:
    table = Table((Param("seed", kind=int), Param("size", default="64x64")))
    made = table.translate({"seed": 7}, suppressed=frozenset({"seed", "size"}))
    assert (made.fields, str(made.receipt)) == ({}, "dropped seed=7")
    with pytest.raises(BadParam):
        table.translate({"seed": 7}, UnsupportedPolicy.STRICT, suppressed=frozenset({"seed"}))


def test_strict_leaves_nothing_out_that_the_provider_would_get() -> None:
    with pytest.raises(BadParam, match="Acme"):
        passthrough_receipt({"file": "a"}, {"file"}, UnsupportedPolicy.STRICT, "Acme")


def test_what_is_so_anyway_is_neither_sent_nor_dropped() -> None:
    table = Table((Param("output_format", choices=("svg",), implied=("svg",)),))
    made = table.translate({"output_format": "svg"}, UnsupportedPolicy.STRICT)
    assert (made.fields, made.receipt.lines) == ({}, ())
    assert str(table.translate({"output_format": "png"}).receipt) == "dropped output_format=png"


# Any call


@given(
    st.fixed_dictionaries(
        {},
        optional={
            row.name: st.none() | st.booleans() | st.integers(-5, 200) | st.text(max_size=5)
            for row in (*TABLE.rows, *STANDARD_PARAMS.values())
        },
    )
)
def test_any_call_is_translated_or_refused_by_name(params: dict[str, Any]) -> None:
    try:
        TABLE.translate(params)
    except BadParam as error:
        assert error.param in params  # noqa: PT017 - either outcome is right
