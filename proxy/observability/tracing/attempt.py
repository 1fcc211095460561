"""The span of an attempt: one model call at one target, with its retries and polls."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

from opentelemetry.trace import SpanKind

from adapters.contract import Answer
from proxy.observability.bookkeeping import bookkeeping
from proxy.observability.tracing import attributes
from proxy.observability.tracing.spans import Span, Value
from proxy.routing.attempt import Attempt
from proxy.routing.plan import Target

_MODEL = re.compile(r"[A-Za-z0-9@][A-Za-z0-9@._:/+~-]{0,127}")
_CHANGE_VERBS = ("converted", "clamped", "rounded")
"""Verbs of receipt lines for parameters that were sent with another value."""
_USAGE_ATTRIBUTES = {
    "input_tokens": attributes.GEN_AI_INPUT,
    "output_tokens": attributes.GEN_AI_OUTPUT_TOKENS,
}


class AttemptSpan(Span):
    """A span that records the attempt's result when it ends."""

    __slots__ = ("_attempt",)

    def __init__(self, parent: Span, attempt: Attempt) -> None:
        about = {
            **request_attributes(attempt.target, attempt.params),
            attributes.TARGET: attempt.target.config_path,
        }
        n = attempt.params.get("n")
        if type(n) is int and n != 1:
            about[attributes.GEN_AI_COUNT] = n
        begun = parent.start_child(span_name(about), about, SpanKind.CLIENT)
        super().__init__(begun.tracer, begun.otel, begun.baggage)
        self._attempt = attempt

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        with bookkeeping("traces"):
            self.set_attributes(
                {
                    **result_attributes(self._attempt),
                    attributes.RETRIES: self._attempt.retry_state.retries,
                }
            )
        super().__exit__(kind, error, trace)


def request_attributes(target: Target | None, params: Mapping[str, Any]) -> dict[str, Value]:
    """Return the request's attributes, named by the GenAI conventions."""
    about: dict[str, Value] = {
        attributes.GEN_AI_OPERATION: attributes.OPERATION,
        attributes.GEN_AI_OUTPUT: attributes.IMAGE,
    }
    secrets = target.secrets if target else frozenset[str]()
    if model := safe_model_name(params.get("model"), secrets):
        about[attributes.GEN_AI_MODEL] = model
    if target:
        about[attributes.GEN_AI_PROVIDER] = target.adapter.otel_provider_name or target.adapter.id
    return about


def span_name(about: Mapping[str, Value]) -> str:
    """Return the span's name: operation and model."""
    return f"{attributes.OPERATION} {about.get(attributes.GEN_AI_MODEL, '')}".rstrip()


def result_attributes(attempt: Attempt) -> dict[str, Value]:
    """Return the cache status and the number of parameters dropped and changed."""
    verbs = Counter(line.verb for line in attempt.receipt.lines)
    return {
        attributes.CACHE: attempt.cache_status,
        attributes.DROPPED: verbs["dropped"],
        attributes.CHANGED: sum(verbs[verb] for verb in _CHANGE_VERBS),
    }


def safe_model_name(named: Any, secrets: frozenset[str]) -> str:
    """Return a model's name if it looks like one, else "": a client can send any text as model.

    >>> no_secrets: frozenset[str] = frozenset()
    >>> safe_model_name("@up/gpt-image-1", no_secrets), safe_model_name("A lighthouse", no_secrets)
    ('@up/gpt-image-1', '')
    """
    if not (isinstance(named, str) and _MODEL.fullmatch(named)):
        return ""
    return "" if any(secret in named for secret in secrets) else named


def record_usage(span: Span, answer: Answer, secrets: frozenset[str]) -> None:
    """Record the token usage and the model that the provider reported in an answer."""
    for said, name in _USAGE_ATTRIBUTES.items():
        number = (answer.usage or {}).get(said)
        if type(number) is int:
            span.add_count(name, number)
    if model := safe_model_name(answer.extra.get("model"), secrets):
        span.set_attributes({attributes.GEN_AI_ANSWERED: model})
