"""Replies about a job that are damaged, or cannot be read, on the wire."""

from __future__ import annotations

import pytest
from aiohttp import web

from tests.support.gateway import PNG, gateway, provider

UP = {"virtual_key": "up"}
GRAPH = '{"1": {"class_type": "Sampler", "inputs": {"text": "{{prompt}}"}}}'
OUTPUTS = b'"outputs": {"9": {"images": [{"filename": "a.png", "type": "output"}]}}'


class ComfyUI:
    """A server whose jobs have finished, with this history; images have the content type."""

    def __init__(self, history: bytes, history_type: str, image_type: str) -> None:
        self.history, self.history_type, self.image_type = history, history_type, image_type
        self.polls = 0

    async def reply(self, request: web.Request) -> web.Response:
        if request.path == "/prompt":
            return web.json_response({"prompt_id": "job"})
        if request.path == "/view":
            headers = {"content-type": self.image_type} if self.image_type else {}
            return web.Response(body=PNG, headers=headers)
        self.polls += 1
        return web.Response(body=self.history, content_type=self.history_type)


def settings(url: str) -> str:
    stored = f"provider: comfyui, custom_host: '{url}', comfyui_workflow: '{GRAPH}'"
    return f"virtual_keys: {{up: {{{stored}}}}}\n"


@pytest.mark.parametrize("damage", [b"NaN", b"Infinity", b'"a \\ud83d"', b'"\xff"'])
async def test_a_finished_job_is_delivered_although_its_history_is_damaged(damage: bytes) -> None:
    history = b'{"job": {' + OUTPUTS + b', "prompt": [{"is_changed": [' + damage + b"]}]}}"
    for image_type in ("application/octet-stream", "text/plain", "image/png", ""):
        server = ComfyUI(history, "application/json", image_type)
        async with provider(server.reply) as fake, gateway(settings(fake.url)) as ours:
            got = await ours.draw(params={"response_format": "b64_json"}, **UP)
            assert got.status == 200, (damage, image_type, got.body)
            assert server.polls == 1


async def test_a_page_in_place_of_the_history_is_a_clear_error_after_three_polls() -> None:
    pages: tuple[tuple[bytes, str], ...] = (
        (b"<html><title>Sign in</title></html>", "text/html"),
        (b"", "text/plain"),
        (b'{"job": {"outputs": ', "application/json"),
    )
    for body, kind in pages:
        server = ComfyUI(body, kind, "image/png")
        async with provider(server.reply) as fake, gateway(settings(fake.url)) as ours:
            got = await ours.draw(**UP)
            assert (got.status, got.error["code"]) == (502, "unreadable_status"), body
            assert server.polls == 3, body
            assert got.headers["x-should-retry"] == "false", body
