"""Translates the client's parameters into the provider calls of one target, with a receipt."""

from __future__ import annotations

from functools import cache
from typing import Any

from adapters.contract import Adapter, ImageCall
from adapters.errors import BadParam
from adapters.table.param import Param, validate
from adapters.table.receipt import Receipt, ReceiptLine
from adapters.table.table import known_params, passthrough_receipt
from proxy.routing.attempt import Attempt

_COMMON_PARAMS = ("prompt", "model", "response_format", "stream")


def prepare_calls(attempt: Attempt) -> None:
    """Set the attempt's calls and receipt; raises `BadParam`."""
    check_common_params(attempt.params)
    adapter = attempt.target.adapter
    if adapter.passthrough:
        target = attempt.target
        call = ImageCall(attempt.params, attempt.params, target.credentials, attempt.raw_body)
        attempt.calls = (call,)
        attempt.receipt = passthrough_receipt(
            call.params,
            adapter.suppressed_params(call),
            target.unsupported_policy,
            adapter.name,
            _known_params(adapter),
        )
    else:
        attempt.calls, attempt.receipt = translate(adapter, attempt)


@cache
def _known_params(adapter: Adapter) -> frozenset[str]:
    return known_params(adapter.tables_by_model)


def check_common_params(params: dict[str, Any]) -> None:
    """Check the parameters that the gateway itself reads; the adapter's table checks the others."""
    if params.get("prompt") is None:
        raise BadParam(
            "prompt",
            "'prompt' is required: the text that describes the image.",
            code="missing_required_parameter",
        )
    for name in _COMMON_PARAMS:
        if params.get(name) is not None:
            validate(name, params[name])


def translate(adapter: Adapter, attempt: Attempt) -> tuple[tuple[ImageCall, ...], Receipt]:
    """Return the calls and the receipt for a provider whose API is not OpenAI's.

    If `n` is more than one call can generate, it is split over several calls with different seeds.
    """
    params, credentials = attempt.params, attempt.target.credentials
    call = ImageCall(params, params, credentials)
    table, withheld = adapter.effective_table(call), adapter.suppressed_params(call)
    n = params.get("n")
    if n is not None:
        validate("n", n)
    counts = split_n(n or 1, table.images_per_call)
    calls: list[ImageCall] = []
    receipt = Receipt()
    for i, count in enumerate(counts):
        own = offset_seed(params, sum(counts[:i]), table.row("seed"))
        made = table.translate(
            *(own, attempt.target.unsupported_policy),
            n=count,
            provider=adapter.name,
            suppressed=withheld,
        )
        calls.append(ImageCall(own, made.fields, credentials, n=count))
        receipt = receipt if calls[1:] else made.receipt
    if calls[1:]:
        receipt = receipt.with_lines(ReceiptLine("converted", "n", str(n), f"calls={len(calls)}"))
    return tuple(calls), receipt


def split_n(n: int, limit: int) -> list[int]:
    """Split `n` images into calls of at most `limit`.

    >>> split_n(5, 4), split_n(1, 1)
    ([4, 1], [1])
    """
    return [min(limit, n - done) for done in range(0, n, limit)]


def offset_seed(params: dict[str, Any], offset: int, row: Param | None = None) -> dict[str, Any]:
    """Return the parameters with `offset` added to the seed: the same seed repeats the same image.

    A seed beyond the upper bound of its `row` wraps around to the lower bound.

    >>> row = Param("seed", kind=int, low=1, high=8)
    >>> offset_seed({"seed": 7}, 2), offset_seed({"seed": 7}, 2, row)
    ({'seed': 9}, {'seed': 1})
    """
    seed = params.get("seed")
    if not offset or not isinstance(seed, int) or isinstance(seed, bool):
        return params
    seed += offset
    if row and row.high is not None and seed > row.high:
        seed = int(row.low or 0) + seed - int(row.high) - 1
    return {**params, "seed": seed}
