"""The built wheel, installed into a clean environment and used from another folder.

The environment holds what `requirements/run.txt` pins and the wheel, and nothing of this checkout
is on its path: a file that the packages read and the wheel lacks is missed here.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest

from adapters import get_adapter
from proxy import __version__
from tests.deploy.tools import ROOT, missing
from tests.support.gateway_process import running
from tests.support.transcript_provider import RepeatingProvider
from tests.support.transcripts import FOLDER, load

SOURCES = ("adapters", "proxy", "setup.cfg", "pyproject.toml", "README.md", "LICENSE")
"""What a wheel is built from."""
PINNED = ROOT / "requirements" / "run.txt"
PIP = ("-m", "pip", "--disable-pip-version-check")
UNREACHABLE = "after connection broken by"
"""What pip says, and repeats, when it does not reach the package index."""
SECONDS = 540
"""The most that a command may take, on a machine that is busy with other things."""
OWN_PLACES = frozenset({"PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV"})
ENVIRON = {name: value for name, value in os.environ.items() if name not in OWN_PLACES}

KEY = "easel-test-key-0123456789"
HEADERS = {"x-portkey-api-key": KEY}
DRY_RUN = {"x-easel-dry-run": "true"}
PATH = "/v1/images/generations"
TRANSCRIPT = load(FOLDER / "stability-ai" / "core-bytes.json")
MODEL, PRICE = "stable-image-core", 0.03
DOLLARS = f'easel_dollars_total{{family="{MODEL}",provider="{TRANSCRIPT.provider}"}} {PRICE}'
LOOK_AGAIN_SECONDS = 0.05


@dataclass(frozen=True)
class Installed:
    """A virtual environment with Easel in it, and a folder elsewhere to use it from."""

    environment: Path
    folder: Path

    @property
    def easel(self) -> Path:
        """The command that the wheel brings."""
        return self.environment / "bin" / "easel"

    def python(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        return run(self.folder, self.environment / "bin" / "python", *arguments)

    def pip(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        """Run the pip of the tests for this environment, which has none of its own."""
        inside = ("--python", self.environment / "bin" / "python")
        return run(self.folder, sys.executable, *PIP, *inside, *arguments)

    def output(self, *arguments: str) -> str:
        """Run `easel`, which must succeed and complain of nothing; return what it printed."""
        done = run(self.folder, self.easel, *arguments)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout


def run(folder: Path, *command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603 - Python, pip and easel
        list(map(str, command)),
        cwd=folder,
        env=ENVIRON,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )


def succeeded(done: subprocess.CompletedProcess[str]) -> None:
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """Build the wheel and install it, with what is pinned, into an environment of its own."""
    top = tmp_path_factory.mktemp("wheel")
    made = Installed(top / "environment", top / "elsewhere")
    made.folder.mkdir()
    succeeded(run(top, sys.executable, "-m", "venv", "--without-pip", made.environment))
    needed = made.pip("install", "--no-compile", "--require-hashes", "-r", PINNED)
    if needed.returncode and UNREACHABLE in needed.stderr:
        missing("needs a package index that can be reached")
    succeeded(needed)
    # A copy is built: setuptools would leave folders in the checkout, and take up older ones.
    sources, wheels = copied(top / "sources"), top / "wheels"
    build = ("--no-deps", "--no-build-isolation", "--no-index")
    succeeded(made.pip("wheel", *build, "--wheel-dir", wheels, sources))
    shutil.rmtree(sources)
    [wheel] = wheels.glob("*.whl")
    succeeded(made.pip("install", "--no-compile", "--no-deps", "--no-index", wheel))
    succeeded(made.pip("check"))
    return made


def copied(to: Path) -> Path:
    to.mkdir()
    for name in SOURCES:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, to / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, to)
    return to


@asynccontextmanager
async def served(installed: Installed, folder: Path, workers: int) -> AsyncIterator[Client]:
    """Run `easel serve`: the sandbox, and a real provider's adapter that leads to a script."""
    async with RepeatingProvider(TRANSCRIPT) as provider:
        real = get_adapter(TRANSCRIPT.provider)
        host = provider.here(real.resolve_base_url(TRANSCRIPT.credentials))
        stored = {**TRANSCRIPT.credentials_, "provider": real.id, "custom_host": host}
        settings = {
            "server": {"workers": workers},
            "api_keys": {"test": {"key": KEY}},
            "virtual_keys": {"box": {"provider": "sandbox"}, "real": stored},
        }
        file = folder / "easel.yaml"
        file.write_bytes(orjson.dumps(settings))  # JSON is YAML.
        with running(
            folder, "--config", str(file), easel=[str(installed.easel)], environ=ENVIRON
        ) as gateway:
            timeout = aiohttp.ClientTimeout(SECONDS)
            async with aiohttp.ClientSession(gateway.url, timeout=timeout) as session:
                yield Client(session, provider)


@dataclass(frozen=True)
class Client:
    """A client of a running gateway, and the scripted provider behind it."""

    session: aiohttp.ClientSession
    provider: RepeatingProvider

    async def post(self, virtual_key: str, body: dict[str, Any], **headers: str) -> Any:
        """Send an image request, which must succeed; return the answer."""
        sent = {**HEADERS, "x-portkey-virtual-key": virtual_key, **headers}
        async with self.session.post(PATH, json=body, headers=sent) as response:
            assert response.status == 200, await response.text()
            return await response.json()

    async def metrics_show(self, line: str) -> None:
        """Read the metrics until they hold a line: the client has its answer before they do."""
        async with asyncio.timeout(SECONDS):
            while line not in await self._metrics():  # noqa: ASYNC110 - another process's state
                await asyncio.sleep(LOOK_AGAIN_SECONDS)

    async def _metrics(self) -> list[str]:
        async with self.session.get("/metrics") as response:
            assert response.status == 200
            return (await response.text()).splitlines()


def test_what_is_imported_lies_in_the_environment(installed: Installed) -> None:
    printed = "import adapters, proxy; print(adapters.__file__, proxy.__file__)"
    done = installed.python("-c", printed)
    succeeded(done)
    places = [Path(place) for place in done.stdout.split()]
    assert len(places) == 2
    assert all(place.is_relative_to(installed.environment / "lib") for place in places)


def test_version_is_that_of_the_checkout(installed: Installed) -> None:
    assert installed.output("--version") == f"easel, version {__version__}\n"


def test_check_reads_a_settings_file(installed: Installed, tmp_path: Path) -> None:
    file = tmp_path / "easel.yaml"
    file.write_text("virtual_keys: {box: {provider: sandbox}}\n")
    found = installed.output("check", "--config", str(file))
    assert found == f"{file}: OK (0 API keys, 1 virtual key, 0 configs)\n"


def test_providers_lists_and_shows_them(installed: Installed) -> None:
    assert TRANSCRIPT.provider in installed.output("providers")
    assert MODEL in installed.output("providers", TRANSCRIPT.provider)


def test_explain_shows_the_request_and_its_price(installed: Installed) -> None:
    found = installed.output("explain", "--provider", TRANSCRIPT.provider, "--model", MODEL)
    assert "POST https://api.stability.ai/v2beta/stable-image/generate/core" in found
    assert found.endswith(f"Price: {PRICE} US dollars\n")


@pytest.mark.parametrize("workers", [1, 2])
async def test_serve_makes_images_and_rehearses(
    workers: int, installed: Installed, tmp_path: Path
) -> None:
    async with served(installed, tmp_path, workers) as client:
        drawn = await client.post("box", {"prompt": "a cube", "size": "64x64"})
        assert drawn["data"]

        rehearsed = await client.post("real", TRANSCRIPT.call, **DRY_RUN)
        assert rehearsed["price"] == {"usd": PRICE, "usd_each": PRICE, "images": 1}
        assert not client.provider.asked

        made = await client.post("real", {**TRANSCRIPT.call, "response_format": "b64_json"})
        assert TRANSCRIPT.answer is not None
        assert made["data"] == TRANSCRIPT.answer["data"]
        assert len(client.provider.asked) == 1
        await client.metrics_show(DOLLARS)
