"""Case 17: what is no picture, or two things at once, is served from our origin to a browser."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from tests.support.blobs import SVG, blob_gateway
from tests.support.gateway import PNG, always, gateway_to

SCRIPT = b"<script>alert(document.domain)</script>"
PAGES = {
    "a page": b"<!doctype html><html>" + SCRIPT,
    "a page with a drawing": b"<html><svg>" + SCRIPT,
    "a script": b"alert(1)//" + bytes(600),
    "a pdf": b"%PDF-1.7\n" + SCRIPT,
    "a page behind a space": b" \n\t<html>" + SCRIPT,
    "a zip": b"PK\x03\x04" + bytes(60),
    "nothing": b"",
}
POLYGLOTS = {
    "image/gif": b"GIF89a=1;" + SCRIPT,
    "image/png": PNG + SCRIPT,
    "image/jpeg": b"\xff\xd8\xff\xfe\x00\x40" + SCRIPT,
}


@pytest.mark.parametrize("declared", ["image/png", "image/svg+xml", "text/html", ""])
async def test_what_is_no_picture_is_not_kept_whatever_it_calls_itself(
    tmp_path: Path, declared: str
) -> None:
    async with blob_gateway(tmp_path) as ours:
        for name, page in PAGES.items():
            if declared == "image/svg+xml" and page.lstrip().startswith(b"<"):
                continue  # as a drawing it is served: as an attachment, see below
            got = await ours.post(page, declared)
            assert got.status >= 400, name
        assert not [it for it in ours.files if it.stat().st_size]


@pytest.mark.parametrize("media_type", POLYGLOTS)
async def test_a_picture_that_is_a_page_as_well_stays_a_picture(
    tmp_path: Path, media_type: str
) -> None:
    async with blob_gateway(tmp_path) as ours:
        for declared in ("text/html", "image/svg+xml"):
            got = await ours.get(await ours.publish(POLYGLOTS[media_type], declared))
            assert got.headers["content-type"] == media_type
            assert got.headers["x-content-type-options"] == "nosniff"
            assert got.headers["content-security-policy"] == "sandbox; default-src 'none'"


async def test_a_drawing_with_a_script_is_saved_and_not_shown(tmp_path: Path) -> None:
    async with blob_gateway(tmp_path) as ours:
        hostile = SVG.replace(b"/>", b">" + SCRIPT + b"</svg>")
        for drawing in (hostile, b"<!-- x -->" * 60 + hostile):
            got = await ours.get(await ours.publish(drawing, "image/svg+xml"))
            assert got.headers["content-disposition"] == "attachment"
            assert got.headers["content-security-policy"] == "sandbox; default-src 'none'"


async def test_a_provider_cannot_have_a_page_served_from_our_origin() -> None:
    for page in PAGES.values():
        body = {"data": [{"b64_json": base64.b64encode(page).decode()}]}
        async with gateway_to(always(body)) as (ours, _):
            got = await ours.draw(params={"response_format": "url"}, virtual_key="up")
            assert (got.status, got.headers["content-type"]) == (502, "application/json")
