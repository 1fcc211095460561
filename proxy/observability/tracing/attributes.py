"""Every attribute and event name of our spans: OpenTelemetry's conventions, and `easel.*`.

GenAI: https://github.com/open-telemetry/semantic-conventions-genai/blob/main/docs/gen-ai/gen-ai-spans.md
HTTP: https://opentelemetry.io/docs/specs/semconv/http/http-spans/
"""

from __future__ import annotations

OPERATION = "generate_content"
"""The closest operation of the conventions, which have none for image generation."""
IMAGE = "image"
JOB_SPAN = "job"

METHOD = "http.request.method"
ROUTE = "http.route"
STATUS = "http.response.status_code"
RESEND_COUNT = "http.request.resend_count"
ERROR = "error.type"
HOST = "server.address"
PORT = "server.port"
TEMPLATE = "url.template"

GEN_AI_OPERATION = "gen_ai.operation.name"
GEN_AI_OUTPUT = "gen_ai.output.type"
GEN_AI_PROVIDER = "gen_ai.provider.name"
GEN_AI_MODEL = "gen_ai.request.model"
GEN_AI_COUNT = "gen_ai.request.choice.count"
GEN_AI_ANSWERED = "gen_ai.response.model"
GEN_AI_INPUT = "gen_ai.usage.input_tokens"
GEN_AI_OUTPUT_TOKENS = "gen_ai.usage.output_tokens"

CALLER = "easel.caller"
CONFIG = "easel.config"
TRACE = "easel.trace_id"
JOB = "easel.job.id"
JOINED = "easel.job.joined"
CACHE = "easel.cache.status"
TARGET = "easel.target.index"
RETRIES = "easel.retries"
REASON = "easel.retry.reason"
DROPPED = "easel.receipt.dropped"
CHANGED = "easel.receipt.changed"

ATTRIBUTES = frozenset(
    {
        *(METHOD, ROUTE, STATUS, RESEND_COUNT, ERROR, HOST, PORT, TEMPLATE),
        *(GEN_AI_OPERATION, GEN_AI_OUTPUT, GEN_AI_PROVIDER, GEN_AI_MODEL, GEN_AI_COUNT),
        *(GEN_AI_ANSWERED, GEN_AI_INPUT, GEN_AI_OUTPUT_TOKENS),
        *(CALLER, CONFIG, TRACE, JOB, JOINED, CACHE, TARGET, RETRIES, REASON, DROPPED, CHANGED),
    }
)

JOB_JOINED = "easel.job.joined"
CACHE_HIT = "easel.cache.hit"
FALLBACK = "easel.fallback"
BLOB_STORED = "easel.blob.stored"

EVENTS = frozenset({JOB_JOINED, CACHE_HIT, FALLBACK, BLOB_STORED})
