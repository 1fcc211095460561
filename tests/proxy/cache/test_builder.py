"""The entry of an answer: what of it lasts, what it cost, how long its URLs are given on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from adapters import adapter
from adapters.contract import Answer, Credentials, Image
from adapters.table.receipt import Line, Receipt
from adapters.tools.image_header import Measured
from proxy.cache.builder import Made
from proxy.cache.entry import DEFAULT_DOLLARS, Entry, Picture
from proxy.cache.images import Arrived
from proxy.routing.attempt import Attempt
from proxy.routing.plan import Plan, Target
from proxy.settings.policies import CachePolicy
from proxy.settings.prices import Prices, read

POLICY = CachePolicy("simple", max_age=60)
TARGET = Target(adapter("openai"), Credentials("key"), "https://api.openai.com/v1", cache=POLICY)
ARRIVED = Arrived("", "1" * 64, 100, Measured("image/png", 1000, 1000))
NO_PRICES: Prices = {}


def made(*images: Image, model: str = "", prices: Prices = NO_PRICES, **about: Any) -> Entry:
    plan = Plan(TARGET, {}, caller="web", cache_namespace="ns")
    lines = (
        Line("dropped", "style"),
        Line("measured", "1"),
        Line("converted", "n", "2", "calls=2"),
    )
    attempt = Attempt(TARGET, {"model": model}, None, receipt=Receipt(lines))
    answers = [Answer((image,), extra=about.get("extra", {})) for image in images]
    one = Made(plan, attempt, answers, about.get("known"), None, prices, 1000.0, 5.0)
    return one.entry([ARRIVED] * len(images))


def test_it_is_the_callers_and_ends_when_the_config_says() -> None:
    entry = made(Image(data=b"1"))
    assert (entry.caller, entry.namespace, entry.expires) == ("web", "ns", 1060)
    assert entry.seconds == 5


def test_of_a_receipt_what_was_said_of_parameters_lasts() -> None:
    assert list(map(str, made(Image(data=b"1")).receipt)) == ["dropped style"]


def test_a_url_is_given_on_for_half_its_life() -> None:
    entry = made(Image(url="https://a.test", extra={"seed": 1}))
    [picture] = entry.pictures
    assert (picture.url, picture.extra) == ("https://a.test", {"seed": 1})
    assert picture.url_until == 1000 + TARGET.adapter.url_lifetime / 2
    assert entry.by_url
    assert not made(Image(data=b"1")).by_url


def test_it_was_made_when_the_provider_says_or_else_now() -> None:
    told = made(Image(data=b"1"), extra={"created": 7, "size": "1x1"})
    assert (told.created, told.extra) == (7, {"size": "1x1"})
    assert made(Image(data=b"1")).created > 1_700_000_000


def test_each_picture_costs_what_the_prices_say_or_else_something(tmp_path: Path) -> None:
    prices = tmp_path / "prices.yaml"
    prices.write_text("openai: {a: 0.5, b: {megapixel: 0.25}}")
    two = (Image(data=b"1"), Image(data=b"2"))
    costs = [made(*two, model=name, prices=read(prices)).dollars for name in ("a", "b", "c")]
    assert costs == [1.0, 0.5, 2 * DEFAULT_DOLLARS]


def test_what_was_known_comes_first_and_counts() -> None:
    known = Entry((Picture("0" * 64, 1, Measured("")),), 0, seconds=3)
    entry = made(Image(data=b"1"), known=known)
    assert [it.digest[0] for it in entry.pictures] == ["0", "1"]
    assert entry.seconds == 8
