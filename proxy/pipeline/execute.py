"""Executes a plan: selects targets in the plan's tree, attempts them, falls back.

An attempt runs ATTEMPT_CHAIN of `proxy.middlewares`. A fallback tries its next target only while
nothing has been sent to the client; every other strategy selects one target.
"""

from __future__ import annotations

import asyncio
from time import perf_counter
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler

from adapters.contract import Answer
from adapters.errors import ImageError
from adapters.table.receipt import Receipt
from adapters.tools.response_form import default_form
from proxy.context import ATTEMPT, BODY, COMMITTED, PLAN, STRATEGIES, TIMELINE
from proxy.errors import log_code, set_headers
from proxy.http import status as http_status
from proxy.http.body import enforce_limits
from proxy.http.forwarding import gateway_hops
from proxy.observability.bookkeeping import bookkeeping
from proxy.observability.metrics.labels import CANCELLED, GATEWAY_ERROR, OK, error_outcome
from proxy.observability.metrics.registry import METRICS
from proxy.observability.tracing import attributes
from proxy.observability.tracing.hooks import add_event, attempt_span
from proxy.pipeline.accounting import record_images
from proxy.pipeline.params import final_params
from proxy.pipeline.partial import IncompleteImages, failed_line
from proxy.pipeline.response import deliver
from proxy.reload.snapshot import SNAPSHOT
from proxy.routing.attempt import (
    Attempt,
    AttemptBudget,
    AttemptLog,
    MadeImages,
    RequestTimeline,
    RetryState,
)
from proxy.routing.fallback import TargetFailure, failure_status, should_fall_back
from proxy.routing.plan import Node, StrategyNode, Target
from proxy.settings.routing_config import Strategy

AttemptEnd = tuple[ImageError | str, int]
"""How an attempt ended: its error or an outcome label, and the status."""

_STREAM_PARAMS = frozenset({"stream", "partial_images"})
_FAILED: AttemptEnd = (GATEWAY_ERROR, 0)
_MAX_REPORTED = 100
"""Number of failures listed in an error response: the last ones.

`limits.attempts` does not bound them, because a target that refuses before sending costs none.
"""


def plan_handler(run_chain: Handler, dry_run_chain: Handler) -> Handler:
    """Return the handler that executes a request's plan.

    `run_chain` serves one attempt, `dry_run_chain` the attempt of a dry run.
    """

    async def run_plan(request: web.Request) -> web.StreamResponse:
        executor = PlanExecutor(request, dry_run_chain if request[PLAN].dry_run else run_chain)
        try:
            return await executor.run()
        except ImageError as error:
            # A single failure is the error itself.
            reported = executor.failures[-_MAX_REPORTED:] if executor.failures[1:] else []
            error.attempts = [failure.to_json() for failure in reported]
            if executor.budget.maybe_charged:
                # An SDK that retries by its own rules could pay twice for the same image.
                set_headers(error, {"x-should-retry": "false"})
            raise
        finally:
            if ATTEMPT in request:
                with bookkeeping("prices"):
                    record_images(request, request[ATTEMPT], request[PLAN].params)

    return run_plan


class PlanExecutor:
    """Executes the plan of one request.

    `failures` holds how each target failed, in order; `budget` the attempts that remain.
    """

    def __init__(self, request: web.Request, run_chain: Handler) -> None:
        self.failures: list[TargetFailure] = []
        self._prior_images: MadeImages = ()
        self._missing = 0
        self._request = request
        self._run_chain = run_chain
        self._plan = request[PLAN]
        self._strategies = request.app[STRATEGIES]
        self._limits = request[SNAPSHOT].settings.limits
        self._metrics = request.app[METRICS]
        self._timeline = request.get(TIMELINE) or RequestTimeline(perf_counter())
        self.budget = AttemptBudget(
            self._limits.attempts, hops=gateway_hops(request.headers), timeline=self._timeline
        )

    async def run(self) -> web.StreamResponse:
        """Respond with the images of the plan's targets; raises `ImageError`."""
        try:
            return await self.run_node(self._plan.root)
        except ImageError as error:
            all_or_none = self._request[SNAPSHOT].settings.images.incomplete == "fail"
            if not self._prior_images or self._request.get(COMMITTED) or all_or_none:
                raise
            return await self._deliver_partial(error)

    async def run_node(
        self, node: Node, *, completes_elsewhere: bool = False
    ) -> web.StreamResponse:
        """Respond with the result of one node of the tree; raises `ImageError`.

        `completes_elsewhere`: another node can generate the images that this one fails to make.
        """
        if isinstance(node, Target):
            return await self._run_attempt(node, completes_elsewhere=completes_elsewhere)
        branch = self._strategies.without_open_circuits(node, self._plan)
        if branch.strategy.mode == "fallback":
            return await self._run_fallback(branch, completes_elsewhere=completes_elsewhere)
        return await self.run_node(
            self._strategies.select(branch, self._plan), completes_elsewhere=completes_elsewhere
        )

    async def _run_fallback(
        self, branch: StrategyNode, *, completes_elsewhere: bool
    ) -> web.StreamResponse:
        """Attempt each target in order; if it fails before the response starts, try the next."""
        *others, last = branch.children
        for node in others:
            try:
                return await self.run_node(
                    node, completes_elsewhere=completes_elsewhere or branch.strategy.complete
                )
            except ImageError as error:
                if not self._should_fall_back(error, branch.strategy):
                    raise
                add_event(
                    attributes.FALLBACK,
                    {attributes.TARGET: node.config_path, attributes.ERROR: log_code(error)},
                )
                self._metrics.fallbacks.add((self._request[ATTEMPT].target.adapter.id,))
                # Hundreds of targets may refuse before anything is sent: others run in between.
                await asyncio.sleep(0)
        return await self.run_node(last, completes_elsewhere=completes_elsewhere)

    def _should_fall_back(self, error: ImageError, strategy: Strategy) -> bool:
        """Whether the next target is tried after a failure."""
        if self._request.get(COMMITTED) or self.budget.remaining <= 0:
            return False
        return isinstance(error, IncompleteImages) or should_fall_back(error, strategy)

    async def _deliver_partial(self, error: ImageError) -> web.StreamResponse:
        """Respond with the images that some targets made, if no target is left for the others."""
        attempt = self._request[ATTEMPT]
        attempt.prior_images, attempt.completes_elsewhere = self._prior_images, False
        attempt.receipt = Receipt((failed_line(self._missing, error),))
        attempt.capture = None
        return await deliver(self._request, Answer(()), {})

    def _start_attempt(self, target: Target, *, completes_elsewhere: bool) -> dict[str, Any]:
        """Set the request's attempt; return its parameters, which ask for the missing images."""
        params = final_params(self._plan.params, target)
        raw = self._request.get(BODY) if params == self._plan.params else None
        if self._prior_images:
            # The earlier images and the missing ones go into one response, which is not streamed.
            params = {name: it for name, it in params.items() if name not in _STREAM_PARAMS}
            params, raw = {**params, "n": self._missing}, None
        tries = RetryState(self.budget)
        self._request[ATTEMPT] = Attempt(
            target,
            params,
            raw,
            retry_state=tries,
            prior_images=self._prior_images,
            completes_elsewhere=completes_elsewhere,
            # The client's own name of the model counts, whatever model the target has.
            form=params.get("response_format") or default_form(self._plan.params.get("model")),
        )
        return params

    async def _run_attempt(
        self, target: Target, *, completes_elsewhere: bool
    ) -> web.StreamResponse:
        """Attempt one target, and report the result to its circuit breaker."""
        params = self._start_attempt(target, completes_elsewhere=completes_elsewhere)
        self._strategies.on_start(target, self._plan)
        status, left = None, self.budget.remaining
        began, ended = perf_counter(), _FAILED
        try:
            with attempt_span(self._request[ATTEMPT]):
                enforce_limits(params, self._limits)
                response = await self._run_chain(self._request)
            # A cache hit sends no request, and shows nothing about the provider's health.
            if self.budget.remaining < left:
                status = http_status.OK
            ended = OK, response.status
            return response  # noqa: TRY300 - `finally` records the result
        except ImageError as error:
            seen = failure_status(error)
            status = (
                seen if self.budget.remaining < left or seen >= http_status.BAD_GATEWAY else None
            )
            self.budget.record_failure(error)
            self.failures.append(TargetFailure.from_error(target, error, seen))
            ended = error, seen
            if isinstance(error, IncompleteImages):
                self._prior_images, self._missing = error.images, error.missing
            raise
        except asyncio.CancelledError:
            ended = CANCELLED, 0
            raise
        finally:
            with bookkeeping("metrics"):
                self._strategies.on_result(target, self._plan, status)
            with bookkeeping("metrics"):
                self._record_attempt(target, ended, began, asked=self.budget.remaining < left)

    def _record_attempt(
        self, target: Target, ended: AttemptEnd, began: float, *, asked: bool
    ) -> None:
        """Record how an attempt ended. `asked`: a request was sent to the provider."""
        how, status = ended
        result, word = (how, how) if isinstance(how, str) else (error_outcome(how), log_code(how))
        retries = self._request[ATTEMPT].retry_state.resent
        ms = round((perf_counter() - began) * 1000, 1)
        provider = target.adapter.id
        self._timeline.add_attempt(
            AttemptLog(target.config_path, provider, status, word, retries, ms)
        )
        if asked:
            self._metrics.attempts.add((provider, result))
