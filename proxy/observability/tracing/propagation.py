"""The headers by which a trace goes on from one server to the next: W3C Trace Context and Baggage.

What comes in malformed is passed over, as both ask for: it is no reason to refuse a picture.
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
"""Of baggage: what every server has to be able to carry."""
_NAME = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_VALUE = r"[!#-+\--:<-\[\]-~]*"
_MEMBER = re.compile(
    rf"[ \t]*{_NAME}[ \t]*=[ \t]*{_VALUE}([ \t]*;[ \t]*{_NAME}([ \t]*=[ \t]*{_VALUE})?)*[ \t]*"
)
_TRACE_CONTEXT = TraceContextTextMapPropagator()


def extract_parent(headers: Headers) -> Context:
    """Read the span that a request was made in; an empty context where there is none."""
    parents = headers.getall(_PARENT, [])
    if len(parents) != 1:
        return Context()
    carrier = {_PARENT: parents[0], _STATE: ",".join(headers.getall(_STATE, []))}
    return _TRACE_CONTEXT.extract(carrier, Context())


def extract_baggage(headers: Headers) -> str:
    """Read the baggage of a request as it came, "" where there is none that can go on."""
    text = ",".join(headers.getall(_BAGGAGE, []))
    members = text.split(",")
    if len(text) > _MAX_BYTES or len(members) > _MAX_MEMBERS:
        return ""
    return text if all(map(_MEMBER.fullmatch, members)) else ""


def propagation_headers(span: SpanContext, propagate: str, baggage: str) -> Mapping[str, str]:
    """Write what a provider is sent along: `none`, `trace`, or `all` that came.

    `trace` is the ids alone. State and baggage are a caller's data, which may name people.
    """
    if propagate == "none":
        return {}
    sampled = span.trace_flags & TraceFlags.SAMPLED
    made = {_PARENT: f"00-{span.trace_id:032x}-{span.span_id:016x}-{sampled:02x}"}
    if propagate == "all":
        state = span.trace_state.to_header()
        made |= {name: it for name, it in ((_STATE, state), (_BAGGAGE, baggage)) if it}
    return made
