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
from proxy.errors import logged, put_headers
from proxy.http import status as http_status
from proxy.http.forwarding import hops
from proxy.http.headers import in_bounds
from proxy.observability.metrics.labels import CANCELLED, GATEWAY_ERROR, OK, error_outcome
from proxy.observability.metrics.registry import METRICS
from proxy.observability.tracing import attributes
from proxy.observability.tracing.hooks import attempted, noted
from proxy.pipeline.accounting import count_drawn
from proxy.pipeline.params import final_params
from proxy.pipeline.partial import Incomplete, line_of
from proxy.pipeline.response import deliver
from proxy.reload.snapshot import SNAPSHOT
from proxy.routing.attempt import Attempt, Budget, Made, Trail, Tried, Tries
from proxy.routing.fallback import Said, falls, status_of
from proxy.routing.plan import Branch, Node, Target
from proxy.routing.strategies import circuit_of
from proxy.settings.routing_config import Strategy

Ended = tuple[ImageError | str, int]
"""How an attempt ended: by what failure, or in a word, and with which status."""

_OF_EVENTS = frozenset({"stream", "partial_images"})
_FAILED: Ended = (GATEWAY_ERROR, 0)
_MOST_TOLD = 100
"""Failures that a client is told of: its last ones. What was refused unsent costs no attempt."""


def generator(attempt_at: Handler, rehearse_at: Handler) -> Handler:
    """Make the handler; `attempt_at` is what serves one attempt: the ATTEMPT links.

    `rehearse_at` serves one in a dry run.
    """

    async def generate(request: web.Request) -> web.StreamResponse:
        walk = Walk(request, rehearse_at if request[PLAN].dry_run else attempt_at)
        try:
            return await walk.answer()
        except ImageError as error:
            told = walk.said[-_MOST_TOLD:] if walk.said[1:] else []
            error.attempts = [said.as_object() for said in told]
            if walk.budget.in_doubt:
                # An SDK that tried again by its own rules could pay twice for the same picture.
                put_headers(error, {"x-should-retry": "false"})
            raise
        finally:
            if ATTEMPT in request:
                count_drawn(request, request[ATTEMPT], request[PLAN].params)

    return generate


class Walk:
    """The walk of one request through its plan.

    `said` is how each target failed, in order; `budget` what is left to be tried.
    """

    def __init__(self, request: web.Request, attempt_at: Handler) -> None:
        self.said: list[Said] = []
        self._made: Made = ()
        self._missing = 0
        self._request = request
        self._attempt_at = attempt_at
        self._plan = request[PLAN]
        self._chooser = request.app[STRATEGIES]
        self._limits = request[SNAPSHOT].settings.limits
        self._metrics = request.app[METRICS]
        self._trail = request.get(TIMELINE) or Trail(perf_counter())
        self.budget = Budget(self._limits.attempts, hops=hops(request.headers), trail=self._trail)

    async def answer(self) -> web.StreamResponse:
        """Answer with what the plan comes to; raises `ImageError`."""
        try:
            return await self.at(self._plan.root)
        except ImageError as error:
            all_or_none = self._request[SNAPSHOT].settings.images.incomplete == "fail"
            if not self._made or self._request.get(COMMITTED) or all_or_none:
                raise
            return await self._with_what_was_made(error)

    async def at(self, node: Node, *, fills: bool = False) -> web.StreamResponse:
        """Answer with what a node of the tree comes to; raises `ImageError`.

        `fills`: what it fails to make, another node will make.
        """
        if isinstance(node, Target):
            return await self._attempt(node, fills=fills)
        branch = self._chooser.healthy(node, self._plan)
        if branch.strategy.mode == "fallback":
            return await self._in_order(branch, fills=fills)
        return await self.at(self._chooser.chosen(branch, self._plan), fills=fills)

    async def _in_order(self, branch: Branch, *, fills: bool) -> web.StreamResponse:
        """Try each target; if it fails before the client has anything, try the next."""
        *others, last = branch.nodes
        for node in others:
            try:
                return await self.at(node, fills=fills or branch.strategy.complete)
            except ImageError as error:
                if not self._goes_on(error, branch.strategy):
                    raise
                noted(
                    attributes.FALLBACK,
                    {attributes.TARGET: node.index, attributes.ERROR: logged(error)},
                )
                self._metrics.fallbacks.add((self._request[ATTEMPT].target.adapter.id,))
        return await self.at(last, fills=fills)

    def _goes_on(self, error: ImageError, strategy: Strategy) -> bool:
        """Tell whether the next target is tried after a failure."""
        if self._request.get(COMMITTED) or self.budget.left <= 0:
            return False
        return isinstance(error, Incomplete) or falls(error, strategy)

    async def _with_what_was_made(self, error: ImageError) -> web.StreamResponse:
        """Deliver what some targets made, now that none is left to make the others."""
        attempt = self._request[ATTEMPT]
        attempt.made, attempt.fills = self._made, False
        attempt.receipt = Receipt((line_of(self._missing, error),))
        attempt.recording = None
        return await deliver(self._request, Answer(()), {})

    def _begin(self, target: Target, *, fills: bool) -> dict[str, Any]:
        """Note an attempt at a target, and give what it is asked for: what is still missing."""
        params = final_params(self._plan.params, target)
        raw = self._request.get(BODY) if params == self._plan.params else None
        if self._made:
            # Pictures that were made stand in one answer with those to come: not in events.
            params = {name: it for name, it in params.items() if name not in _OF_EVENTS}
            params, raw = {**params, "n": self._missing}, None
        tries = Tries(self.budget)
        self._request[ATTEMPT] = Attempt(
            target, params, raw, tries=tries, made=self._made, fills=fills
        )
        return params

    async def _attempt(self, target: Target, *, fills: bool) -> web.StreamResponse:
        """Attempt one target, and tell its circuit how that ended."""
        params = self._begin(target, fills=fills)
        circuits, name = self._chooser.circuits, ""
        if target.breaker:
            circuits.began(name := circuit_of(target, self._plan))
        status, left = None, self.budget.left
        began, ended = perf_counter(), _FAILED
        try:
            with attempted(self._request[ATTEMPT]):
                in_bounds(params, self._limits)
                response = await self._attempt_at(self._request)
            # Without a request to the provider, as on a cache hit, it has shown nothing.
            if self.budget.left < left:
                status = http_status.OK
            ended = OK, response.status
            return response  # noqa: TRY300 - what it showed is noted on the way out
        except ImageError as error:
            seen = status_of(error)
            status = seen if self.budget.left < left or seen >= http_status.BAD_GATEWAY else None
            self.budget.note(error)
            self.said.append(Said.of(target, error, seen))
            ended = error, seen
            if isinstance(error, Incomplete):
                self._made, self._missing = error.made, error.missing
            raise
        except asyncio.CancelledError:
            ended = CANCELLED, 0
            raise
        finally:
            if target.breaker:
                circuits.settled(name, target.breaker, status)
            self._note(target, ended, began, asked=self.budget.left < left)

    def _note(self, target: Target, ended: Ended, began: float, *, asked: bool) -> None:
        """Note how an attempt ended; `asked`: its provider was sent something."""
        how, status = ended
        result, word = (how, how) if isinstance(how, str) else (error_outcome(how), logged(how))
        retries = self._request[ATTEMPT].tries.repeated
        ms = round((perf_counter() - began) * 1000, 1)
        provider = target.adapter.id
        self._trail.note(Tried(target.index, provider, status, word, retries, ms))
        if asked:
            self._metrics.attempts.add((provider, result))
