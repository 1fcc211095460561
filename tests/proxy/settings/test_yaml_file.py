"""YAML: references, lines, and messages that contain no values."""

from __future__ import annotations

import json
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.settings import yaml_file
from proxy.settings.yaml_file import YamlFile

YAML_LIKE = st.text(alphabet="ab:{}[]-&*!#|>'\"%@ \n\t?,$.<1~=\\/\0é", max_size=60)
TAGGED = st.from_regex(r"a: !!(int|float|bool|null|timestamp|binary|set|x) [a-z0-9.:+-]{0,12}")

JSON = st.dictionaries(
    st.text(max_size=9),
    st.recursive(
        st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=9)),
        lambda inner: st.one_of(st.lists(inner), st.dictionaries(st.text(max_size=9), inner)),
        max_leaves=9,
    ),
)


def read(text: str, **environ: str) -> YamlFile:
    return YamlFile(text, "my.yaml", environ)


def data(text: str, **environ: str) -> Any:
    source = read(text, **environ)
    assert source.problems == []
    return source.data


def problem(text: str, **environ: str) -> str:
    """Return the only problem of a text."""
    (found,) = read(text, **environ).problems
    return str(found)


@given(st.one_of(st.text(), YAML_LIKE, TAGGED))
def test_no_text_makes_it_raise(text: str) -> None:
    assert all(str(problem) for problem in read(text).problems)


def parse_result(text: str) -> tuple[str, list[str]]:
    """Return the data (as text, because NaN is not equal to itself) and the problems."""
    source = read(text, NAME="n")
    return repr(source.data), list(map(str, source.problems))


@given(st.one_of(st.text(), YAML_LIKE, TAGGED))
def test_the_parser_in_c_changes_nothing(text: str) -> None:
    with patch.object(yaml_file, "_FAST_LOADER", None):
        without = parse_result(text)
    assert parse_result(text) == without


@given(value=JSON, ascii_only=st.booleans())
def test_json_is_read_as_yaml_reads_it(*, value: dict[str, Any], ascii_only: bool) -> None:
    text = json.dumps(value, ensure_ascii=ascii_only, allow_nan=True)
    assert parse_result(text) == parse_result(f" {text}")


@pytest.mark.parametrize(
    "text",
    [
        '{"a": 1, "a": 2}',
        '{"a": {"<<": 1}}',
        '{"a": [1e3, 1.5e+3, -0]}',
        '{"a": [18446744073709551616]}',
        '{"a": "\\ud83d\\ude00", "b": "\\ud800"}',
        '{"a": ["${NAME}", "$$", "${none}", "${"]}',
        '{"a": NaN}',
        '{"a": "b\x85c"}',
        '{"a": 1} # more',
    ],
)
def test_where_json_and_yaml_differ_yaml_has_the_word(text: str) -> None:
    assert parse_result(text) == parse_result(f" {text}")


def test_the_line_of_what_is_wrong_in_json_is_told() -> None:
    assert problem('{\n"a": 1,\n"b": {\n"c": "${NONE}"}}').startswith("my.yaml:4: b.c: the env")


@pytest.mark.parametrize("opening", ["[", "- ", "{a: ", "? ", '{"a":'])
def test_no_depth_overruns_the_stack(opening: str) -> None:
    assert "nested too deeply" in problem(opening * 20_000)


def test_a_file_may_be_as_large_as_it_likes() -> None:
    lines = [f"k{i}: [1, 2, 3]" for i in range(30_000)]
    assert len(data("\n".join(lines))) == 30_000


def test_a_reference_is_taken_from_the_environment() -> None:
    assert data("a: x-${NAME}-y", NAME="n") == {"a": "x-n-y"}


@pytest.mark.parametrize("environ", [{}, {"NAME": ""}])
def test_a_default_serves_for_what_is_not_set_or_empty(environ: dict[str, str]) -> None:
    assert data("a: ${NAME:-8787}", **environ) == {"a": "8787"}


def test_a_default_may_be_empty() -> None:
    assert data("a: ${NAME:-}") == {"a": ""}


def test_two_dollars_are_one() -> None:
    assert data("a: $${NAME} $$ $x", NAME="n") == {"a": "${NAME} $ $x"}


def test_what_a_variable_holds_is_not_read_again() -> None:
    assert data("a: ${NAME}", NAME="${OTHER} $$", OTHER="o") == {"a": "${OTHER} $$"}


def test_a_key_is_taken_as_it_is_written() -> None:
    assert data("${NAME}: 1", NAME="n") == {"${NAME}": 1}


@pytest.mark.parametrize("environ", [{}, {"NAME": ""}])
def test_a_missing_variable_is_named_with_its_place(environ: dict[str, str]) -> None:
    expected = "my.yaml:2: a.b: the environment variable NAME is not set, or empty"
    assert problem("a:\n  b: ${NAME}", **environ) == expected


@pytest.mark.parametrize("text", ["${my-key}", "${}", "${NAME", "${NAME:default}", "${1}"])
def test_a_reference_that_is_none_is_never_taken_as_it_stands(text: str) -> None:
    assert problem(f"a:\n  b: {text}", NAME="n").startswith("my.yaml:2: a.b: needs ${NAME}")


def test_a_key_that_stands_twice_is_a_problem_of_both_lines() -> None:
    assert problem("a: 1\nb: 2\na: 3") == "my.yaml:1: a: is given twice: here and in line 3"


def test_a_date_stays_text() -> None:
    assert data("version: 2025-04-01") == {"version": "2025-04-01"}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1),
        ("1.5", 1.5),
        ("true", True),
        ("~", None),
        ("", None),
        ("'1'", "1"),
        ("1e2x", "1e2x"),
    ],
)
def test_scalars_are_those_of_json(text: str, value: object) -> None:
    assert data(f"a: {text}") == {"a": value}


@pytest.mark.parametrize("number", ["18446744073709551616", "-9223372036854775809", ".inf", ".nan"])
def test_a_number_that_json_cannot_hold_is_a_problem(number: str) -> None:
    assert problem(f"a: [1, {number}]") == "my.yaml:1: a[1]: is a number that JSON cannot represent"


def test_an_empty_text_is_no_data() -> None:
    assert data("# nothing\n") == {}


@pytest.mark.parametrize(
    ("text", "line", "hint"),
    [
        ("a:\n\tb: 1", 2, "indent with spaces"),
        ("a:\n  b: @x", 2, "in quotes"),
        ("a:\n  - *.internal", 2, "begins with * in quotes"),
        ("a: {b: ${NAME}}", 1, "put ${...} in quotes"),
        ("a: b: c", 1, "check the indentation"),
        ("a: 1\n  b: 2", 2, "check the indentation"),
        ("a: 'b\n", 2, "end of stream"),
        ("a: 1\n---\nb: 2", 2, "one document"),
        ("a: 1\nb: \x07", 2, "#x07"),
        ("a: &a [*a]", 0, "an alias contains itself"),
        ("[" * 500, 0, "nested too deeply"),
        ("? [a]\n: 1", 1, "a key must be a string"),
    ],
)
def test_what_is_not_yaml_is_told_with_its_line_and_a_way_out(
    text: str, line: int, hint: str
) -> None:
    (found,) = read(text).problems
    assert (found.line, found.key) == (line, "")
    assert found.message.startswith("not valid YAML: ")
    assert hint in found.message


@pytest.mark.parametrize(
    "text",
    [
        "key: *sekret1",
        "key: !sekret1 x",
        "key: !sekret1!x y",
        "key: &sekret1 x\nb: &sekret1 y",
        "key: @sekret1",
        "key: 'sekret1",
        'key: "sekret1\\q"',
        "key: [sekret1",
        "key: sekret1: x",
        "key: ${sekret1 x}",
        "key: !!int sekret1",
    ],
)
def test_no_sentence_holds_a_value(text: str) -> None:
    found = read(text).problems
    assert "sekret1" not in "".join(map(str, found))


@pytest.mark.parametrize("text", ["a: !x y", "a: !!binary aGk=", "a: !!timestamp 2025-01-01"])
def test_a_tag_is_a_problem(text: str) -> None:
    assert "begins with ! in quotes" in problem(text)


@pytest.mark.parametrize("text", ["!!int abc", "!!int ''", "!!float abc", "!!bool x", "9" * 5000])
def test_a_scalar_that_cannot_be_read_is_a_problem(text: str) -> None:
    assert problem(f"a: {text}") == "my.yaml:1: a: cannot be read: put it in quotes"


def test_an_alias_repeats_what_it_names() -> None:
    assert data("a: &x [1]\nb: *x") == {"a": [1], "b": [1]}


def test_merging_is_refused_by_name() -> None:
    assert "<<" in problem("a: &x {b: 1}\nc: {<<: *x}")


def test_aliases_of_aliases_cannot_fill_the_memory() -> None:
    lines = ["a: &a [1,1,1,1,1,1,1,1,1]"]
    lines += [
        f"{b}: &{b} [{','.join(['*' + a] * 9)}]" for a, b in zip("abcdef", "bcdefg", strict=True)
    ]
    assert "it is too large" in problem("\n".join(lines))


def test_one_fault_gets_one_sentence() -> None:
    source = read("a:\n  b: ${NAME}\n  c: 1")
    source.add_problem(("a", "b"), "must be a number")
    source.add_problem(("a",), "lacks something")
    source.add_problem(("a", "c"), "is something else")
    assert [problem.key for problem in source.problems] == ["a.b", "a.c"]


def test_the_line_of_a_missing_key_is_that_of_what_should_hold_it() -> None:
    source = read("x: 1\na:\n  b:\n    c: 1")
    assert (source.line(("a", "b", "z", 0)), source.line(("a", "b", "c"))) == (3, 4)
