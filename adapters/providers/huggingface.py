"""Hugging Face: its own inference, that of others through its router, and dedicated endpoints.

    POST {base}/hf-inference/models/{repo}      {"inputs", "parameters"} -> picture bytes
    POST {base}/{provider}/…                    the provider's own body, for `repo:provider`
    GET  {base}/{provider}/…                    where wavespeed and zai-org tell of their jobs
    POST {huggingface_base_url}                 a dedicated endpoint: as hf-inference

A provider knows a model by another name, which Hugging Face tells:

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


def _table(size: sizes.Converter, below: str = "", /, **named: str) -> Table:
    """Give the table of a provider; `named` are the parameters that it calls otherwise.

    What it calls "" it does not have. Source: huggingface_hub/inference/_providers
    """
    rows = (
        Param("negative_prompt"),
        Param("num_inference_steps", kind=int, low=1),
        Param("guidance_scale", kind=float, low=0),
        Param("seed", kind=int),
        *((Param("scheduler"),) if below else ()),
    )
    known = ((row, named.get(row.name, row.name)) for row in rows)
    return Table(
        (
            Param("prompt", named.get("prompt", "")),
            Param("size", convert=size),
            *(replace(row, field=below + name) for row, name in known if name),
        ),
        unknown_under=below.rstrip("."),
    )


def _pixels(below: str = "") -> sizes.Converter:
    return sizes.pixels(low=64, high=4096, step=8, width=f"{below}width", height=f"{below}height")


class _Job(NamedTuple):
    """How a provider tells of a job that it took: at which path, and in which words."""

    place: Callable[[Any], str]
    state_at: tuple[str, ...]
    under_way: frozenset[str]
    done: str


class _Provider(NamedTuple):
    """One of those behind the router: its table, its path, what else a request needs."""

    table: Table
    path: str
    body: Mapping[str, Any]
    names_model: bool = False
    headers: Mapping[str, str] = {}
    job: _Job | None = None


def _as_named(tree: Any) -> str:
    """Keep the path of the address that a reply names: the router stands before its host."""
    rest = dig_str(tree, "data", "urls", "get").partition("/api/")[2].partition("?")[0]
    steps = [quote_segment(it) for it in rest.split("/")]
    return f"/api/{'/'.join(steps)}" if all(steps) else ""


def _as_zais(tree: Any) -> str:
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
        job=_Job(_as_named, ("data", "status"), frozenset({"created", "processing"}), "completed"),
    ),
    "zai-org": _Provider(
        _table(sizes.pixels(low=1024, high=2048, step=32, max_pixels=2**22, combined="size")),
        "/api/paas/v4/async/images/generations",
        {},
        names_model=True,
        headers={"accept-language": "en-US,en"},
        job=_Job(_as_zais, ("task_status",), frozenset({"PROCESSING"}), "SUCCESS"),
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
            "a dedicated endpoint: https://….endpoints.huggingface.cloud",
            pattern=r"https://(?:[A-Za-z0-9-]{1,63}\.){1,8}endpoints\.huggingface\.cloud/?",
        ),
        Option(
            "huggingface_bill_to",
            "the organization that pays",
            pattern=r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}",
        ),
    )
    credential_domains = ("huggingface.co",)
    # Zhipu's, by way of zai-org.
    status_by_code: ClassVar[Mapping[str, int]] = {"1301": errors.REFUSED}
    refusal_pattern = re.compile(r"nsfw|safety|content policy", re.IGNORECASE)
    confidence = "medium"
    url_lifetime = 3600
    unconfirmed = (
        "the range of a size; how a refusal looks; how long a URL lives, whoever's it is; "
        "parameters of nscale and zai-org beside prompt and size; width and height on replicate "
        "and wavespeed; a prediction of replicate's that outlasts its wait, which is given up"
    )

    def resolve_base_url(self, credentials: Credentials) -> str:
        """Give the router, or the endpoint that was chosen."""
        return credentials[_ENDPOINT].rstrip("/") or self.base_url

    def table_for(self, model: str) -> Table:
        """Give the table of the provider that the model's name ends in."""
        return _PROVIDERS.get(_split(model)[1], _PROVIDERS[_OWN]).table

    def effective_model(self, named: str, credentials: Credentials) -> str:
        """Leave the name aside where an endpoint serves one model."""
        return "" if credentials[_ENDPOINT] else named

    def flow(self, call: ImageCall) -> Flow:
        """Ask Hugging Face for a provider's name of the model, then the provider."""
        repo, provider = _split(call.model)
        if call.credentials[_ENDPOINT]:
            return self.parse_answer(call, (yield from self._asked(call, "", call.fields)))
        if provider not in _PROVIDERS:
            raise errors.BadParam(
                "model", f"'model' must end in one of {', '.join(f':{it}' for it in _PROVIDERS)}."
            )
        named, path = require_model(repo, example=_EXAMPLE), quote_model(repo, safe="/")
        if provider != _OWN:
            place = f"https://huggingface.co/api/models/{path}?expand=inferenceProviderMapping"
            reply = self.raise_for_status((yield ProviderRequest(url=place, method="GET")))
            named = _name_with(provider, dig(reply.json(), "inferenceProviderMapping"))
            if not named:
                missing = f"{provider} does not offer {repo} on Hugging Face"
                raise errors.error_from_reply(reply, message=missing, status=404)
            path = quote_model(named, safe="/")
        found = _PROVIDERS[provider]
        model = {"model": named} if found.names_model else {}
        place = f"/{provider}{found.path.format(path)}"
        if provider == "replicate" and ":" in named:
            place, model = "/replicate/v1/predictions", {"version": named.partition(":")[2]}
        body = {**model, **call.fields, **found.body}
        reply = yield from self._asked(call, place, body, found.headers)
        if job := found.job:
            reply = yield from self._settled(provider, job, reply)
        return self.parse_answer(call, reply)

    def _asked(
        self, call: ImageCall, path: str, body: Mapping[str, Any], headers: Mapping[str, str] = {}
    ) -> _Exchange:
        payer = call.credentials["huggingface_bill_to"]
        billed = {"x-hf-bill-to": payer} if payer else {}
        return self.raise_for_status(
            (yield ProviderRequest(path, json=body, headers={**headers, **billed}))
        )

    def _settled(self, provider: str, job: _Job, reply: ProviderReply) -> _Exchange:
        """Ask the router for a job until it is settled, whatever host its provider names."""
        place = job.place(reply.json())
        if not place or dig_str(reply.json(), *job.state_at) == job.done:
            return reply
        question = ProviderRequest(f"/{provider}{place}", method="GET")

        def is_settled(told: ProviderReply) -> bool:
            return told.ok and dig_str(told.json(), *job.state_at) not in job.under_way

        return (yield from poll(self, question, is_settled, interval=1.0))

    def parse_answer(self, call: ImageCall, reply: ProviderReply) -> Answer:
        """Read bytes, OpenAI's list, or the URLs that each provider has in a place of its own."""
        del call
        if image := Image.from_reply(reply):
            return Answer((image,))
        tree = reply.json()
        marks = _marks(tree)
        if marks and all(marks):
            raise errors.refusal("every picture is marked nsfw", provider_status=reply.status)
        if images := (*parse_images(tree, extra_fields=()), *_fals(tree), *_listed(tree)):
            return Answer(images)
        if dig(tree, "error") is not None or dig_str(tree, "data", "error"):
            raise self.provider_error(reply)
        if dig_str(tree, "status") in ("starting", "processing"):
            raise errors.error_from_reply(reply, message="it is still working", status=504)
        raise self.no_image_error(reply)

    def error_message(self, reply: ProviderReply) -> str:
        """Find the sentence; a job's own says more than the message around it."""
        return dig_str(reply.json(), "data", "error") or super().error_message(reply)

    def provider_error(self, reply: ProviderReply) -> errors.ProviderError:
        """Know that a model which is gone is none any more."""
        if reply.status == HTTPStatus.GONE:
            told = self.error_message(reply)
            return errors.error_from_reply(reply, message=told, status=HTTPStatus.NOT_FOUND)
        return super().provider_error(reply)


def _split(model: str) -> tuple[str, str]:
    """Part a model's name from its provider's.

    >>> _split("black-forest-labs/FLUX.1-dev:together"), _split("some/model")
    (('black-forest-labs/FLUX.1-dev', 'together'), ('some/model', 'hf-inference'))
    """
    repo, _, provider = model.partition(":")
    return repo, provider or _OWN


def _name_with(provider: str, mapping: Any) -> str:
    """Find a provider's name of a model; the providers are keys, or they are listed.

    >>> _name_with("together", [{"provider": "together", "providerId": "a/b"}])
    'a/b'
    """
    listed = (it for it in dig_list(mapping) if dig_str(it, "provider") == provider)
    return dig_str(mapping, provider, "providerId") or dig_str(next(listed, None), "providerId")


def _marks(tree: Any) -> list[Any]:
    """Give what is said of each picture's safety: true says that it has none."""
    return dig_list(tree, "has_nsfw_concepts") or dig_list(tree, "data", "has_nsfw_contents")


def _fals(tree: Any) -> Iterator[Image]:
    """Give the pictures of fal's, but those that it blacked out."""
    seed = dig_typed(tree, "seed", kind=int)
    for which, it in enumerate(dig_list(tree, "images")):
        if (place := dig_str(it, "url")) and not dig(tree, "has_nsfw_concepts", which):
            yield Image.from_url(place, **({} if seed is None else {"seed": seed}))


def _listed(tree: Any) -> Iterator[Image]:
    """Give the pictures of replicate's, of zai-org's, and of wavespeed's but those marked."""
    for place in (*find_urls(dig(tree, "output")), *find_urls(dig(tree, "image_result"))):
        yield Image.from_url(place)
    for which, place in enumerate(dig_list(tree, "data", "outputs")):
        if isinstance(place, str) and place and not dig(tree, "data", "has_nsfw_contents", which):
            yield Image.from_url(place)


ADAPTER = HuggingFace()
