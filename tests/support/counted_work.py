"""Measure the work of a call in counted steps and bytes, which are the same on every machine."""

from __future__ import annotations

import sys
import tracemalloc
from collections.abc import Callable
from types import FrameType
from typing import Any, NamedTuple


class Work(NamedTuple):
    """What a call cost: `steps` are executed bytecode instructions, `peak` is in bytes."""

    steps: int
    peak: int


def count_work(call: Callable[[], object]) -> Work:
    """Run a call twice; return the instructions that it executed, and the memory at its peak."""
    return Work(_count_steps(call), _peak_memory(call))


def _count_steps(call: Callable[[], object]) -> int:
    steps = 0

    def trace(frame: FrameType, event: str, _: object) -> Any:
        nonlocal steps
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        steps += event == "opcode"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        call()
    finally:
        sys.settrace(before)
    return steps


def _peak_memory(call: Callable[[], object]) -> int:
    tracemalloc.start()
    try:
        result = call()
        peak = tracemalloc.get_traced_memory()[1]
        del result
        return peak
    finally:
        tracemalloc.stop()
