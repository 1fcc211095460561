"""What values are made by: `@value`, in place of `@dataclass(frozen=True, slots=True)`.

A frozen dataclass sets each of its fields by a call, which takes three times as long, and a request
makes a score of values. So it is mypy that lets nobody change one, before anything runs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar, dataclass_transform

T = TypeVar("T")


@dataclass_transform(frozen_default=True)
def frozen(kind: type[T]) -> type[T]:
    """Make a class a dataclass with slots, whose instances nobody changes.

    It has no repr: it may hold secrets, or a prompt.
    """
    return dataclass(slots=True, repr=False, unsafe_hash=True)(kind)
