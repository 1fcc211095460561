"""The whole application: one error format on every route."""

from __future__ import annotations

import gzip
import re
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import orjson
import pytest

from proxy.app import make_app
from proxy.jobs.keys import JOBS
from proxy.middlewares.auth import PUBLIC_ROUTES
from proxy.observability.access_log import ACCESS_LOG
from proxy.settings.loader import parse
from tests.support.gateway import KEY, OURS, PATH, SETTINGS, Answered, Gateway, gateway

SMALL = "limits: {body_bytes: 2048}\nvirtual_keys: {box: {provider: sandbox}}"
PROMPT = "sekret-prompt"
GOOD = orjson.dumps({"prompt": PROMPT, "size": "64x64"})
LARGE = orjson.dumps({"prompt": PROMPT * 200})


def routes() -> list[tuple[str, str]]:
    """Return method and path of every route, with its placeholders filled."""
    app = make_app(parse(SETTINGS, environ={}))
    found = {(it.method, it.resource.canonical) for it in app.router.routes() if it.resource}
    return sorted((method, fill_path(path)) for method, path in found if method != "HEAD")


def fill_path(path: str) -> str:
    """Fill each placeholder of a path."""
    return re.sub(r"\{\w+\}", "a", path)


ROUTES = routes()
POSTS = [path for method, path in ROUTES if method == "POST"]
CLOSED = [(method, path) for method, path in ROUTES if path not in map(fill_path, PUBLIC_ROUTES)]


@pytest.fixture
async def easel() -> AsyncIterator[Gateway]:
    async with gateway(SMALL) as ours:
        yield ours


def is_refused(got: Answered, status: int, code: str) -> bool:
    """Whether a response is an error in the common format."""
    assert (got.status, got.error["code"]) == (status, code)
    assert got.headers["content-type"] == "application/json"
    assert got.headers["x-portkey-trace-id"]
    assert got.error.keys() == {"message", "type", "param", "code"}
    assert got.error["message"].endswith(".")
    return True


async def test_jobs_lie_in_the_home_folder_where_the_state_folder_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    left = tmp_path / "state" / "jobs" / ("a" * 32)
    left.parent.mkdir(parents=True)
    left.touch()
    jobs = make_app(parse(SETTINGS + "state_dir: ~/state", environ={}))[JOBS]
    await jobs.restore()
    assert not left.exists()
    await jobs.close()


def test_both_spellings_of_every_path_are_there() -> None:
    closed = {path for _, path in CLOSED}
    assert {path.removeprefix("/v1") for path in closed} < closed
    assert PATH in closed


@pytest.mark.parametrize(("method", "path"), [it for it in ROUTES if not it[1].endswith("/a")])
async def test_an_unknown_route_is_404(easel: Gateway, method: str, path: str) -> None:
    for end in ("/x", "%2Fx", "x"):
        got = await easel.ask(method=method, path=f"/{path[1:]}{end}" if path[1:] else "/x")
        # What follows /models/ is the id of a model.
        is_model = path.endswith("/models") and "images" not in path and end == "/x"
        assert is_refused(got, 404, "model_not_found" if is_model else "unknown_route"), end


@pytest.mark.parametrize("path", sorted({path for method, path in ROUTES if method != "DELETE"}))
async def test_a_wrong_method_is_405_and_names_the_right_one(easel: Gateway, path: str) -> None:
    for method in ("DELETE", "PUT", "PATCH", "OPTIONS", "TRACE"):
        if (method, path) not in ROUTES:
            got = await easel.ask(method=method, path=path)
            assert is_refused(got, 405, "method_not_allowed"), method
            assert got.headers["allow"] in got.error["message"]


@pytest.mark.parametrize(("method", "path"), CLOSED)
async def test_without_a_good_key_it_is_401(easel: Gateway, method: str, path: str) -> None:
    for key in ("", "easel-wrong-key-0123456789", KEY.upper(), KEY[:-1], " "):
        got = await easel.ask(method=method, path=path, api_key=key)
        assert is_refused(got, 401, "invalid_api_key"), key


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'"x"', b"null", b"\xff", b"prompt=x", b"NaN"])
@pytest.mark.parametrize("path", POSTS)
async def test_what_is_no_json_object_is_400(easel: Gateway, path: str, body: bytes) -> None:
    got = await easel.ask(body, path=path, virtual_key="box")
    assert is_refused(got, 400, "invalid_json")


@pytest.mark.parametrize("path", POSTS)
async def test_a_body_over_the_limit_is_413(easel: Gateway, path: str) -> None:
    assert is_refused(await easel.ask(LARGE, path=path), 413, "request_too_large")


@pytest.mark.parametrize("path", POSTS)
async def test_a_body_of_unknown_length_over_the_limit_is_413(easel: Gateway, path: str) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(LARGE), 512):
            yield LARGE[start : start + 512]

    headers = {**OURS, "content-type": "application/json"}
    async with easel.session.post(easel.url + path, data=pieces(), headers=headers) as got:
        answered = Answered(got.status, got.headers, await got.read())
    assert is_refused(answered, 413, "request_too_large")


@pytest.mark.parametrize("path", POSTS)
async def test_a_body_that_grows_beyond_the_limit_is_413(easel: Gateway, path: str) -> None:
    small = gzip.compress(LARGE * 100)
    got = await easel.ask(small, path=path, content_encoding="gzip")
    assert is_refused(got, 413, "request_too_large")


@pytest.mark.parametrize(
    "kind",
    ["text/plain", "multipart/form-data; boundary=x", "application/x-www-form-urlencoded", "json"],
)
@pytest.mark.parametrize("path", POSTS)
async def test_an_unsupported_content_type_is_415(easel: Gateway, path: str, kind: str) -> None:
    got = await easel.ask(GOOD, path=path, content_type=kind)
    assert is_refused(got, 415, "unsupported_content_type")


@pytest.mark.parametrize("kind", ["application/json; charset=utf-8", "Application/JSON"])
@pytest.mark.parametrize("path", POSTS)
async def test_json_by_any_spelling_is_drawn(easel: Gateway, path: str, kind: str) -> None:
    got = await easel.ask(GOOD, path=path, content_type=kind, virtual_key="box")
    assert got.status == 200


@pytest.mark.parametrize(("method", "path"), ROUTES)
async def test_every_answer_has_a_trace_id_of_its_own_or_the_clients(
    easel: Gateway, method: str, path: str
) -> None:
    own = [(await easel.ask(method=method, path=path)).headers["x-portkey-trace-id"] for _ in "12"]
    given = await easel.ask(method=method, path=path, trace_id="mine")
    assert own[0] != own[1]
    assert given.headers["x-portkey-trace-id"] == "mine"


async def test_the_log_has_a_line_for_each_and_nothing_of_what_was_sent(easel: Gateway) -> None:
    for body in (GOOD, LARGE, b"{" + GOOD):
        await easel.ask(body, virtual_key="box", metadata='{"who": "sekret"}')
    await easel.ask(path=f"/sekret/{KEY}?key={KEY}", method="GET")
    easel.app[ACCESS_LOG].flush()
    lines = [orjson.loads(line) for line in easel.log.getvalue().splitlines()]
    assert [line["status"] for line in lines] == [200, 413, 400, 404]
    assert not re.search(f"sekret|{KEY}|iVBORw0KGgo", easel.log.getvalue())


@pytest.mark.parametrize("path", POSTS)
async def test_a_body_may_be_as_large_as_the_limit_says(easel: Gateway, path: str) -> None:
    body = GOOD[:-1] + b" " * (2048 - len(GOOD)) + b"}"
    assert (await easel.ask(body, path=path, virtual_key="box")).status == 200


def test_what_few_gateways_use_is_not_imported_before_it_is_used() -> None:
    rare = ["re2", "redis", "difflib", "adapters.table.describe", "proxy.sandbox.server"]
    rare += ["prometheus_client"]
    code = f"import sys, proxy.server.run; sys.exit(any(it in sys.modules for it in {rare}))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0  # noqa: S603 - our own command
