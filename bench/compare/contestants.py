"""How each gateway is started and called."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import yaml
from processes import KEY

from .environment import ROOT, Environment
from .load import Request
from .mock import nginx_as_proxy
from .relay import SLOW
from .responses import BY_URL, SIZES

EASEL, KEEPS_NOTHING, PORTKEY, LITELLM = "easel", "easel-keeps-nothing", "portkey", "litellm"
TWO_WORKERS = "easel-two-workers"
NGINX, RELAY, STATIC, DIRECT = "nginx", "relay", "static", "direct"
NAMES = {
    EASEL: "Easel",
    KEEPS_NOTHING: "Easel, keeping nothing",
    TWO_WORKERS: "Easel, two workers",
    PORTKEY: "Portkey",
    LITELLM: "LiteLLM",
    NGINX: "nginx",
    RELAY: "minimal aiohttp relay",
    STATIC: "static aiohttp handler",
    DIRECT: "no gateway",
}
GATEWAYS = (EASEL, PORTKEY, LITELLM, NGINX, RELAY)
IMAGES = "/v1/images/generations"
MODEL = "gpt-image-2"
WAITS = ("wait-200", "wait-5000", "wait-240000")
EVENTS, CUT = "events", "cut"
CACHED = "cached-"
"""Prefix of a size: a response that the gateway may cache."""

OURS = {"PYTHONPATH": str(ROOT / "bench")}
"""Environment for processes that import this package."""
_KEEP_NOTHING = {"memory_bytes": 1 << 20, "disk_bytes": 0, "result_ttl_seconds": 0}


@dataclass(frozen=True)
class Site:
    """URLs of the mock provider's two servers, the programs, and a shared folder."""

    mock: str
    slow: str
    folder: Path
    environment: Environment

    def base(self, what: str) -> str:
        """Return the provider's base URL for a kind of response."""
        at = self.slow if what.startswith(SLOW) else self.mock
        return f"{at}/{what.removeprefix(CACHED)}/v1"


@dataclass(frozen=True)
class Contestant:
    """A gateway: `command` starts it on a port; `ask` returns path, headers and parameters."""

    name: str
    command: Callable[[Site, int], list[str]]
    ask: Callable[[Site, str], tuple[str, dict[str, str], dict[str, Any]]]
    environ: Mapping[str, str] = field(default_factory=dict)
    cwd: Path | None = None

    def request(self, site: Site, what: str, **more: Any) -> Request:
        """Return the request for a kind of response."""
        path, headers, params = self.ask(site, what)
        body = {
            "model": MODEL,
            "prompt": "A lighthouse at dusk, oil on canvas",
            "size": "1024x1024",
            "quality": "high",
            "n": 1,
        }
        headers = {"content-type": "application/json", **headers}
        min_bytes = SIZES.get(what.removeprefix(CACHED), 1)
        return Request(path, orjson.dumps({**body, **params, **more}), headers, min_bytes)


def easel(name: str = EASEL, **settings: Any) -> Contestant:
    """Easel with `config/production.yaml` and virtual keys for the mock provider."""

    def command(site: Site, port: int) -> list[str]:
        file = site.folder / f"{name}.yaml"
        file.write_bytes(orjson.dumps(production(site, name) | settings))  # JSON is YAML
        serve = ["-m", "proxy", "serve", "--config", str(file)]
        return [sys.executable, *serve, "--host", "127.0.0.1", "--port", str(port)]

    def ask(_: Site, what: str) -> tuple[str, dict[str, str], dict[str, Any]]:
        headers = {"x-portkey-api-key": KEY}
        if what.startswith(CACHED):
            return IMAGES, {**headers, "x-portkey-config": f"pc-{what}"}, {}
        return IMAGES, {**headers, "x-portkey-virtual-key": what}, {}

    return Contestant(name, command, ask, cwd=ROOT)


def production(site: Site, name: str) -> dict[str, Any]:
    """Return the production settings with the benchmark's API keys, virtual keys and configs."""
    text = (ROOT / "config/production.yaml").read_text(encoding="utf-8")
    settings: dict[str, Any] = yaml.safe_load(text)
    whats = [*SIZES, *WAITS, EVENTS, CUT]
    stored = {"provider": "openai", "api_key": "none"}
    by_url = {"provider": "nebius", "api_key": "none"}
    keys = {it: {**stored, "custom_host": site.base(it)} for it in whats}
    keys |= {it: {**by_url, "custom_host": site.base(it)} for it in (BY_URL + it for it in SIZES)}
    configs = {f"pc-{CACHED}{it}": {"virtual_key": it, "cache": {"mode": "simple"}} for it in SIZES}
    return settings | {
        "server": {"shutdown_seconds": 0},
        "limits": {**settings.get("limits", {}), "jobs": 10_000, "caller_jobs": 10_000},
        "api_keys": {"bench": {"key": KEY}},
        "virtual_keys": keys,
        "configs": configs,
        "state_dir": str(site.folder / f"{name}-state"),
    }


def portkey() -> Contestant:
    """Portkey's gateway, headless, in production mode."""

    def command(site: Site, port: int) -> list[str]:
        return ["node", str(site.environment.portkey), "--headless", f"--port={port}"]

    def ask(site: Site, what: str) -> tuple[str, dict[str, str], dict[str, Any]]:
        host = site.base(what)
        if what.startswith(CACHED):
            target = {"provider": "openai", "api_key": "none", "custom_host": host}
            config = orjson.dumps({**target, "cache": {"mode": "simple"}})
            return IMAGES, {"x-portkey-config": config.decode()}, {}
        headers = {"x-portkey-provider": "openai", "x-portkey-custom-host": host}
        return IMAGES, {**headers, "authorization": "Bearer none"}, {}

    environ = {"NODE_ENV": "production", "TRUSTED_CUSTOM_HOSTS": "127.0.0.1,localhost"}
    return Contestant(PORTKEY, command, ask, environ)


def litellm() -> Contestant:
    """LiteLLM's proxy, one worker, without a database."""

    def command(site: Site, port: int) -> list[str]:
        file = site.folder / "litellm.yaml"
        file.write_text(yaml.safe_dump(_litellm_config(site)), encoding="utf-8")
        where = ["--host", "127.0.0.1", "--port", str(port)]
        how = ["--num_workers", "1", "--telemetry", "False"]
        return [str(site.environment.litellm), "--config", str(file), *where, *how]

    def ask(_: Site, what: str) -> tuple[str, dict[str, str], dict[str, Any]]:
        return IMAGES, {"authorization": f"Bearer {KEY}"}, {"model": what}

    # Use the price list in the package instead of downloading one.
    environ = {
        "LITELLM_MODE": "PRODUCTION",
        "LITELLM_LOG": "ERROR",
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "NO_DOCS": "True",
    }
    return Contestant(LITELLM, command, ask, environ)


def _litellm_config(site: Site) -> dict[str, Any]:
    models = [
        {
            "model_name": what,
            "litellm_params": {
                "model": f"openai/{MODEL}",
                "api_base": site.base(what),
                "api_key": "none",
            },
        }
        for what in (*SIZES, *WAITS, EVENTS)
    ]
    quiet = {"set_verbose": False, "json_logs": True, "request_timeout": 600}
    return {
        "model_list": models,
        "litellm_settings": quiet,
        "general_settings": {"master_key": KEY},
    }


def _by_path(_: Site, what: str) -> tuple[str, dict[str, str], dict[str, Any]]:
    return f"/{what.removeprefix(CACHED)}{IMAGES}", {"authorization": "Bearer none"}, {}


def nginx() -> Contestant:
    """Return an nginx that relays everything: what C can do."""

    def command(site: Site, port: int) -> list[str]:
        return [site.environment.nginx, "-c", nginx_as_proxy(site.folder, port, site.mock)]

    return Contestant(NGINX, command, _by_path)


def relay() -> Contestant:
    """Return the minimal aiohttp relay."""

    def command(site: Site, port: int) -> list[str]:
        return [sys.executable, "-m", "compare.relay", str(port), site.mock, site.slow]

    return Contestant(RELAY, command, _by_path, OURS)


def static() -> Contestant:
    """Return the minimal aiohttp handler with a fixed response."""

    def command(site: Site, port: int) -> list[str]:
        return [sys.executable, "-m", "compare.relay", str(port), str(site.folder)]

    return Contestant(STATIC, command, _by_path, OURS)


def direct() -> Contestant:
    """No gateway: the mock provider is called directly. It is already running."""
    return Contestant(DIRECT, lambda _site, _port: [], _by_path)


def all_contestants(environment: Environment) -> dict[str, Contestant]:
    """Return every contestant that can be started."""
    keeping = easel(KEEPS_NOTHING, jobs=_KEEP_NOTHING)
    others = []
    if environment.portkey:
        others.append(portkey())
    if environment.litellm:
        others.append(litellm())
    all_of_them = (easel(), keeping, *others, nginx(), relay(), static())
    return {it.name: it for it in all_of_them}
