"""Every example runs as it stands against a gateway without settings, as `make run` starts it."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from tests.support.gateway_process import serving

FOLDER = Path(__file__).parents[2] / "examples"
WITH_CONFIG = FOLDER / "with_config.sh"
EXAMPLES = sorted(path for path in FOLDER.glob("*.*") if path != WITH_CONFIG)
CONFIGS = {
    "single": ("{}", {"config.targets[0]"}, {(512, 512)}),
    "fallback": ("{}", {"config.targets[1]"}, {(512, 512)}),
    "loadbalance": (
        '{"user_id": "u1"}',
        {"config.targets[0]", "config.targets[1]"},
        {(1024, 1024), (1536, 1024)},
    ),
    "conditional": ('{"plan": "paid"}', {"config.targets[2]"}, {(1024, 1024)}),
    "reliable": (
        "{}",
        {"config.targets[0]", "config.targets[1].targets[1]"},
        {(1024, 1024)},
    ),
}
"""Metadata, the places that may answer, and the sizes that may come, of each config."""
RUN_BY = {".py": [sys.executable, "-X", "utf8"], ".sh": ["bash"]}
WAYS = ["image.config.png", "image.provider.png", "image.virtual-key.png"]


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """Run a gateway on embedded defaults: the folder it runs in, and its URL."""
    folder = tmp_path_factory.mktemp("gateway")
    with serving(folder) as url:
        yield folder, url


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: str(path.name))
def test_an_example_gets_the_same_image_in_three_ways(
    example: Path, gateway: tuple[Path, str]
) -> None:
    folder, url = gateway
    if example.suffix == ".sh" and not shutil.which("curl"):
        pytest.skip("install curl")
    environ = {**os.environ, "EASEL_URL": url, "EASEL_KEY": "", "NO_PROXY": "*"}
    command = [*RUN_BY[example.suffix], str(example)]
    ran = subprocess.run(command, cwd=folder, env=environ, capture_output=True, check=False)  # noqa: S603 - our own example
    assert (ran.returncode, ran.stderr) == (0, b"")
    assert sorted(ran.stdout.decode().split()) == WAYS
    drawn = [folder.joinpath(name).read_bytes() for name in WAYS]
    assert drawn[0] == drawn[1] == drawn[2]
    assert Image.open(io.BytesIO(drawn[0])).size == (1024, 1024)


def test_every_config_of_the_examples_is_run() -> None:
    assert {path.stem for path in (FOLDER / "configs").glob("*.json")} == CONFIGS.keys()


@pytest.mark.skipif(not shutil.which("curl"), reason="install curl")
@pytest.mark.parametrize("name", CONFIGS)
def test_a_config_leads_where_it_says(name: str, gateway: tuple[Path, str]) -> None:
    folder, url = gateway
    metadata, places, sizes = CONFIGS[name]
    command = ["bash", str(WITH_CONFIG), str(FOLDER / "configs" / f"{name}.json"), metadata]
    environ = {**os.environ, "EASEL_URL": url, "EASEL_KEY": "", "NO_PROXY": "*"}
    ran = subprocess.run(command, cwd=folder, env=environ, capture_output=True, check=False)  # noqa: S603 - our own example
    assert (ran.returncode, ran.stderr) == (0, b"")
    told = dict(line.strip().split(": ", 1) for line in ran.stdout.decode().splitlines())
    assert told["x-portkey-last-used-option-index"] in places
    assert Image.open(io.BytesIO((folder / "image.png").read_bytes())).size in sizes
