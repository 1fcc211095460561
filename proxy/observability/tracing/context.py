"""The span that what runs now belongs to; None where no trace is written.

Whoever has something to say to it does so through `hooks`, which costs a look-up here while it is
off. A task has what was current where it was made.
"""

from __future__ import annotations

from contextvars import ContextVar

CURRENT_SPAN: ContextVar[object] = ContextVar("span", default=None)
"""A `spans.Span`, or None: `hooks` and `spans` both import this, so it cannot name the class."""
