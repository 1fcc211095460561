"""POST /v1/images/generations: walk the plan's tree, attempt its targets.

To attempt a target is to send it through the links of ATTEMPT. A fallback goes on to its next
target while the client has nothing yet; every other strategy leads to one.
"""

from __future__ import annotations

from aiohttp import web
from aiohttp.typedefs import Handler

from adapters.errors import ImageError, ProviderError
from proxy.images.deliver import CLIENT_GONE
from proxy.images.final_params import final_params
from proxy.keys import ATTEMPT, CHOOSER, COMMITTED, FAILURE, PLAN, RAW, SETTINGS
from proxy.plan import Attempt, Branch, Budget, Node, Target, Tries
from proxy.routing.choosing import circuit_of
from proxy.routing.falling import Said, falls

_OK, _LOST = 200, 502
_MOST_TOLD = 100
"""Failures that a client is told of: its last ones. What was refused unsent costs no attempt."""


def generator(attempt_at: Handler) -> Handler:
    """Make the handler; `attempt_at` is what serves one attempt: the ATTEMPT links."""

    async def generate(request: web.Request) -> web.StreamResponse:
        walk = Walk(request, attempt_at)
        try:
            return await walk.at(request[PLAN].root)
        except ImageError as error:
            told = walk.said[-_MOST_TOLD:] if walk.said[1:] else []
            error.attempts = [said.as_object() for said in told]
            raise

    return generate


class Walk:
    """The walk of one request through its plan. `said` is how each target failed, in order."""

    def __init__(self, request: web.Request, attempt_at: Handler) -> None:
        self.said: list[Said] = []
        self._request = request
        self._attempt_at = attempt_at
        self._plan = request[PLAN]
        self._chooser = request.app[CHOOSER]
        self._budget = Budget(request.app[SETTINGS].limits.attempts)

    async def at(self, node: Node) -> web.StreamResponse:
        """Answer with what a node of the tree comes to; raises `ImageError`."""
        if isinstance(node, Target):
            return await self._attempt(node)
        branch = self._chooser.healthy(node, self._plan)
        if branch.strategy.mode == "fallback":
            return await self._in_order(branch)
        return await self.at(self._chooser.chosen(branch, self._plan))

    async def _in_order(self, branch: Branch) -> web.StreamResponse:
        """Try each target; if it fails before the client has anything, try the next."""
        *others, last = branch.nodes
        for node in others:
            try:
                return await self.at(node)
            except ImageError as error:
                if self._request.get(COMMITTED) or self._budget.left <= 0:
                    raise
                if self._request.transport is None:
                    # The client has left: nobody is there to pay the next one for.
                    raise
                if not falls(error, branch.strategy):
                    raise
        return await self.at(last)

    async def _attempt(self, target: Target) -> web.StreamResponse:
        """Attempt one target, and tell its circuit how that ended."""
        params = final_params(self._plan.params, target)
        raw = self._request.get(RAW) if params == self._plan.params else None
        attempt = Attempt(target, params, raw, tries=Tries(self._budget))
        self._request[ATTEMPT] = attempt
        circuits, name = self._chooser.circuits, circuit_of(target, self._plan)
        if target.breaker:
            circuits.began(name)
        status, left = None, self._budget.left
        try:
            response = await self._attempt_at(self._request)
            # Without a request to the provider, as on a cache hit, it has shown nothing.
            if self._budget.left < left:
                status = _LOST if self._was_cut() else _OK
            return response  # noqa: TRY300 - what it showed is noted on the way out
        except ImageError as error:
            seen = status_of(error)
            status = seen if self._budget.left < left or seen >= _LOST else None
            self.said.append(Said.of(target, error, seen))
            raise
        finally:
            if target.breaker:
                circuits.settled(name, target.breaker, status)

    def _was_cut(self) -> bool:
        """Tell whether the provider broke off an answer that had begun."""
        return bool(self._request.get(FAILURE, CLIENT_GONE) != CLIENT_GONE)


def status_of(error: ImageError) -> int:
    """Give the status by which a failure is judged: the provider's own where it sent one."""
    if isinstance(error, ProviderError) and error.provider_status != _OK:
        return error.provider_status
    return error.status
