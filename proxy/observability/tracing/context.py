"""The current span, in a context variable; None while tracing is off.

Use `hooks` to annotate it: with tracing off that costs one look-up. A task inherits the span that
was current where the task was created.
"""

from __future__ import annotations

from contextvars import ContextVar

CURRENT_SPAN: ContextVar[object] = ContextVar("span", default=None)
"""A `spans.Span` or None. `spans` imports OpenTelemetry, and `hooks` must not: hence `object`."""
