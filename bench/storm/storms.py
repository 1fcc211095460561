"""All storms, in the table's order."""

from __future__ import annotations

from . import drawing, headers, names, records, unfolding, unread

STORMS = {
    it.name: it
    for it in (
        headers.STORM,
        unfolding.REQUESTS,
        unfolding.REPLIES,
        unfolding.EVENTS,
        records.WITH_WORKERS,
        records.WITH_REDIS,
        names.STORM,
        drawing.STORM,
        unread.CONVERTED,
        unread.RELAYED,
    )
}
