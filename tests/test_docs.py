"""What the docs list is what the code has, in both directions."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import adapters

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


@pytest.mark.parametrize("name", adapters.PROVIDERS)
def test_every_option_of_a_provider_is_documented_as_it_is(name: str) -> None:
    rows = read("headers.md")
    for option in adapters.adapter(name).options:
        assert re.search(
            rf"\| `{name}` \| `{option.header}`[^|]*\| {re.escape(option.about)}", rows
        )


def test_the_providers_of_the_docs_are_those_of_the_code() -> None:
    ids = re.findall(r"^\| `([a-z-]+)` \| (?:`([a-z-]+)`)?", read("providers.md"), re.MULTILINE)
    assert [it for it, _ in ids] == list(adapters.PROVIDERS)
    assert {also: it for it, also in ids if also} == adapters.ALIASES


def codes_in_the_code() -> set[str]:
    named = set(re.findall(r'code ?= ?"([a-z_]+)"', CODE))
    tabled = re.findall(r'^ +\d{3}: \(\d{3}, "[a-z_]+", "([a-z_]+)"\)', CODE, re.MULTILINE)
    aiohttps = re.findall(r'^ +\d{3}: \("([a-z_]+)", "[A-Z]', CODE, re.MULTILINE)
    return named | set(tabled) | set(aiohttps)


def test_every_error_code_is_documented() -> None:
    assert codes_in_the_code() <= first_cells(read("errors.md"))


def test_every_documented_error_code_is_in_the_code() -> None:
    assert all(f'"{code}"' in CODE for code in first_cells(read("errors.md")))


def test_every_page_is_named_in_the_readme() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert all(f"docs/{page.name}" in readme for page in DOCS.glob("*.md"))


@pytest.mark.parametrize("page", sorted(ROOT.glob("*.md")) + sorted(ROOT.glob("*/*.md")), ids=str)
def test_no_link_leads_nowhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    assert all((page.parent / link).exists() for link in links), links
