"""Reading a YAML file with `${ENV}` references, remembering the line of every key."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml

Path = tuple[str | int, ...]

_REFERENCE = re.compile(r"\$\$|\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong in a settings file."""

    file: str
    line: int
    key: str
    message: str

    def __str__(self) -> str:
        """Write it as editors and people like it: `file:line: key: message`."""
        place = f"{self.file}:{self.line}" if self.line else self.file
        return f"{place}: {self.key}: {self.message}" if self.key else f"{place}: {self.message}"


def dotted(path: Path) -> str:
    """Write a path as people do.

    >>> dotted(("configs", "pc-1", "targets", 0, "retry"))
    'configs.pc-1.targets[0].retry'
    """
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else str(step)
    return text


class Source:
    """A parsed file: `data` in plain types, and where each of its keys stands.

    References are replaced in `data`; what could not be read is in `problems`.
    """

    def __init__(self, text: str, file: str, environ: Mapping[str, str]) -> None:
        self.file = file
        self.data: Any = {}
        self.problems: list[Problem] = []
        self._environ = environ
        self._lines: dict[Path, int] = {}
        loader = yaml.SafeLoader(text)
        try:
            node = loader.get_single_node()
            self.data = {} if node is None else self._read(loader, node, ())
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark
            line = mark.line + 1 if mark else 0
            self.problems.append(Problem(file, line, "", f"not valid YAML: {error.problem}"))
        except yaml.YAMLError as error:
            self.problems.append(Problem(file, 0, "", f"not valid YAML: {error}"))
        finally:
            loader.dispose()

    def line(self, path: Path) -> int:
        """Give the line of a key, or of the nearest thing that holds it; 0 when unknown."""
        while path and path not in self._lines:
            path = path[:-1]
        return self._lines.get(path, 0)

    def problem(self, path: Path, message: str) -> Problem:
        """Describe what is wrong at a path."""
        return Problem(self.file, self.line(path), dotted(path), message)

    def _read(self, loader: yaml.SafeLoader, node: yaml.Node, path: Path) -> Any:
        self._lines.setdefault(path, node.start_mark.line + 1)
        if isinstance(node, yaml.MappingNode):
            return self._mapping(loader, node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self._read(loader, item, (*path, i)) for i, item in enumerate(node.value)]
        value = loader.construct_object(node)
        return self._filled(value, path) if isinstance(value, str) else value

    def _mapping(self, loader: yaml.SafeLoader, node: yaml.MappingNode, path: Path) -> Any:
        mapping: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = str(key_node.value)
            place = (*path, key)
            self._lines[place] = key_node.start_mark.line + 1
            if key in mapping:
                self.problems.append(self.problem(place, "stands here twice"))
            mapping[key] = self._read(loader, value_node, place)
        return mapping

    def _filled(self, text: str, path: Path) -> str:
        """Replace `${NAME}` and `${NAME:-default}`; `$$` stands for one dollar."""

        def value(match: re.Match[str]) -> str:
            name, default = match.groups()
            if name is None:
                return "$"
            # As in a shell, `:-` serves for a variable that is empty too.
            found = self._environ.get(name) or default
            if found is None:
                self.problems.append(
                    self.problem(path, f"the environment variable {name} is not set")
                )
                return ""
            return found

        return _REFERENCE.sub(value, text)
