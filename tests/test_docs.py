"""What the docs list is what the code has, in both directions."""

from __future__ import annotations

import re
from pathlib import Path

import orjson
import pytest
from click.testing import CliRunner

import adapters
from docs.generate import WRITERS, render
from proxy.cli.main import main
from proxy.http.headers import EASEL_HEADERS
from proxy.observability.metrics.labels import OUTCOMES
from proxy.observability.metrics.merge import decode_snapshot as read_snapshot
from proxy.observability.metrics.registry import METRICS
from proxy.observability.tracing import attributes as names
from proxy.reload.live_settings import LiveSettings
from proxy.reload.restart_only import HOT_RELOADABLE
from proxy.settings import routing_config
from proxy.settings.conditions import OPERATORS
from proxy.settings.loader import TOP_LEVEL_KEYS as SETTINGS
from proxy.settings.loader import VIRTUAL_KEY_KEYS, Settings, SettingsError, parse
from proxy.settings.policies import BreakerPolicy, CachePolicy, RetryPolicy, StickyPolicy
from proxy.settings.schema import SECTIONS
from tests.hostile.defence_mutations import MUTATIONS
from tests.hostile.mutations import defences, mutate
from tests.support.gateway import gateway
from tests.support.transcripts import CANCELLING

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
CODE = "\n".join(
    path.read_text(encoding="utf-8")
    for package in ("adapters", "proxy")
    for path in sorted((ROOT / package).rglob("*.py"))
)


def read(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


def first_cells(text: str) -> set[str]:
    """Give what stands in backticks in the first cell of each row of the tables."""
    rows = re.findall(r"^\| ([^|]+) \|", text, re.MULTILINE)
    return {word for row in rows for word in re.findall(r"`([^`]+)`", row)}


def test_every_header_that_the_code_names_is_documented() -> None:
    named = set(re.findall(r'"(x-(?:portkey|easel)-[a-z-]*[a-z])"', CODE))
    assert named <= first_cells(read("headers.md"))


def test_every_documented_header_is_in_the_code() -> None:
    documented = {name for name in first_cells(read("headers.md")) if name.startswith("x-")}
    assert all(f'"{name}"' in CODE for name in documented)
    requests = read("headers.md").partition("## Response headers")[0]
    own = {name for name in first_cells(requests) if name.startswith("x-easel-")}
    assert own == set(EASEL_HEADERS)


@pytest.mark.parametrize("page", WRITERS)
def test_what_is_generated_from_the_tables_is_current(page: str) -> None:
    assert read(page) == render(page), "make docs"


def test_the_providers_of_the_docs_are_those_of_the_code() -> None:
    pattern = r"^\| \[`([0-9a-z-]+)`\]\(#\1\) \| ([^|]*) \|"
    rows = re.findall(pattern, read("providers.md"), re.MULTILINE)
    assert [it for it, _ in rows] == list(adapters.PROVIDERS)
    named = {also: it for it, cell in rows for also in re.findall(r"`([^`]+)`", cell)}
    assert named == adapters.ALIASES


def test_every_provider_that_can_cancel_is_documented() -> None:
    page = read("providers.md")
    about = page[page.index("## Cancelling") : page.index("## Refusals")]
    assert first_cells(about) == CANCELLING


def test_every_provider_that_reports_progress_is_documented() -> None:
    known = map(adapters.get_adapter, adapters.PROVIDERS)
    reporting = [f"`{it.id}`" for it in known if getattr(it, "progress_path", ())]
    sentence = f"for {' and '.join(reporting)}, which report it"
    assert sentence in " ".join(read("providers.md").split())


def codes_in_the_code() -> set[str]:
    named = set(re.findall(r'code ?= ?"([a-z_]+)"', CODE))
    tabled = re.findall(r'^ +\d{3}: \(\d{3}, "[a-z_]+", "([a-z_]+)"\)', CODE, re.MULTILINE)
    aiohttps = re.findall(r'^ +\d{3}: \("([a-z_]+)", "[A-Z]', CODE, re.MULTILINE)
    return named | set(tabled) | set(aiohttps)


def test_every_error_code_is_documented() -> None:
    assert codes_in_the_code() <= first_cells(read("errors.md"))


def test_every_documented_error_code_is_in_the_code() -> None:
    assert all(f'"{code}"' in CODE for code in first_cells(read("errors.md")))


def test_every_test_of_a_defence_is_there() -> None:
    named = [test.partition("::") for row in defences() for test in row.tests]
    for file, _, test in named:
        text = (ROOT / "tests" / file).read_text(encoding="utf-8")
        assert f"def {test}(" in text if test else "def test_" in text, (file, test)


def test_every_attack_is_in_the_table_of_defences() -> None:
    files = [file.partition("::")[0] for it in defences() for file in it.tests]
    named = {file.removeprefix("hostile/") for file in files if "hostile/" in file}
    assert named == {it.name for it in (ROOT / "tests/hostile").glob("test_*.py")}


def test_every_row_of_the_table_of_defences_is_read() -> None:
    page = read("security.md")
    about = page[page.index("## Defences") : page.index("## Open")]
    rows = re.findall(r"^\| (?!attack |--- )", about, re.MULTILINE)
    assert len(defences()) == len(rows)
    assert all((ROOT / it.place).exists() for it in defences())


def test_every_defence_has_been_taken_out() -> None:
    assert [it.defence for it in MUTATIONS] == [it.name for it in defences()]


def test_every_mutation_finds_its_defence() -> None:
    for mutation in MUTATIONS:
        mutate((ROOT / mutation.file).read_text(encoding="utf-8"), mutation)


def test_the_readme_names_the_number_of_providers() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert set(re.findall(r"([0-9]+) providers", readme)) == {str(len(adapters.PROVIDERS))}


def test_every_page_is_named_in_the_readme() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert all(f"docs/{page.name}" in readme for page in DOCS.glob("*.md"))


@pytest.mark.parametrize("page", sorted(ROOT.glob("*.md")) + sorted(ROOT.glob("*/*.md")), ids=str)
def test_no_link_leads_nowhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    assert all((page.parent / link).exists() for link in links), links


def part(heading: str) -> str:
    """Give what stands in docs/configuration.md under a heading, up to the next of any level."""
    page = read("configuration.md")
    found = re.search(rf"^#+ {heading}\n(.*?)(?=^#|\Z)", page, re.DOTALL | re.MULTILINE)
    assert found
    return found[1]


def blocks(kind: str, text: str) -> list[str]:
    """Give the code blocks of a kind."""
    return re.findall(rf"^```{kind}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def shown(default: object) -> str:
    if isinstance(default, bool):
        return str(default).lower()
    if default in ("", ()):
        return "none"
    return f"{default:g}" if isinstance(default, float) else str(default)


def test_every_setting_is_documented_with_its_default() -> None:
    rows = re.findall(r"^\| `([a-z0-9_.]+)` \| `?([^|` ]+)`? \|", part("Settings"), re.MULTILINE)
    defaults = dict.fromkeys(SETTINGS - SECTIONS.keys(), "none")
    defaults |= {"state_dir": Settings().state_dir, "sandbox": shown(Settings().sandbox)}
    for section, kind in SECTIONS.items():
        fields = kind.__struct_fields__
        defaults |= {f"{section}.{key}": shown(getattr(kind(), key)) for key in fields}
    assert dict(rows) == defaults


def test_every_name_that_a_span_may_hold_is_documented() -> None:
    page = read("tracing.md")
    about = page[page.index("## Attributes") : page.index("## Incoming trace headers")]
    attributes, events = about[: about.index("| event |")], about[about.index("| event |") :]
    assert first_cells(attributes) == names.ATTRIBUTES
    assert first_cells(events) == names.EVENTS
    given = [it for name, it in vars(names).items() if name.isupper() and isinstance(it, str)]
    assert {it for it in given if "." in it} == names.ATTRIBUTES | names.EVENTS


def test_every_setting_of_traces_is_explained() -> None:
    page = read("tracing.md")
    about = page[page.index("## Settings") : page.index("## Spans")]
    assert first_cells(about) == {*SECTIONS["tracing"].__struct_fields__}


def test_the_settings_that_hold_at_once_are_documented() -> None:
    assert first_cells(part("Reloading")) == HOT_RELOADABLE


def test_what_is_told_of_the_settings_in_force_is_documented() -> None:
    page = read("operations.md")
    about = page[page.index("## Reloading settings") : page.index("## Listening")]
    assert first_cells(about) == LiveSettings(parse("", environ={})).as_object().keys()


def test_every_key_of_a_virtual_key_is_documented() -> None:
    assert first_cells(part("virtual_keys")) == VIRTUAL_KEY_KEYS


def test_every_key_of_a_config_is_documented() -> None:
    assert (
        first_cells(part("The config object"))
        == routing_config.CONFIG_KEYS | routing_config.NESTING_KEYS
    )


def test_every_key_of_a_strategy_is_documented() -> None:
    named = first_cells(part("Strategies"))
    assert named == routing_config.STRATEGY_KEYS


def test_every_key_of_a_policy_is_documented() -> None:
    named = {"cache": CachePolicy, "retry": RetryPolicy, "cb_config": BreakerPolicy}
    keys = {f"{name}.{key}" for name, kind in named.items() for key in kind.__struct_fields__}
    assert first_cells(part("Cache, retry and circuit breaker")) == keys
    assert all(f"`{key}" in part("Load balancing") for key in StickyPolicy.__struct_fields__)


def test_every_operator_of_a_query_is_documented() -> None:
    assert first_cells(part("Conditional")) == OPERATORS


@pytest.mark.parametrize(
    ("start", "keys"),
    [
        ("Accepted, and without an effect", routing_config.IGNORED_KEYS),
        ("Refused, with a 400", routing_config.UNSUPPORTED_KEYS),
        (
            "Targets inherit",
            routing_config.INHERITED_KEYS | routing_config.MERGED_KEYS,
        ),
        (
            "Not inherited, and allowed next",
            routing_config.GROUP_KEYS - routing_config.INHERITED_KEYS - routing_config.MERGED_KEYS,
        ),
    ],
)
def test_the_lists_of_a_configs_keys_are_those_of_the_code(start: str, keys: set[str]) -> None:
    text = re.search(rf"{start}.*?[;.]\s", part("The config object"), re.DOTALL)
    assert text
    ours = {"easel check", "targets"}
    assert set(re.findall(r"`([^`]+)`", text[0])) - ours == keys


@pytest.mark.parametrize("block", blocks("yaml", read("configuration.md")))
def test_an_example_of_the_docs_loads_or_is_told_to_be_wrong(block: str) -> None:
    environ = dict.fromkeys(re.findall(r"\$\{(\w+)\}", block), "value-of-a-variable")
    if "opnai" in block:
        with pytest.raises(SettingsError):
            parse(block, environ=environ)
    else:
        assert parse(block, environ=environ)


@pytest.mark.parametrize("block", blocks("json", read("configuration.md")))
def test_a_config_of_the_docs_is_one(block: str) -> None:
    assert routing_config.parse_config(orjson.loads(block))


def test_check_prints_what_the_docs_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EASEL_KEY_WEB", raising=False)
    told, good = blocks("console", read("configuration.md"))
    (tmp_path / "my.yaml").write_text(blocks("yaml", read("configuration.md"))[0])
    for folder, block in ((tmp_path, told), (ROOT, good)):
        monkeypatch.chdir(folder)
        command, _, output = block.partition("\n")
        assert CliRunner().invoke(main, command.split()[2:]).output == output


async def test_the_metrics_of_the_docs_are_those_of_the_code() -> None:
    page = read("metrics.md")
    about = page[page.index("## List of metrics") :]
    row = r"^\| `([a-z_]+)` \| (counter|gauge|histogram) \| ((?:`[a-z]+` ?)*)\|"
    rows = {
        name: (kind, tuple(re.findall("`([a-z]+)`", labels)))
        for name, kind, labels in re.findall(row, about, re.MULTILINE)
    }
    async with gateway() as ours:
        told = read_snapshot(ours.app[METRICS].snapshot())
    there = {it.name: (it.kind, it.labels) for it in told}
    # Only where the settings name one.
    assert rows == {**there, "easel_redis_up": ("gauge", ())}


def test_the_outcomes_of_the_docs_are_those_of_the_code() -> None:
    page = read("metrics.md")
    about = page[page.index("## Outcomes") :]
    assert re.findall(r"^\| `([a-z_]+)` \|", about, re.MULTILINE) == ["outcome", *OUTCOMES]
