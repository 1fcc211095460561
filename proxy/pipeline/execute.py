"""POST /v1/images/generations: walk the plan's tree, attempt its targets.

To attempt a target is to send it through the links of ATTEMPT. A fallback goes on to its next
target while the client has nothing yet; every other strategy leads to one.
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
from proxy.context import ATTEMPT, BODY, COMMITTED, PLAN, STRATEGIES, TIMELINE
from proxy.errors import log_code, set_headers
from proxy.http import status as http_status
from proxy.http.body import enforce_limits
from proxy.http.forwarding import gateway_hops
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
from proxy.routing.strategies import circuit_name
from proxy.settings.routing_config import Strategy

AttemptEnd = tuple[ImageError | str, int]
"""How an attempt ended: by what failure, or in a word, and with which status."""

_STREAM_PARAMS = frozenset({"stream", "partial_images"})
_FAILED: AttemptEnd = (GATEWAY_ERROR, 0)
_MAX_REPORTED = 100
"""Failures that a client is told of: its last ones. What was refused unsent costs no attempt."""


def plan_handler(run_chain: Handler, dry_run_chain: Handler) -> Handler:
    """Make the handler; `attempt_at` is what serves one attempt: the ATTEMPT links.

    `rehearse_at` serves one in a dry run.
    """

    async def run_plan(request: web.Request) -> web.StreamResponse:
        walk = PlanExecutor(request, dry_run_chain if request[PLAN].dry_run else run_chain)
        try:
            return await walk.run()
        except ImageError as error:
            told = walk.failures[-_MAX_REPORTED:] if walk.failures[1:] else []
            error.attempts = [said.to_json() for said in told]
            if walk.budget.maybe_charged:
                # An SDK that tried again by its own rules could pay twice for the same picture.
                set_headers(error, {"x-should-retry": "false"})
            raise
        finally:
            if ATTEMPT in request:
                record_images(request, request[ATTEMPT], request[PLAN].params)

    return run_plan


class PlanExecutor:
    """The walk of one request through its plan.

    `said` is how each target failed, in order; `budget` what is left to be tried.
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
        """Answer with what the plan comes to; raises `ImageError`."""
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
        """Answer with what a node of the tree comes to; raises `ImageError`.

        `fills`: what it fails to make, another node will make.
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
        """Try each target; if it fails before the client has anything, try the next."""
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
        return await self.run_node(last, completes_elsewhere=completes_elsewhere)

    def _should_fall_back(self, error: ImageError, strategy: Strategy) -> bool:
        """Tell whether the next target is tried after a failure."""
        if self._request.get(COMMITTED) or self.budget.remaining <= 0:
            return False
        return isinstance(error, IncompleteImages) or should_fall_back(error, strategy)

    async def _deliver_partial(self, error: ImageError) -> web.StreamResponse:
        """Deliver what some targets made, now that none is left to make the others."""
        attempt = self._request[ATTEMPT]
        attempt.prior_images, attempt.completes_elsewhere = self._prior_images, False
        attempt.receipt = Receipt((failed_line(self._missing, error),))
        attempt.capture = None
        return await deliver(self._request, Answer(()), {})

    def _start_attempt(self, target: Target, *, completes_elsewhere: bool) -> dict[str, Any]:
        """Note an attempt at a target, and give what it is asked for: what is still missing."""
        params = final_params(self._plan.params, target)
        raw = self._request.get(BODY) if params == self._plan.params else None
        if self._prior_images:
            # Pictures that were made stand in one answer with those to come: not in events.
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
        )
        return params

    async def _run_attempt(
        self, target: Target, *, completes_elsewhere: bool
    ) -> web.StreamResponse:
        """Attempt one target, and tell its circuit how that ended."""
        params = self._start_attempt(target, completes_elsewhere=completes_elsewhere)
        circuits, name = self._strategies.circuits, ""
        if target.breaker:
            circuits.on_start(name := circuit_name(target, self._plan))
        status, left = None, self.budget.remaining
        began, ended = perf_counter(), _FAILED
        try:
            with attempt_span(self._request[ATTEMPT]):
                enforce_limits(params, self._limits)
                response = await self._run_chain(self._request)
            # Without a request to the provider, as on a cache hit, it has shown nothing.
            if self.budget.remaining < left:
                status = http_status.OK
            ended = OK, response.status
            return response  # noqa: TRY300 - what it showed is noted on the way out
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
            if target.breaker:
                circuits.on_result(name, target.breaker, status)
            self._record_attempt(target, ended, began, asked=self.budget.remaining < left)

    def _record_attempt(
        self, target: Target, ended: AttemptEnd, began: float, *, asked: bool
    ) -> None:
        """Note how an attempt ended; `asked`: its provider was sent something."""
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
