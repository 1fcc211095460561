"""Every typed key of the application and of a request: who sets it, who reads it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from proxy.routing.attempt import Attempt, RequestTimeline
from proxy.routing.plan import Caller, Plan
from proxy.settings.loader import Settings

if TYPE_CHECKING:
    from proxy.http.body_limits import BodyMemory, BodyReservation
    from proxy.routing.strategies import StrategySelector
    from proxy.state.ops import Shared

SETTINGS: web.AppKey[Settings] = web.AppKey("settings", Settings)
"""app sets to what it began with. What may change while it runs a request has in CURRENT."""
BODY_MEMORY: web.AppKey[BodyMemory] = web.AppKey("bodies")
"""app sets; middlewares.routing counts in it."""
STRATEGIES: web.AppKey[StrategySelector] = web.AppKey("chooser")
"""app sets; images.generate reads, and /readyz its circuits."""
DRAINING: web.AppKey[list[bool]] = web.AppKey("draining")
"""app sets to an empty list, __main__ appends when it stops; /readyz reads."""
IN_FLIGHT: web.AppKey[set[int]] = web.AppKey("running")
"""middlewares.observing adds a request while it runs; __main__ waits until it is empty."""

STATE_STORE: web.AppKey[Shared | None] = web.AppKey("shared")
"""app sets: what this process knows together with others, None where it is alone."""
TRACE_ID: web.RequestKey[str] = web.RequestKey("trace", str)
"""observing sets: never empty."""
TIMELINE: web.RequestKey[RequestTimeline] = web.RequestKey("trail", RequestTimeline)
"""observing sets, and reads it in the end; a job's request has the same one, and images.generate
notes in it."""
CALLER: web.RequestKey[Caller] = web.RequestKey("caller", Caller)
"""auth sets; routing, caching and observing read."""
PLAN: web.RequestKey[Plan] = web.RequestKey("plan", Plan)
"""routing sets; images.generate and the ATTEMPT links read."""
BODY_RESERVATION: web.RequestKey[BodyReservation] = web.RequestKey("held")
"""routing sets where the body is large: it counts for as long as any request has this."""
BODY: web.RequestKey[bytes] = web.RequestKey("raw", bytes)
"""routing sets: the body, in bytes that say what was read of it; images.generate reads."""
ATTEMPT: web.RequestKey[Attempt] = web.RequestKey("attempt", Attempt)
"""images.generate sets, anew for each target; the ATTEMPT links and observing read and write."""
COMMITTED: web.RequestKey[bool] = web.RequestKey("committed", bool)
"""observing sets when the first byte is about to go; explaining reads."""
JOIN_STATUS: web.RequestKey[str] = web.RequestKey("joined", str)
"""joining sets where the request began no job: the status of the one it found, or `elsewhere` for
another process's; observing reads."""
ERROR_CODE: web.RequestKey[str] = web.RequestKey("failure", str)
"""explaining sets: the error's code for the access line; observing reads."""
METRIC_OUTCOME: web.RequestKey[str] = web.RequestKey("outcome", str)
"""explaining sets where a failure is told, and jobs.answering where it is told late: what became of
the request, for the metrics; observing reads."""
