"""Trace propagation headers: W3C Trace Context and Baggage.

Malformed headers are ignored, as both specifications require.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from multidict import CIMultiDict, CIMultiDictProxy
from opentelemetry.context import Context
from opentelemetry.trace import SpanContext, TraceFlags
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

Headers = CIMultiDict[str] | CIMultiDictProxy[str]

_PARENT, _STATE, _BAGGAGE = "traceparent", "tracestate", "baggage"
_MAX_MEMBERS, _MAX_BYTES = 180, 8192
"""Limits of baggage in the W3C specification."""
_NAME = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_VALUE = r"[!#-+\--:<-\[\]-~]*"
_MEMBER = re.compile(
    rf"[ \t]*{_NAME}[ \t]*=[ \t]*{_VALUE}([ \t]*;[ \t]*{_NAME}([ \t]*=[ \t]*{_VALUE})?)*[ \t]*"
)
_TRACE_CONTEXT = TraceContextTextMapPropagator()


def extract_parent(headers: Headers) -> Context:
    """Return the caller's span as a context; an empty context if there is none."""
    parents = headers.getall(_PARENT, [])
    if len(parents) != 1:
        return Context()
    carrier = {_PARENT: parents[0], _STATE: ",".join(headers.getall(_STATE, []))}
    return _TRACE_CONTEXT.extract(carrier, Context())


def extract_baggage(headers: Headers) -> str:
    """Return a request's baggage unchanged, "" if there is none or it is invalid."""
    text = ",".join(headers.getall(_BAGGAGE, []))
    members = text.split(",")
    if len(text) > _MAX_BYTES or len(members) > _MAX_MEMBERS:
        return ""
    return text if all(map(_MEMBER.fullmatch, members)) else ""


def propagation_headers(span: SpanContext, propagate: str, baggage: str) -> Mapping[str, str]:
    """Return the headers for a provider. `propagate` is `none`, `trace` or `all`.

    `trace` is the ids only. `tracestate` and baggage (`all`) are data of the caller's and may name
    people.
    """
    if propagate == "none":
        return {}
    sampled = span.trace_flags & TraceFlags.SAMPLED
    made = {_PARENT: f"00-{span.trace_id:032x}-{span.span_id:016x}-{sampled:02x}"}
    if propagate == "all":
        state = span.trace_state.to_header()
        made |= {name: it for name, it in ((_STATE, state), (_BAGGAGE, baggage)) if it}
    return made
