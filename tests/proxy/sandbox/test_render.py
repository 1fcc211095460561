"""Drawing beside the event loop."""

from __future__ import annotations

import subprocess
import sys
from base64 import b64decode
from collections.abc import Iterator
from io import BytesIO
from typing import Any

import orjson
import pytest
from PIL import Image

from proxy.sandbox.render import RenderPool
from proxy.sandbox.request import SandboxRequest, parse_request


@pytest.fixture
def painters() -> Iterator[RenderPool]:
    threads = RenderPool()
    yield threads
    threads.close()


def order(**params: Any) -> SandboxRequest:
    return parse_request(orjson.dumps({"prompt": "fox", "size": "64x48", **params}))


async def test_n_pictures_are_all_different(painters: RenderPool) -> None:
    assert len(set(await painters.images(order(n=5)))) == 5


async def test_the_first_of_many_is_the_one_alone(painters: RenderPool) -> None:
    assert (await painters.images(order(n=3)))[:1] == await painters.images(order())


async def test_stages_end_with_the_finished_picture(painters: RenderPool) -> None:
    made = await painters.stages(order(stream=True, partial_images=3), 0)
    assert len(made) == 4
    assert made[-1:] == await painters.images(order())


@pytest.mark.parametrize("form", ["png", "jpeg", "webp"])
async def test_every_text_is_a_picture_of_the_asked_form(painters: RenderPool, form: str) -> None:
    asked = order(stream=True, partial_images=1, output_format=form)
    for text in await painters.stages(asked, 0):
        with Image.open(BytesIO(b64decode(text, validate=True))) as image:
            assert (image.format, image.size) == (form.upper(), (64, 48))


def test_pillow_is_not_imported_before_the_first_picture() -> None:
    asked = "import sys, proxy.sandbox; sys.exit('PIL' in sys.modules)"
    subprocess.run([sys.executable, "-c", asked], check=True)  # noqa: S603 - our own words
