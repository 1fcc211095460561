"""Typed keys of the application and of a request that belong to no single service."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from proxy.routing.attempt import Attempt, RequestTimeline
from proxy.routing.plan import Caller, Plan
from proxy.settings.loader import Settings

if TYPE_CHECKING:
    from proxy.http.body_limits import BodyMemory, BodyReservation
    from proxy.routing.strategies import StrategySelector
    from proxy.state.ops import StateStore

SETTINGS: web.AppKey[Settings] = web.AppKey("settings", Settings)
"""The settings that the process started with. A request reads SNAPSHOT, which reloads replace."""
BODY_MEMORY: web.AppKey[BodyMemory] = web.AppKey("body_memory")
"""Memory budget for request bodies. Counted by the routing middleware."""
STRATEGIES: web.AppKey[StrategySelector] = web.AppKey("strategies")
"""Selects targets; holds circuits and sticky choices. Read by `pipeline.execute` and /readyz."""
DRAINING: web.AppKey[list[bool]] = web.AppKey("draining")
"""Not empty while the server shuts down. Filled by `server.run`, read by /readyz."""
IN_FLIGHT: web.AppKey[set[int]] = web.AppKey("in_flight")
"""Ids of the requests in progress. Filled by the access middleware, awaited by `server.run`."""
STATE_STORE: web.AppKey[StateStore | None] = web.AppKey("state_store")
"""State shared with other processes; None if this process is alone."""

TRACE_ID: web.RequestKey[str] = web.RequestKey("trace_id", str)
"""The trace id, never empty. Set by the access middleware."""
TIMELINE: web.RequestKey[RequestTimeline] = web.RequestKey("timeline", RequestTimeline)
"""Times of the request and its attempts. Set by the access middleware, shared with its job."""
CALLER: web.RequestKey[Caller] = web.RequestKey("caller", Caller)
"""The holder of the gateway key. Set by the auth middleware."""
PLAN: web.RequestKey[Plan] = web.RequestKey("plan", Plan)
"""The resolved config. Set by the routing middleware."""
BODY_RESERVATION: web.RequestKey[BodyReservation] = web.RequestKey("body_reservation")
"""Memory reserved for a body, for as long as a request refers to it. Set by routing."""
BODY: web.RequestKey[bytes] = web.RequestKey("body", bytes)
"""The body, serialized again after parsing. Set by routing, forwarded if no parameter changes."""
ATTEMPT: web.RequestKey[Attempt] = web.RequestKey("attempt", Attempt)
"""The attempt at the current target. Set by `pipeline.execute` for each target."""
COMMITTED: web.RequestKey[bool] = web.RequestKey("committed", bool)
"""True once the response headers are about to be sent. Set by `set_gateway_headers`."""
JOIN_STATUS: web.RequestKey[str] = web.RequestKey("join_status", str)
"""Set by the jobs middleware if the request started no job: the status of the job that it joined,
or `elsewhere` for a job of another process."""
ERROR_CODE: web.RequestKey[str] = web.RequestKey("error_code", str)
"""The error code for the access line. Set by the errors middleware."""
METRIC_OUTCOME: web.RequestKey[str] = web.RequestKey("metric_outcome", str)
"""The outcome of a failed request for the metrics. Set by the errors middleware, or by
`jobs.delivery` if the failure comes after the response has started."""
