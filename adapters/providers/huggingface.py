"""Hugging Face: its own inference, other providers behind its router, and dedicated endpoints.

    POST {base}/hf-inference/models/{repo}      {"inputs", "parameters"} -> image bytes
    POST {base}/{provider}/…                    the provider's own body, for `repo:provider`
    GET  {base}/{provider}/…                    polling, for wavespeed and zai-org
    POST {huggingface_base_url}                 a dedicated endpoint, like hf-inference

A provider has another name for a model, which Hugging Face returns:

    GET https://huggingface.co/api/models/{repo}?expand=inferenceProviderMapping

>>> params = {"model": "stabilityai/stable-diffusion-xl-base-1.0", "prompt": "a cube", "seed": 7}
>>> made = ADAPTER.table_for(params["model"]).translate(params)
>>> request = next(ADAPTER.flow(ImageCall(params, made.fields)))
>>> request.path, request.json
('/hf-inference/models/stabilityai/stable-diffusion-xl-base-1.0', \
{'inputs': 'a cube', 'parameters': {'seed': 7}})
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import replace
from http import HTTPStatus
from typing import Any, ClassVar, NamedTuple

from adapters import errors
from adapters.bases.openai_passthrough import parse_images
from adapters.bases.polling import poll
from adapters.contract import Adapter, Answer, Credentials, Flow, Image, ImageCall, Option
from adapters.http import ProviderReply, ProviderRequest
from adapters.table.param import Param
from adapters.table.table import Table
from adapters.tools import sizes
from adapters.tools.json_access import dig, dig_list, dig_str, dig_typed, find_urls
from adapters.tools.url_paths import quote_model, quote_segment, require_model

_Exchange = Generator[ProviderRequest, ProviderReply, ProviderReply]

_ENDPOINT = "huggingface_base_url"
_EXAMPLE = "stabilityai/stable-diffusion-xl-base-1.0"


def _table(size: sizes.Converter, parent: str = "", /, **names: str) -> Table:
    """Return a provider's table. `names` are the parameters with another name there, "" for none.

    Source: huggingface_hub/inference/_providers
    """
    rows = (
        Param("negative_prompt"),
        Param("num_inference_steps", kind=int, low=1),
        Param("guidance_scale", kind=float, low=0),
        Param("seed", kind=int),
        *((Param("scheduler"),) if parent else ()),
    )
    known = ((row, names.get(row.name, row.name)) for row in rows)
    return Table(
        (
            Param("prompt", names.get("prompt", "")),
            Param("size", convert=size),
            *(replace(row, field=parent + name) for row, name in known if name),
        ),
        unknown_under=parent.rstrip("."),
    )


def _pixels(parent: str = "") -> sizes.Converter:
    return sizes.pixels(low=64, high=4096, step=8, width=f"{parent}width", height=f"{parent}height")


class _Job(NamedTuple):
    """How to poll a provider's job: URL path and states."""

    path: Callable[[Any], str]
    state_path: tuple[str, ...]
    done: str
    failed: str


class _Provider(NamedTuple):
    """A provider behind the router: table, URL path, and further fields of the request."""

    table: Table
    path: str
    body: Mapping[str, Any]
    names_model: bool = False
    headers: Mapping[str, str] = {}
    job: _Job | None = None


def _path_in_reply(tree: Any) -> str:
    """Return the path of the URL in a reply, because the router replaces its host."""
    rest = dig_str(tree, "data", "urls", "get").partition("/api/")[2].partition("?")[0]
    segments = [quote_segment(it) for it in rest.split("/")]
    return f"/api/{'/'.join(segments)}" if all(segments) else ""


def _zai_path(tree: Any) -> str:
    job = quote_segment(dig_str(tree, "id"))
    return job and f"/api/paas/v4/async-result/{job}"


_OWN = "hf-inference"
_SAME_PATH = "/v1/images/generations"
_PROVIDERS = {
    _OWN: _Provider(
        _table(_pixels("parameters."), "parameters.", prompt="inputs"), "/models/{}", {}
    ),
    "fal-ai": _Provider(_table(_pixels("image_size.")), "/{}", {}),
    "nscale": _Provider(
        _table(sizes.pixels(low=64, high=4096, step=8, combined="size"), num_inference_steps=""),
        _SAME_PATH,
        {"response_format": "b64_json"},
        names_model=True,
    ),
    "replicate": _Provider(
        _table(_pixels("input."), "input.", prompt="input.prompt"),
        "/v1/models/{}/predictions",
        {},
        headers={"prefer": "wait"},
    ),
    "together": _Provider(
        _table(_pixels(), num_inference_steps="steps"),
        _SAME_PATH,
        {"response_format": "base64"},
        names_model=True,
    ),
    "wavespeed": _Provider(
        _table(_pixels()),
        "/api/v3/{}",
        {},
        job=_Job(_path_in_reply, ("data", "status"), "completed", "failed"),
    ),
    "zai-org": _Provider(
        _table(sizes.pixels(low=1024, high=2048, step=32, max_pixels=2**22, combined="size")),
        "/api/paas/v4/async/images/generations",
        {},
        names_model=True,
        headers={"accept-language": "en-US,en"},
        job=_Job(_zai_path, ("task_status",), "SUCCESS", "FAIL"),
    ),
}


class HuggingFace(Adapter):
    """Text to image on Hugging Face."""

    id = "huggingface"
    name = "Hugging Face"
    base_url = "https://router.huggingface.co"
    docs = "https://huggingface.co/docs/inference-providers/tasks/text-to-image"
    models = (
        _EXAMPLE,
        "black-forest-labs/FLUX.1-dev:together",
        "zai-org/GLM-Image:fal-ai",
        "zai-org/GLM-Image:zai-org",
        "Qwen/Qwen-Image-2512:replicate",
        "Tongyi-MAI/Z-Image-Turbo:wavespeed",
    )
    options: ClassVar[tuple[Option, ...]] = (
        Option(
            _ENDPOINT,
            "the URL of a dedicated endpoint: https://….endpoints.huggingface.cloud",
            pattern=r"https://(?:[A-Za-z0-9-]{1,63}\.){1,8}endpoints\.huggingface\.cloud/?",
        ),
        Option(
            "huggingface_bill_to",
            "the organization to bill",
            sent_as="x-hf-bill-to",
            pattern=r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}",
        ),
    )
    credential_domains = ("huggingface.co",)
    # Zhipu's codes, through zai-org.
    status_by_code: ClassVar[Mapping[str, int]] = {"1301": errors.REFUSED}
    refusal_pattern = re.compile(r"nsfw|safety|content policy", re.IGNORECASE)
    confidence = "medium"
    url_lifetime = 3600
    unconfirmed = (
        "the limits of sizes; the format of refusals; how long the providers' URLs last; "
        "parameters of nscale and zai-org other than prompt and size; width and height on "
        "replicate and wavespeed; how to poll a prediction of replicate that is not ready at "
        "once, which fails here"
    )

    def resolve_base_url(self, credentials: Credentials) -> str:
        """Return the dedicated endpoint if one is set, else the router."""
        return credentials[_ENDPOINT].rstrip("/") or self.base_url

    def table_for(self, model: str) -> Table:
        """Return the table of the provider at the end of the model's name."""
        return _PROVIDERS.get(_split(model)[1], _PROVIDERS[_OWN]).table

    def effective_model(self, model: str, credentials: Credentials) -> str:
        """Return "" for a dedicated endpoint, which serves one model."""
        return "" if credentials[_ENDPOINT] else model

    def flow(self, call: ImageCall) -> Flow:
        """Request the provider's name of the model from Hugging Face, then the image."""
        repo, provider = _split(call.model)
        if call.credentials[_ENDPOINT]:
            return self.parse_answer(call, (yield from self._request_image(call, "", call.fields)))
        if provider not in _PROVIDERS:
            raise errors.BadParam(
                "model", f"'model' must end in one of {', '.join(f':{it}' for it in _PROVIDERS)}."
            )
        name, path = require_model(repo, example=_EXAMPLE), quote_model(repo, safe="/")
        if provider != _OWN:
            url = f"https://huggingface.co/api/models/{path}?expand=inferenceProviderMapping"
            reply = self.raise_for_status((yield ProviderRequest(url=url, method="GET")))
            name = _name_with(provider, dig(reply.json(), "inferenceProviderMapping"))
            if not name:
                missing = f"{provider} does not offer {repo} on Hugging Face"
                raise errors.error_from_reply(reply, message=missing, status=404)
            path = quote_model(name, safe="/")
        route = _PROVIDERS[provider]
        model = {"model": name} if route.names_model else {}
        path = f"/{provider}{route.path.format(path)}"
        if provider == "replicate" and ":" in name:
            path, model = "/replicate/v1/predictions", {"version": name.partition(":")[2]}
        body = {**model, **call.fields, **route.body}
        reply = yield from self._request_image(call, path, body, route.headers)
        if job := route.job:
            reply = yield from self._poll_job(provider, job, reply)
        return self.parse_answer(call, reply)

    def _request_image(
        self, call: ImageCall, path: str, body: Mapping[str, Any], headers: Mapping[str, str] = {}
    ) -> _Exchange:
        payer = call.credentials["huggingface_bill_to"]
        billed = {"x-hf-bill-to": payer} if payer else {}
        return self.raise_for_status(
            (yield ProviderRequest(path, json=body, headers={**headers, **billed}))
        )

    def _poll_job(self, provider: str, job: _Job, reply: ProviderReply) -> _Exchange:
        """Poll a job through the router until it has finished, whatever host the reply names."""
        path = job.path(reply.json())
        if not path or dig_str(reply.json(), *job.state_path) == job.done:
            return reply
        request = ProviderRequest(f"/{provider}{path}", method="GET")

        def state(reply: ProviderReply) -> str:
            return dig_str(reply.json(), *job.state_path)

        def is_finished(reply: ProviderReply) -> bool:
            return reply.ok and state(reply) in (job.done, job.failed)

        return (
            yield from poll(
                self,
                request,
                is_finished,
                is_readable=lambda reply: bool(state(reply)),
                interval=1.0,
            )
        )

    def parse_answer(self, call: ImageCall, reply: ProviderReply) -> Answer:
        """Parse image bytes, OpenAI's list, or a provider's own list of URLs."""
        del call
        if image := Image.from_reply(reply):
            return Answer((image,))
        tree = reply.json()
        marks = _nsfw_marks(tree)
        if marks and all(marks):
            raise errors.refusal("every image is marked as nsfw", provider_status=reply.status)
        if images := (
            *parse_images(tree, extra_fields=()),
            *_fal_images(tree),
            *_listed_images(tree),
        ):
            return Answer(images)
        if errors.says_something(dig(tree, "error")) or dig_str(tree, "data", "error"):
            raise self.provider_error(reply)
        if dig_str(tree, "status") in ("starting", "processing"):
            raise errors.error_from_reply(reply, message="it is still working", status=504)
        raise self.no_image_error(reply)

    def error_message(self, reply: ProviderReply) -> str:
        """Return the message; that of a job says more than the one around it."""
        return dig_str(reply.json(), "data", "error") or super().error_message(reply)

    def provider_error(self, reply: ProviderReply) -> errors.ProviderError:
        """Return a 404 for a retired model, which gets a 410."""
        if reply.status == HTTPStatus.GONE:
            message = self.error_message(reply)
            return errors.error_from_reply(reply, message=message, status=HTTPStatus.NOT_FOUND)
        return super().provider_error(reply)


def _split(model: str) -> tuple[str, str]:
    """Return a model's name and its provider.

    >>> _split("black-forest-labs/FLUX.1-dev:together"), _split("some/model")
    (('black-forest-labs/FLUX.1-dev', 'together'), ('some/model', 'hf-inference'))
    """
    repo, _, provider = model.partition(":")
    return repo, provider or _OWN


def _name_with(provider: str, mapping: Any) -> str:
    """Return a provider's name of a model, "" if none; `mapping` is an object or a list.

    >>> _name_with("together", [{"provider": "together", "providerId": "a/b"}])
    'a/b'
    """
    listed = (it for it in dig_list(mapping) if dig_str(it, "provider") == provider)
    return dig_str(mapping, provider, "providerId") or dig_str(next(listed, None), "providerId")


def _nsfw_marks(tree: Any) -> list[Any]:
    """Return the safety mark of each image: true means unsafe."""
    return dig_list(tree, "has_nsfw_concepts") or dig_list(tree, "data", "has_nsfw_contents")


def _fal_images(tree: Any) -> Iterator[Image]:
    """Yield fal's images, without those turned black."""
    seed = dig_typed(tree, "seed", kind=int)
    for which, it in enumerate(dig_list(tree, "images")):
        if (url := dig_str(it, "url")) and not dig(tree, "has_nsfw_concepts", which):
            yield Image.from_url(url, **({} if seed is None else {"seed": seed}))


def _listed_images(tree: Any) -> Iterator[Image]:
    """Yield the images of replicate, zai-org and wavespeed, without those marked unsafe."""
    for url in (*find_urls(dig(tree, "output")), *find_urls(dig(tree, "image_result"))):
        yield Image.from_url(url)
    for which, url in enumerate(dig_list(tree, "data", "outputs")):
        if isinstance(url, str) and url and not dig(tree, "data", "has_nsfw_contents", which):
            yield Image.from_url(url)


ADAPTER = HuggingFace()
