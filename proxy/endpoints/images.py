"""POST /v1/images/generations: the handler, built from the chain of the middlewares."""

from __future__ import annotations

from aiohttp.typedefs import Handler

from proxy.middlewares import ATTEMPT, IMAGES, REHEARSAL, linked
from proxy.pipeline.converse import converse
from proxy.pipeline.dry_run import rehearse
from proxy.pipeline.execute import generator


def image_generation() -> Handler:
    """Return the handler: the image links, then the attempts of the plan that they leave."""
    return linked(IMAGES, generator(linked(ATTEMPT, converse), linked(REHEARSAL, rehearse)))
