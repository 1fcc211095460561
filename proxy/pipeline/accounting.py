"""Counts the images of a response and their price, for the metrics."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiohttp import web

from adapters.tools.image_header import ImageHeader
from proxy.cache.entry import CachedImage
from proxy.observability.metrics.labels import model_family
from proxy.observability.metrics.registry import METRICS
from proxy.pipeline.image_source import ImageSource
from proxy.pipeline.params import final_model
from proxy.reload.snapshot import SNAPSHOT
from proxy.routing.attempt import Attempt, BilledImage
from proxy.routing.plan import Target
from proxy.settings.prices import image_price


def bill_image(target: Target, source: ImageSource | None) -> BilledImage:
    """Return the accounting record of an image; without a source it is relayed as a URL."""
    if source is None:
        return BilledImage(target)
    return BilledImage(target, pixel_count(source.measured), isinstance(source.image, CachedImage))


def pixel_count(measured: ImageHeader | None) -> int:
    """Return the number of pixels of an image; 0 if it is not known."""
    return measured.width * measured.height if measured else 0


def record_images(request: web.Request, attempt: Attempt, params: Mapping[str, Any]) -> None:
    """Count the images of a response and their price, each for the target that made it.

    `params` are the client's. The model of an earlier target is resolved from them.
    """
    metrics, prices = request.app[METRICS], request[SNAPSHOT].settings.price_table
    for target, pixels, kept in attempt.images_out:
        adapter = target.adapter
        own = target is attempt.target
        model = attempt.params.get("model") if own else final_model(params, target)
        model = adapter.effective_model(model if isinstance(model, str) else "", target.credentials)
        family = model_family(adapter, model)
        metrics.images.add((adapter.id, family, "cache" if kept else "provider"))
        if kept:
            continue
        price = image_price(prices, adapter.id, model, pixels or None)
        if price is None:
            metrics.unpriced_images.add((adapter.id,))
        else:
            metrics.dollars.add((adapter.id, family), price)
