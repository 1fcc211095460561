"""POST /v1/images/generations: the image middlewares around the execution of the plan."""

from __future__ import annotations

from aiohttp.typedefs import Handler

from proxy.middlewares import ATTEMPT_CHAIN, DRY_RUN_CHAIN, IMAGE_CHAIN, wrap
from proxy.pipeline.converse import converse
from proxy.pipeline.dry_run import dry_run
from proxy.pipeline.execute import plan_handler


def image_generation() -> Handler:
    """Return the handler: IMAGE_CHAIN, then the plan, each attempt through ATTEMPT_CHAIN."""
    return wrap(
        IMAGE_CHAIN, plan_handler(wrap(ATTEMPT_CHAIN, converse), wrap(DRY_RUN_CHAIN, dry_run))
    )
