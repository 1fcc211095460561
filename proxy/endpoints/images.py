"""POST /v1/images/generations: the handler, built from the chain of the middlewares."""

from __future__ import annotations

from aiohttp.typedefs import Handler

from proxy.middlewares import ATTEMPT_CHAIN, DRY_RUN_CHAIN, IMAGE_CHAIN, wrap
from proxy.pipeline.converse import converse
from proxy.pipeline.dry_run import dry_run
from proxy.pipeline.execute import plan_handler


def image_generation() -> Handler:
    """Return the handler: the image links, then the attempts of the plan that they leave."""
    return wrap(
        IMAGE_CHAIN, plan_handler(wrap(ATTEMPT_CHAIN, converse), wrap(DRY_RUN_CHAIN, dry_run))
    )
