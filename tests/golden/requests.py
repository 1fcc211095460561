"""The requests, in the order in which they are sent, and the settings of the gateway."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

KEY = "golden-gateway-key-0123456789"
GENERATE = "/v1/images/generations"

Earlier = Mapping[str, "Reply"]
"""The replies of earlier requests, by name."""


@dataclass(frozen=True)
class Reply:
    """What the gateway answered, headers in their order and spelling."""

    status: int
    reason: str
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def header(self, name: str) -> str:
        """Return the value of a header."""
        return next(value for key, value in self.headers if key.lower() == name)


@dataclass(frozen=True)
class Request:
    """A request to the gateway.

    `path` may name an earlier request in braces: `{job of NAME}` is its job, `{url of NAME}` the
    URL of its image. `calls` is how many requests the provider gets. `releases`: the held provider
    answers once the gateway has this request. `varies`: the body's length differs between runs.
    """

    name: str
    body: Any = None
    path: str = GENERATE
    method: str = "POST"
    headers: Mapping[str, str] = field(default_factory=dict)
    key: str = KEY
    calls: int = 0
    releases: bool = False
    varies: bool = False

    def content(self) -> bytes:
        """Return the body as it is sent."""
        if self.body is None or isinstance(self.body, bytes):
            return self.body or b""
        return json.dumps(self.body).encode()

    def target(self, earlier: Earlier) -> str:
        """Return the path and query to ask for."""
        what, _, rest = self.path.partition("{")[2].partition(" of ")
        if not rest:
            return self.path
        name, _, query = rest.partition("}")
        if what == "job":
            return self.path.partition("{")[0] + earlier[name].header("x-easel-job")
        url = urlsplit(json.loads(earlier[name].body)["data"][0]["url"])
        return f"{url.path}?{url.query}{query}"

    def all_headers(self, provider: str) -> dict[str, str]:
        """Return the headers to send; `{provider}` in one stands for the provider's URL."""
        made = {"x-portkey-api-key": self.key} if self.key else {}
        if self.body is not None:
            made["content-type"] = "application/json"
        return made | {
            name: it.replace("{provider}", provider) for name, it in self.headers.items()
        }


_VIRTUAL_KEYS = {
    "openai": (*("plain", "flaky", "down", "bad", "unauthorized", "limited", "held", "streamed"),),
    "stability-ai": ("binary",),
    "black-forest-labs": ("polled",),
    "gemini": ("base64",),
}
"""By provider: the scripts, each behind a virtual key of the same name."""

_CONFIGS: dict[str, Any] = {
    "cached": {"virtual_key": "plain", "cache": {"mode": "simple", "max_age": 3600}},
    "retried": {
        "virtual_key": "flaky",
        "retry": {"attempts": 2, "on_status_codes": [503], "use_retry_after_header": True},
    },
    "fallback": {
        "strategy": {"mode": "fallback"},
        "targets": [{"virtual_key": "down"}, {"virtual_key": "plain"}],
    },
    "all-down": {
        "strategy": {"mode": "fallback"},
        "targets": [{"virtual_key": "down"}, {"virtual_key": "limited"}],
    },
    "balanced": {
        "strategy": {"mode": "loadbalance"},
        "targets": [
            {"virtual_key": "down", "weight": 0},
            {"virtual_key": "plain", "weight": 1},
        ],
    },
    "conditional": {
        "strategy": {
            "mode": "conditional",
            "conditions": [{"query": {"metadata.tier": {"$eq": "paid"}}, "then": "good"}],
            "default": "other",
        },
        "targets": [
            {"name": "other", "virtual_key": "down"},
            {"name": "good", "virtual_key": "plain", "override_params": {"quality": "high"}},
        ],
    },
}


def settings(provider: str) -> dict[str, Any]:
    """Return the settings of the gateway; JSON is YAML too."""
    keys: dict[str, Any] = {
        script: {
            "provider": name,
            "api_key": "golden-provider-key",
            "custom_host": f"{provider}/{script}/v1",
        }
        for name, scripts in _VIRTUAL_KEYS.items()
        for script in scripts
    }
    return {
        "server": {"watch": "off"},
        "api_keys": {"golden": {"key": KEY}},
        "virtual_keys": {
            **keys,
            "sandbox": {"provider": "sandbox"},
            "stored": {"provider": "openai", "api_key": "golden-provider-key"},
        },
        "configs": _CONFIGS,
        "trusted_custom_hosts": ["127.0.0.1"],
        "log": {"format": "json", "file": "access.log", "prompts": True},
        "blobs": {"signing_key": "a signing key for the golden test"},
        "state_dir": "state",
    }


def _key(slug: str, **more: str) -> dict[str, str]:
    return {"x-portkey-virtual-key": slug, **{_dashed(name): it for name, it in more.items()}}


def _config(config: str | dict[str, Any], **more: str) -> dict[str, str]:
    written = config if isinstance(config, str) else json.dumps(config)
    return {"x-portkey-config": written, **{_dashed(name): it for name, it in more.items()}}


def _dashed(name: str) -> str:
    return name.replace("_", "-")


_PLAIN = {"model": "gpt-image-1.5", "prompt": "a red fox in the snow"}
_SANDBOX = {"prompt": "a red fox", "size": "64x64", "output_format": "jpeg"}
_BINARY = {"model": "stable-image-core", "prompt": "a red fox"}
_POLLED = {"model": "flux-pro-1.1", "prompt": "a red fox"}
_HELD = _key("held", idempotency_key="order-1")
_ASYNC = {**_HELD, "prefer": "respond-async"}
_REFRESH = "x-portkey-cache-force-refresh"
_BLOB = "{url of url-from-base64}"


def _get(name: str, path: str, **more: Any) -> Request:
    return Request(name, path=path, method="GET", **more)


REQUESTS: tuple[Request, ...] = (
    # The small endpoints.
    _get("root", "/", key=""),
    _get("healthz", "/healthz", key=""),
    _get("readyz", "/readyz", key=""),
    _get("readyz-verbose", "/readyz?verbose", varies=True),
    _get("readyz-verbose-without-key", "/readyz?verbose", key=""),
    _get("models", "/v1/models"),
    _get("models-without-key", "/models", key=""),
    _get("image-models", "/v1/images/models", varies=True),
    _get("image-model", "/v1/images/models/@binary/stable-image-core"),
    _get("image-model-of-unknown-provider", "/v1/images/models/nobody/any"),
    _get("unknown-path", "/v1/images/edits"),
    Request("unknown-method", path=GENERATE, method="PUT"),
    # Who calls, and what is wrong with a request.
    Request("no-key", _PLAIN, key="", headers=_key("plain")),
    Request("wrong-key", _PLAIN, key="not-a-gateway-key-0123", headers=_key("plain")),
    Request("wrong-bearer", _PLAIN, key="", headers={"authorization": "Bearer wrong-0123456789"}),
    Request("unknown-provider", _PLAIN, headers={"x-portkey-provider": "opnai"}),
    Request("unknown-virtual-key", _PLAIN, headers=_key("plian")),
    Request("unknown-config", _PLAIN, headers=_config("chached")),
    Request("no-provider", _PLAIN),
    Request("bad-json", b'{"prompt": "a red fox"', headers=_key("plain")),
    Request("no-prompt", {"model": "gpt-image-1.5"}, headers=_key("plain")),
    Request("too-many-images", {**_PLAIN, "n": 11}, headers=_key("plain")),
    Request(
        "bad-config",
        _PLAIN,
        headers=_config({"strategy": {"mode": "fallback"}, "tragets": [{"virtual_key": "plain"}]}),
    ),
    Request(
        "bad-config-inside",
        _PLAIN,
        headers=_config({"targets": [{"virtual_key": "plain", "retry": {"attempts": 9}}]}),
    ),
    Request(
        "stored-key-to-custom-host",
        _PLAIN,
        headers=_key("stored", x_portkey_custom_host="{provider}/plain/v1"),
    ),
    # One provider.
    Request("generate", {**_PLAIN, "n": 2, "user": "u-1"}, headers=_key("plain"), calls=1),
    Request(
        "generate-without-v1",
        {**_PLAIN, "model": "@plain/gpt-image-1.5"},
        path="/images/generations",
        calls=1,
    ),
    Request(
        "custom-host-by-header",
        _PLAIN,
        headers={
            "x-portkey-provider": "openai",
            "authorization": "Bearer sk-of-the-client",
            "x-portkey-custom-host": "{provider}/plain/v1",
            "x-portkey-forward-headers": "x-tenant",
            "x-tenant": "tenant-7",
            "via": "1.1 nearer",
        },
        calls=1,
    ),
    Request(
        "metadata-and-trace",
        _PLAIN,
        headers=_key(
            "plain",
            x_portkey_metadata='{"user": "u-1", "tier": "paid"}',
            x_portkey_trace_id="trace-of-the-client",
        ),
        calls=1,
    ),
    Request("error-400", _PLAIN, headers=_key("bad"), calls=1),
    Request("error-401", _PLAIN, headers=_key("unauthorized"), calls=1),
    Request("error-429", _PLAIN, headers=_key("limited"), calls=1),
    Request("error-500", _PLAIN, headers=_key("down"), calls=1),
    # Parameters.
    Request(
        "strict",
        {**_BINARY, "quality": "high"},
        headers=_key("binary", x_easel_unsupported="strict"),
    ),
    Request(
        "receipt",
        {**_BINARY, "size": "1536x1024", "quality": "high", "user": "u-1", "seed": 42},
        headers=_key("binary"),
        calls=1,
    ),
    Request("wrong-value", {**_BINARY, "seed": -1}, headers=_key("binary")),
    Request("fan-out", {**_BINARY, "n": 2}, headers=_key("binary"), calls=2),
    Request(
        "base64-json",
        {"model": "gemini-2.5-flash-image", "prompt": "a red fox"},
        headers=_key("base64"),
        calls=1,
    ),
    # Forms of an answer.
    Request(
        "url-from-base64", {**_PLAIN, "response_format": "url"}, headers=_key("plain"), calls=1
    ),
    _get("blob", _BLOB, key=""),
    Request("blob-head", path=_BLOB, method="HEAD", key=""),
    _get("blob-range", _BLOB, key="", headers={"range": "bytes=1-3"}),
    _get("blob-range-beyond", _BLOB, key="", headers={"range": "bytes=1000-"}),
    _get("blob-bad-signature", _BLOB + "0", key=""),
    _get("blob-unknown", f"/v1/images/blobs/{'0' * 32}.png", key=""),
    Request("polled-url", {**_POLLED, "response_format": "url"}, headers=_key("polled"), calls=3),
    Request(
        "polled-base64",
        {**_POLLED, "response_format": "b64_json", "size": "1792x1024"},
        headers=_key("polled"),
        calls=3,
    ),
    Request(
        "stream-relayed",
        {**_PLAIN, "stream": True, "partial_images": 1},
        headers=_key("streamed"),
        calls=1,
    ),
    Request("stream-made", {**_BINARY, "stream": True}, headers=_key("binary"), calls=1),
    Request("stream-failed", {**_BINARY, "stream": True}, headers=_key("down"), calls=1),
    # The sandbox.
    Request("sandbox", _SANDBOX, headers={"x-portkey-provider": "sandbox"}),
    Request("refused", {**_SANDBOX, "refuse": True}, headers=_key("sandbox")),
    Request("connection-lost", {**_SANDBOX, "cut_after": 5}, headers=_key("sandbox")),
    # The cache.
    Request("cache-miss", _PLAIN, headers=_config("cached"), calls=1),
    Request("cache-hit", _PLAIN, headers=_config("cached")),
    Request("cache-hit-again", _PLAIN, headers=_config("cached")),
    Request("cache-hit-as-events", {**_PLAIN, "stream": True}, headers=_config("cached")),
    Request("cache-hit-as-url", {**_PLAIN, "response_format": "url"}, headers=_config("cached")),
    Request("cache-refresh", _PLAIN, headers={**_config("cached"), _REFRESH: "true"}, calls=1),
    Request("cache-deleted", path="/v1/cache", method="DELETE"),
    Request("cache-deleted-namespace", path="/cache?namespace=none", method="DELETE"),
    # Several tries and targets.
    Request("retried", _PLAIN, headers=_config("retried"), calls=2),
    Request("fallback", _PLAIN, headers=_config("fallback"), calls=2),
    Request("all-targets-failed", _PLAIN, headers=_config("all-down"), calls=2),
    Request("load-balanced", _PLAIN, headers=_config("balanced"), calls=1),
    Request(
        "conditional",
        _PLAIN,
        headers=_config("conditional", x_portkey_metadata='{"tier": "paid"}'),
        calls=1,
    ),
    Request("conditional-default", _PLAIN, headers=_config("conditional"), calls=1),
    # Jobs.
    Request(
        "dry-run",
        {**_BINARY, "size": "1536x1024", "quality": "high"},
        headers=_key("binary", x_easel_dry_run="true"),
    ),
    Request("async", _PLAIN, headers=_ASYNC, calls=1),
    Request("async-again-while-it-runs", _PLAIN, headers=_ASYNC),
    _get("job-running", "/v1/images/jobs/{job of async}"),
    Request("retry-joins", _PLAIN, headers=_HELD, releases=True),
    Request("retry-collects", _PLAIN, headers=_HELD),
    Request("other-request-with-its-key", {**_PLAIN, "n": 2}, headers=_HELD),
    _get("job-done", "/images/jobs/{job of async}"),
    Request("job-deleted", path="/v1/images/jobs/{job of async}", method="DELETE"),
    _get("job-gone", "/v1/images/jobs/{job of async}"),
)
