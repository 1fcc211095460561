"""Azure AI Foundry: three surfaces of one resource, by the family of the model.

    POST {base}/images/generations      OpenAI's shape; MAI's models take width and height instead
    POST {base}/{flux-2-pro}            FLUX.2, with the parameters of its maker

An `azure_foundry_url` that is a resource's bare address gets the path of the model's surface; one
with a path of its own, such as https://….services.ai.azure.com/models, is the base as it stands. A
deployment's name says nothing: `azure_model_name` tells what is behind it.

>>> url = "https://contoso.services.ai.azure.com"
>>> params = {"model": "MAI-Image-2.6", "prompt": "a cube", "size": "1792x1024"}
>>> made = ADAPTER.table_for(params["model"]).translate(params)
>>> request = ADAPTER.build_request(ImageCall(params, made.fields, Credentials("k", {_URL: url})))
>>> request.path, request.json
('/mai/v1/images/generations?api-version=preview', \
{'model': 'MAI-Image-2.6', 'prompt': 'a cube', 'width': 1354, 'height': 774})
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar
from urllib.parse import urlsplit

from adapters.auth import entra_id
from adapters.bases.openai_compatible import OpenAICompatible
from adapters.bases.openai_passthrough import MODERATION_CODES
from adapters.contract import Credentials, ImageCall, Option, SignableRequest
from adapters.errors import REFUSED, BadParam
from adapters.http import ProviderRequest
from adapters.table.param import Fields, Param
from adapters.table.table import Table
from adapters.tools import sizes
from adapters.tools.url_paths import quote_model

_URL = "azure_foundry_url"
_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}"
_WORD = r"[A-Za-z0-9-]+"
# Resources take a key in `api-key`, a model's own endpoint takes it as a bearer.
_RESOURCES = (".services.ai.azure.com", ".openai.azure.com", ".cognitiveservices.azure.com")


_QUALITIES = {it: it for it in ("auto", "low", "medium", "high")} | {"standard": "medium"}
_QUALITIES |= dict.fromkeys(("hd", "xhigh", "max"), "high")


def _stated(size: str) -> Fields:
    """Leave out `auto`: not every model knows the word."""
    return {} if size == "auto" else {"size": size}


_OPENAI = Table(
    (
        Param("prompt"),
        Param("n", high=10),
        Param("size", convert=_stated),
        Param("quality", convert=_QUALITIES),
        Param("background"),
        Param("moderation"),
        Param("output_format", choices=("png", "jpeg")),
        Param("output_compression"),
        Param("user"),
    )
)
_MAI_SIZE = sizes.pixels(low=768, high=1365, max_pixels=1024**2)
_MAI = Table((Param("prompt"), Param("size", convert=_MAI_SIZE, default="1024x1024")))
_FLUX_2 = Table(
    (
        Param("prompt"),
        Param("size", convert=sizes.pixels(low=256, high=4096, step=32, max_pixels=2048**2)),
        Param("output_format", choices=("png", "jpeg")),
        Param("moderation", "safety_tolerance", convert={"low": 5}),
        Param("safety_tolerance", kind=int, low=0, high=5),
        Param("seed", kind=int),
        Param("steps", kind=int, low=1),
        Param("guidance", kind=float, low=0),
    )
)
# How names begin, the table, where the surface stands below a resource.
_FAMILIES = (
    (("MAI-", "mai-"), _MAI, "/mai/v1"),
    (("FLUX.2", "FLUX-2", "flux.2", "flux-2"), _FLUX_2, "/providers/blackforestlabs/v1"),
    ("", _OPENAI, "/openai/v1"),
)


class AzureAI(entra_id.AzureAdapter, OpenAICompatible):
    """Image models on Azure AI Foundry, and on model endpoints of Azure's."""

    id = "azure-ai"
    otel_provider_name = "azure.ai.inference"
    name = "Azure AI Foundry"
    base_url = ""
    docs = (
        "https://learn.microsoft.com/azure/foundry/foundry-models/how-to/"
        "use-foundry-models-mai-image"
    )
    tables_by_model = tuple((start, table) for start, table, _ in _FAMILIES)
    models = ("MAI-Image-2.6", "FLUX.2-pro", "FLUX.2-flex", "FLUX-1.1-pro", "gpt-image-2")
    options: ClassVar[tuple[Option, ...]] = (
        Option(
            _URL,
            "the resource, https://{name}.services.ai.azure.com, or a base URL on a host of Azure",
            pattern=rf"https://{_WORD}(?:\.{_WORD}){{0,8}}\.azure\.(?:com|us|cn)(?:/{_NAME})*/?",
        ),
        Option(
            "azure_api_version",
            "the query's api-version, preview by default",
            pattern=r"v1|preview|latest|\d{4}-\d{2}-\d{2}(?:-preview)?",
        ),
        Option(
            "azure_deployment_name",
            "which deployment of an endpoint is to answer (azureml-model-deployment)",
            pattern=_NAME,
        ),
        Option(
            "azure_extra_params",
            "what an endpoint does with parameters that it does not know (extra-parameters)",
            pattern=r"error|drop|pass-through|ignore|allow",
        ),
        *entra_id.OPTIONS,
    )
    status_by_code = dict.fromkeys(
        (*MODERATION_CODES, "contentFilter", "ContentFilter", "ResponsibleAIPolicyViolation"),
        REFUSED,
    )
    refusal_pattern = re.compile(r"moderated|safety system|content (?:filter|polic)", re.IGNORECASE)
    confidence = "medium"
    unconfirmed = (
        "how FLUX.2 and MAI refuse; the range of a FLUX.2 side, and several of its pictures at "
        "once; whether MAI makes one without width and height, and its words for its usage; "
        "whether `preview` fits every base URL with a path of its own"
    )

    def resolve_base_url(self, credentials: Credentials) -> str:
        """Give the base URL that was chosen."""
        if not credentials[_URL]:
            raise BadParam(
                _URL,
                "Azure AI Foundry needs the address of a resource: set azure_foundry_url (header "
                "x-portkey-azure-foundry-url), or a custom host.",
                code="option_needed",
            )
        return credentials[_URL].rstrip("/")

    def sign(self, outgoing: SignableRequest, credentials: Credentials) -> Mapping[str, str]:
        """Bear the key, except to a resource; a token is borne everywhere."""
        host = urlsplit(credentials[_URL]).hostname or ""
        if credentials[entra_id.TOKEN] or host.endswith(_RESOURCES):
            return super().sign(outgoing, credentials)
        return {"authorization": f"Bearer {credentials.api_key}"}

    def request_path(self, call: ImageCall) -> str:
        """Give the path of the model's surface, without what the base URL names already."""
        found, model = call.credentials, self.effective_model(call.model, call.credentials)
        table = self.table_for(model)
        is_bare = bool(found[_URL]) and "/" not in found[_URL].partition("://")[2].rstrip("/")
        surface = next(place for _, it, place in _FAMILIES if it is table) if is_bare else ""
        named = quote_model(model.lower().replace(".", "-")) if table is _FLUX_2 else ""
        version = found["azure_api_version"] or "preview"
        return f"{surface}/{named or 'images/generations'}?api-version={version}"

    def build_request(self, call: ImageCall) -> ProviderRequest:
        """Ask; what an endpoint is told of itself stands in headers."""
        found = call.credentials
        told = {
            "azureml-model-deployment": found["azure_deployment_name"],
            "extra-parameters": found["azure_extra_params"],
        }
        headers = {name: value for name, value in told.items() if value}
        return replace(super().build_request(call), headers=headers)


ADAPTER = AzureAI()
