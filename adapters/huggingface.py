"""Hugging Face: its own inference, that of others through its router, and dedicated endpoints.

    POST {base}/hf-inference/models/{repo}      {"inputs", "parameters"} -> picture bytes
    POST {base}/{provider}/…                    the provider's own body, for `repo:provider`
    POST {huggingface_base_url}                 a dedicated endpoint: as hf-inference

A provider knows a model by another name, which Hugging Face tells:

    GET https://huggingface.co/api/models/{repo}?expand=inferenceProviderMapping

>>> params = {"model": "stabilityai/stable-diffusion-xl-base-1.0", "prompt": "a cube", "seed": 7}
>>> made = ADAPTER.table(params["model"]).translate(params)
>>> request = next(ADAPTER.flow(ImageCall(params, made.fields)))
>>> request.path, request.json
('/hf-inference/models/stabilityai/stable-diffusion-xl-base-1.0', \
{'inputs': 'a cube', 'parameters': {'seed': 7}})
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, NamedTuple

from adapters import errors, sizes
from adapters.contract import (
    Adapter,
    Answer,
    Credentials,
    Flow,
    Image,
    ImageCall,
    Option,
    ProviderReply,
    ProviderRequest,
)
from adapters.openai_shape import pictures
from adapters.params import Param, Table
from adapters.paths import model_path, named_model
from adapters.reading import at, items_at, pick, text_at

_ENDPOINT = "huggingface_base_url"
_EXAMPLE = "stabilityai/stable-diffusion-xl-base-1.0"


def _table(size: sizes.Converter, below: str = "", /, **named: str) -> Table:
    """Give the table of a provider; `named` are the parameters that it calls otherwise."""

    def row(name: str, kind: type = str, low: float | None = None) -> Param:
        return Param(name, below + named.get(name, name), kind=kind, low=low)

    return Table(
        (
            Param("prompt", named.get("prompt", "")),
            Param("size", to=size),
            row("negative_prompt"),
            row("num_inference_steps", int, 1),
            row("guidance_scale", float, 0),
            row("seed", int),
            *((row("scheduler"),) if below else ()),
        ),
        below=below.rstrip("."),
    )


def _pixels(below: str = "") -> sizes.Converter:
    return sizes.pixels(low=64, high=4096, step=8, width=f"{below}width", height=f"{below}height")


class _Provider(NamedTuple):
    """One of those behind the router: its table, its path, what else its body needs."""

    table: Table
    path: str
    body: Mapping[str, Any]
    names_model: bool = False


_OWN = "hf-inference"
_SAME_PATH = "/v1/images/generations"
_PROVIDERS = {
    _OWN: _Provider(
        _table(_pixels("parameters."), "parameters.", prompt="inputs"), "/models/{}", {}
    ),
    "fal-ai": _Provider(_table(_pixels("image_size.")), "/{}", {}),
    "nscale": _Provider(
        _table(sizes.pixels(low=64, high=4096, step=8, joined="size")),
        _SAME_PATH,
        {"response_format": "b64_json"},
        names_model=True,
    ),
    "together": _Provider(
        _table(_pixels(), num_inference_steps="steps", guidance_scale="guidance"),
        _SAME_PATH,
        {"response_format": "base64"},
        names_model=True,
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
    domains = ("huggingface.co",)
    refuses = re.compile(r"nsfw|safety|content policy", re.IGNORECASE)
    confidence = "medium"
    url_lifetime = 3600
    unconfirmed = (
        "the range of a size; how a refusal looks; how long a URL of fal-ai's lives; parameters of "
        "nscale beside prompt and size. Not reached yet: replicate, wavespeed, zai-org"
    )

    def base(self, credentials: Credentials) -> str:
        """Give the router, or the endpoint that was chosen."""
        return credentials[_ENDPOINT].rstrip("/") or self.base_url

    def table(self, model: str) -> Table:
        """Give the table of the provider that the model's name ends in."""
        return _PROVIDERS.get(_split(model)[1], _PROVIDERS[_OWN]).table

    def model_in_force(self, named: str, credentials: Credentials) -> str:
        """Leave the name aside where an endpoint serves one model."""
        return "" if credentials[_ENDPOINT] else named

    def flow(self, call: ImageCall) -> Flow:
        """Ask Hugging Face for a provider's name of the model, then the provider."""
        repo, provider = _split(call.model)
        if call.credentials[_ENDPOINT]:
            return (yield from self._asked(call, "", call.fields))
        if provider not in _PROVIDERS:
            raise errors.BadParam(
                "model", f"'model' must end in one of {', '.join(f':{it}' for it in _PROVIDERS)}."
            )
        named, path = named_model(repo, example=_EXAMPLE), model_path(repo, safe="/")
        if provider != _OWN:
            place = f"https://huggingface.co/api/models/{path}?expand=inferenceProviderMapping"
            reply = self.checked((yield ProviderRequest(url=place, method="GET")))
            named = _name_with(provider, at(reply.json(), "inferenceProviderMapping"))
            if not named:
                missing = f"{provider} does not offer {repo} on Hugging Face"
                raise errors.failure(reply, message=missing, status=404)
            path = model_path(named, safe="/")
        found = _PROVIDERS[provider]
        model = {"model": named} if found.names_model else {}
        place = f"/{provider}{found.path.format(path)}"
        return (yield from self._asked(call, place, {**model, **call.fields, **found.body}))

    def _asked(self, call: ImageCall, path: str, body: Mapping[str, Any]) -> Flow:
        payer = call.credentials["huggingface_bill_to"]
        headers = {"x-hf-bill-to": payer} if payer else {}
        reply = yield ProviderRequest(path, json=body, headers=headers)
        return self.answer(call, self.checked(reply))

    def answer(self, call: ImageCall, reply: ProviderReply) -> Answer:
        """Read bytes, OpenAI's list, or fal's."""
        del call
        if image := Image.in_body(reply):
            return Answer((image,))
        tree = reply.json()
        if at(tree, "has_nsfw_concepts") and all(items_at(tree, "has_nsfw_concepts")):
            raise errors.refusal("has_nsfw_concepts", provider_status=reply.status)
        if images := (*pictures(tree, kept=()), *_fals(tree)):
            return Answer(images)
        raise self.nothing(reply)


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
    listed = (it for it in items_at(mapping) if text_at(it, "provider") == provider)
    return text_at(mapping, provider, "providerId") or text_at(next(listed, None), "providerId")


def _fals(tree: Any) -> Iterator[Image]:
    """Give the pictures of fal's, but those that it blacked out."""
    seed = pick(tree, "seed", kind=int)
    for which, it in enumerate(items_at(tree, "images")):
        if (place := text_at(it, "url")) and not at(tree, "has_nsfw_concepts", which):
            yield Image.at(place, **({} if seed is None else {"seed": seed}))


ADAPTER = HuggingFace()
