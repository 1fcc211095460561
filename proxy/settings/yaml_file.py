"""YAML with `${ENV}` references and the line of every key.

Invariant: no text raises an exception, and no message contains a value of the file.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml
from yaml.composer import Composer

from proxy.settings.paths import Path, format_path

_REFERENCE = re.compile(r"\$\$|\$\{(?:([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\})?")
_SCALARS = frozenset(
    f"tag:yaml.org,2002:{kind}" for kind in ("null", "bool", "int", "float", "str")
)
_TEXT = "tag:yaml.org,2002:str"
_MIN_INTEGER, _MAX_INTEGER = -(2**63), 2**64 - 1
"""The range of integers that can be sent to a provider."""
_MAX_ALIASED_VALUES = 100_000
"""Limit on values that aliases repeat: they make a huge tree of a small file."""

_JSON_DIFFERENCES = re.compile(
    rf"\\u[dD][89a-fA-F]|[\x85\u2028\u2029]|{yaml.reader.Reader.NON_PRINTABLE.pattern}"
)
"""Text that JSON and YAML read differently: surrogates, line ends, unprintable characters."""

_ONE_CHARACTER = len("'\\t'")

# A part of the YAML library's message -> what to do.
_HINTS: tuple[tuple[str, str], ...] = (
    (r"'\t'", "indent with spaces, not with tabs"),
    ("cannot start any token", "put the value in quotes"),
    ("alias", "put a value that begins with * in quotes"),
    ("anchor", "put a value that begins with & in quotes"),
    ("another document", "a settings file is one document: remove the second ---"),
    ("mapping values are not allowed", "check the indentation, or put the value in quotes"),
    ("<block end>", "check the indentation, or put the value in quotes"),
)


class _Loader(yaml.SafeLoader):
    """Loads JSON's types only: a date stays a string, as in `azure_api_version: 2025-04-01`."""

    yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in pairs if tag in _SCALARS]
        for first, pairs in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


def _fast_loader() -> Any:
    """Return the same loader with the parser in C, or None if the library lacks it.

    The nodes are composed in Python: in C, deep nesting overruns the stack.
    """
    if not yaml.__with_libyaml__:
        return None

    def begin(self: Any, text: str) -> None:
        Composer.__init__(self)
        yaml.CSafeLoader.__init__(self, text)

    resolvers = _Loader.yaml_implicit_resolvers
    own = {"__init__": begin, "yaml_implicit_resolvers": resolvers}
    return type("_FastLoader", (Composer, yaml.CSafeLoader), own)


_FAST_LOADER = _fast_loader()


_PARSER_DIFFERENCES = re.compile(r"[\t?]|[|>][-+0-9]*#|(?<![^\s\[\]{},:])!")
"""Text that only one of the two parsers accepts: some tabs and tags, `{a?b}`, `|#`."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One error in a settings file."""

    file: str
    line: int
    key: str
    message: str

    def __str__(self) -> str:
        """Return `file:line: key: message`, which editors recognize."""
        place = f"{self.file}:{self.line}" if self.line else self.file
        return f"{place}: {self.key}: {self.message}" if self.key else f"{place}: {self.message}"


class YamlFile:
    """A parsed file: `data` in JSON's types, `problems`, and the line of each key.

    References are expanded in `data`. Lines are only needed for messages, so the file is parsed a
    second time when the first problem is found, to record them in `lines`.
    """

    def __init__(
        self,
        text: str,
        file: str,
        environ: Mapping[str, str],
        lines: dict[Path, int] | None = None,
    ) -> None:
        self.file = file
        self.data: Any = {}
        self.problems: list[Problem] = []
        self._text = text
        self._environ = environ
        self._lines = lines
        self._records_lines = lines is not None
        self._problem_paths: set[Path] = set()
        self._seen: set[int] = set()
        self._aliased_values_left = _MAX_ALIASED_VALUES
        try:
            self._parse(text)
        except yaml.MarkedYAMLError as error:
            line = error.problem_mark.line + 1 if error.problem_mark else 0
            self._add_syntax_problem(line, _message(error, text))
        except yaml.reader.ReaderError as error:
            line = text.count("\n", 0, error.position) + 1
            self._add_syntax_problem(line, f"character #x{error.character:02x} is not allowed")
        except RecursionError:
            self._add_syntax_problem(0, "it is nested too deeply, or an alias contains itself")

    def line(self, path: Path) -> int:
        """Return the line of a key, or of the closest value that contains it; 0 if unknown."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 0)

    @property
    def lines(self) -> dict[Path, int]:
        """The line of every path."""
        if self._lines is None:
            self._lines = {}
            YamlFile(self._text, self.file, self._environ, self._lines)
        return self._lines

    def add_problem(self, path: Path, message: str) -> None:
        """Add a problem, unless the path or a value inside it already has one."""
        if path not in self._problem_paths:
            self._problem_paths.update(path[:end] for end in range(len(path) + 1))
            self.problems.append(Problem(self.file, self.line(path), format_path(path), message))

    def _add_syntax_problem(self, line: int, message: str) -> None:
        self.data = {}
        self.problems.append(Problem(self.file, line, "", f"not valid YAML: {message}"))

    def _parse(self, text: str) -> None:
        if not self._records_lines and (found := _parse_json(text)):
            self.data = self._expand_all(found, ()) if "$" in text else found
            return
        loader, node = _compose(text)
        self.data = {} if node is None else self._read(loader, node, ())
        self._seen.clear()

    def _read(self, loader: Any, node: yaml.Node, path: Path) -> Any:
        if self._records_lines:
            self.lines.setdefault(path, node.start_mark.line + 1)
        if id(node) in self._seen:
            self._aliased_values_left -= 1
            if self._aliased_values_left < 0:
                raise yaml.MarkedYAMLError(problem="it is too large", problem_mark=node.start_mark)
        self._seen.add(id(node))
        if isinstance(node, yaml.MappingNode):
            return self._mapping(loader, node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self._read(loader, item, (*path, i)) for i, item in enumerate(node.value)]
        return self._scalar(loader, node, path)

    def _mapping(self, loader: Any, node: yaml.MappingNode, path: Path) -> Any:
        mapping: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                raise yaml.MarkedYAMLError(
                    problem="a key must be a string", problem_mark=key_node.start_mark
                )
            key = str(key_node.value)
            place = (*path, key)
            if key == "<<":
                self.add_problem(path, "merging with << is not supported: write the keys out")
            elif key in mapping:
                line = key_node.start_mark.line + 1
                self.add_problem(place, f"is given twice: here and in line {line}")
            else:
                if self._records_lines:
                    self.lines[place] = key_node.start_mark.line + 1
                mapping[key] = self._read(loader, value_node, place)
        return mapping

    def _scalar(self, loader: Any, node: yaml.Node, path: Path) -> Any:
        if node.tag == _TEXT:
            return self._expand(node.value, path)
        if node.tag not in _SCALARS:
            self.add_problem(path, "has a tag: put a value that begins with ! in quotes")
            return None
        try:
            value = loader.construct_object(node)
        except (ValueError, LookupError):  # `!!int abc`, or thousands of digits
            self.add_problem(path, "cannot be read: put it in quotes")
            return None
        if isinstance(value, str):
            return self._expand(value, path)
        if not _fits_json(value):
            self.add_problem(path, "is a number that JSON cannot represent")
            return None
        return value

    def _expand_all(self, value: Any, path: Path) -> Any:
        """Expand the references in a tree that was parsed as JSON."""
        if isinstance(value, dict):
            return {key: self._expand_all(it, (*path, key)) for key, it in value.items()}
        if isinstance(value, list):
            return [self._expand_all(it, (*path, i)) for i, it in enumerate(value)]
        return self._expand(value, path) if isinstance(value, str) else value

    def _expand(self, text: str, path: Path) -> str:
        """Expand `${NAME}` and `${NAME:-default}`; `$$` is a dollar sign."""
        if "$" not in text:
            return text

        def value(match: re.Match[str]) -> str:
            name, default = match.groups()
            if match[0] == "$$":
                return "$"
            if name is None:
                self.add_problem(
                    path, "needs ${NAME} or ${NAME:-default}; write $$ for a dollar sign"
                )
                return ""
            # As in a shell, the default also replaces an empty variable.
            found = self._environ.get(name) or default
            if found is None:
                self.add_problem(path, f"the environment variable {name} is not set, or empty")
                return ""
            return found

        return _REFERENCE.sub(value, text)


def _compose(text: str) -> tuple[Any, yaml.Node | None]:
    """Compose a text's nodes; if the parser in C rejects it, the one in Python decides."""
    fast = _FAST_LOADER and not _PARSER_DIFFERENCES.search(text)
    kinds: list[Any] = [_FAST_LOADER, _Loader] if fast else [_Loader]
    for kind in kinds:
        try:
            loader = kind(text)
            try:
                return loader, loader.get_single_node()
            finally:
                loader.dispose()
        except (yaml.YAMLError, ValueError):
            if kind is _Loader:
                raise
    raise AssertionError


def _parse_json(text: str) -> dict[str, Any] | None:
    """Parse a text as JSON; None if it is not JSON, or if YAML could read it differently."""
    if not text.startswith("{") or _JSON_DIFFERENCES.search(text):
        return None
    try:
        found: dict[str, Any] = json.loads(
            text,
            object_pairs_hook=_object,
            parse_int=_integer,
            parse_float=_decimal,
            parse_constant=_reject,
        )
    except (ValueError, RecursionError):
        return None
    return found


def _object(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs) or "<<" in found:
        raise ValueError
    return found


def _integer(digits: str) -> int:
    number = int(digits)
    if not _fits_json(number):
        raise ValueError
    return number


def _decimal(digits: str) -> float:
    number = float(digits)
    # YAML takes 1e3, without a dot and a sign, for a string.
    if "e" in digits.lower() or not _fits_json(number):
        raise ValueError
    return number


def _reject(_constant: str) -> Any:
    raise ValueError


def _fits_json(value: Any) -> bool:
    """Return whether JSON can represent a value."""
    if isinstance(value, float):
        return math.isfinite(value)
    return not isinstance(value, int) or _MIN_INTEGER <= value <= _MAX_INTEGER


def _message(error: yaml.MarkedYAMLError, text: str) -> str:
    """Return the YAML library's message without its quotes from the file, and what to do."""
    problem = str(error.problem)
    lines = text.splitlines()
    mark = error.problem_mark
    here = lines[mark.line] if mark and mark.line < len(lines) else ""
    hint = next((hint for sign, hint in _HINTS if sign in f"{error.context} {problem}"), "")
    if "expected ',' or" in problem and "${" in here:
        hint = "between { } and [ ], put ${...} in quotes"
    shown = re.sub(r"'[^']*'|\"[^\"]*\"", _mask_quote, problem)
    return f"{shown} ({hint})" if hint else shown


def _mask_quote(quoted: re.Match[str]) -> str:
    """Mask a quote of the file; keep a single character and the library's own terms, in <>."""
    return quoted[0] if len(quoted[0]) <= _ONE_CHARACTER or quoted[0][1] == "<" else "..."
