"""The `easel` command: output and exit codes."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

import adapters
from proxy import __version__
from proxy.cli.main import main
from proxy.settings.loader import key_digest, parse
from tests.support.cli import easel

CONFIG = Path(__file__).parents[3] / "config"
KEY = "a-key-of-sixteen-characters"


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run in a temporary directory: a gateway stores its state in the working directory."""
    monkeypatch.delenv("EASEL_KEY_WEB", raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "my.yaml"


def commands(group: click.Group, *path: str) -> list[tuple[str, ...]]:
    found = [path]
    for name, command in group.commands.items():
        inner = (*path, name)
        found += commands(command, *inner) if isinstance(command, click.Group) else [inner]
    return found


@pytest.mark.parametrize("command", commands(main), ids=" ".join)
@pytest.mark.parametrize("option", ["--help", "-h"])
def test_every_command_has_help_whose_sentences_are_whole(
    command: tuple[str, ...], option: str
) -> None:
    told = easel(*command, option)
    assert told.exit_code == 0
    assert "..." not in told.output.replace("COMMAND [ARGS]...", "")
    assert max(map(len, told.output.splitlines())) <= 80


def test_every_option_says_what_it_is_for() -> None:
    for command in main.commands.values():
        options = [it for it in command.params if isinstance(it, click.Option)]
        assert all(option.help for option in options)


def test_the_version_is_that_of_the_package() -> None:
    assert easel("--version").output == f"easel, version {__version__}\n"


# check


def test_a_good_file_is_called_good_and_counted() -> None:
    told = easel("check", "--config", str(CONFIG / "dev.yaml"))
    assert told.exit_code == 0
    assert told.output.endswith("dev.yaml: OK (0 API keys, 1 virtual key, 1 config)\n")


def test_all_that_is_wrong_is_printed_and_nothing_else(file: Path) -> None:
    file.write_text("server:\n  prot: 1\nlog:\n  format: xml\n")
    told = easel("check", "--config", str(file))
    assert (told.exit_code, told.stdout) == (1, "")
    assert told.stderr.splitlines() == [
        f"{file}:2: server.prot: is not a setting; did you mean port?",
        f"{file}:4: log.format: must be one of: auto, json, text, none",
    ]


def test_check_without_a_file_is_a_usage_error() -> None:
    assert easel("check").exit_code == 2


# keys


@pytest.mark.parametrize("arguments", [(), ("--name", "web.2")])
def test_a_new_key_works_where_its_lines_are_pasted(arguments: tuple[str, ...]) -> None:
    told = easel("keys", "new", *arguments).output
    key = re.search(r"^  (easel-\S+)$", told, re.MULTILINE)
    assert key
    pasted = parse(told[told.index("api_keys:") :], environ={})
    assert pasted.api_keys == {key_digest(key[1]): (arguments or ("", "my-app"))[1]}


def test_the_lines_do_not_hold_the_key() -> None:
    told = easel("keys", "new").output
    assert told.count("easel-") == 1


def test_a_name_that_settings_would_refuse_is_refused() -> None:
    told = easel("keys", "new", "--name", "my app")
    assert (told.exit_code, told.stdout) == (1, "")


# providers


def test_every_provider_is_listed_with_its_models() -> None:
    told = easel("providers").output
    assert re.findall(r"^[a-z0-9-]+", told, re.MULTILINE) == list(adapters.PROVIDERS)
    assert all(adapters.get_adapter(name).models[0] in told for name in adapters.PROVIDERS)


def test_a_provider_is_shown_with_all_its_options() -> None:
    for name in sorted(adapters.NAMES):
        told, adapter = easel("providers", name).output, adapters.get_adapter(name)
        assert re.search(rf"^id .*\b{name}\b", told, re.MULTILINE), name
        assert all(f"\n{option.name} " in told for option in adapter.options), name


def test_explain_names_an_unknown_provider() -> None:
    result = easel("explain", "--provider", "dalle")
    expected = "easel: unknown provider 'dalle'. Run `easel providers` for the list.\n"
    assert (result.exit_code, result.stderr) == (1, expected)


def test_an_unknown_provider_is_answered_with_the_nearest() -> None:
    told = easel("providers", "opnai")
    assert told.exit_code == 1
    assert told.stderr.startswith("easel: unknown provider 'opnai'; did you mean openai? Run ")
