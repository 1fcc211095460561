"""Azure AI Foundry: three APIs of one resource, by model family.

    POST {base}/images/generations      OpenAI's API; MAI models take width and height instead
    POST {base}/{flux-2-pro}            FLUX.2, with Black Forest Labs' parameters

An `azure_foundry_url` without a path gets the path of the model's API; one with a path, such as
https://….services.ai.azure.com/models, is used as the base URL unchanged. If a deployment's name
does not show its model, set `azure_model_name`.

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
# Resources expect the key in `api-key`, endpoints of single models as a bearer token.
_RESOURCES = (".services.ai.azure.com", ".openai.azure.com", ".cognitiveservices.azure.com")


_QUALITIES = {it: it for it in ("auto", "low", "medium", "high")} | {"standard": "medium"}
_QUALITIES |= dict.fromkeys(("hd", "xhigh", "max"), "high")


def _size_unless_auto(size: str) -> Fields:
    """Drop `auto`, which some models do not support."""
    return {} if size == "auto" else {"size": size}


_OPENAI = Table(
    (
        Param("prompt"),
        Param("n", high=10),
        Param("size", convert=_size_unless_auto),
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
# Prefixes of model names, table, path of the API below the resource.
_FAMILIES = (
    (("MAI-", "mai-"), _MAI, "/mai/v1"),
    (("FLUX.2", "FLUX-2", "flux.2", "flux-2"), _FLUX_2, "/providers/blackforestlabs/v1"),
    ("", _OPENAI, "/openai/v1"),
)


class AzureAI(entra_id.AzureAdapter, OpenAICompatible):
    """Image models on Azure AI Foundry and on Azure model endpoints."""

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
            "the resource, https://{name}.services.ai.azure.com, or a base URL on an Azure host",
            pattern=rf"https://{_WORD}(?:\.{_WORD}){{0,8}}\.azure\.(?:com|us|cn)(?:/{_NAME})*/?",
        ),
        Option(
            "azure_api_version",
            "the API version, preview by default",
            pattern=r"v1|preview|latest|\d{4}-\d{2}-\d{2}(?:-preview)?",
        ),
        Option(
            "azure_deployment_name",
            "the deployment of an endpoint (header azureml-model-deployment)",
            sent_as="azureml-model-deployment",
            pattern=_NAME,
        ),
        Option(
            "azure_extra_params",
            "what an endpoint does with unknown parameters (header extra-parameters)",
            sent_as="extra-parameters",
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
        "refusals by FLUX.2 and MAI; the range of a side and n above 1 with FLUX.2; whether MAI "
        "requires width and height, and the format of its usage; whether `preview` is valid for "
        "every base URL with a path"
    )

    def resolve_base_url(self, credentials: Credentials) -> str:
        """Return the configured base URL. Raises `BadParam` if there is none."""
        if not credentials[_URL]:
            raise BadParam(
                _URL,
                "Azure AI Foundry needs a resource's URL. Set azure_foundry_url (header "
                "x-portkey-azure-foundry-url) or a custom host.",
                code="option_needed",
            )
        return credentials[_URL].rstrip("/")

    def sign(self, request: SignableRequest, credentials: Credentials) -> Mapping[str, str]:
        """Return the key as a bearer token, or in `api-key` for a resource."""
        host = urlsplit(credentials[_URL]).hostname or ""
        if credentials[entra_id.TOKEN] or host.endswith(_RESOURCES):
            return super().sign(request, credentials)
        return {"authorization": f"Bearer {credentials.api_key}"}

    def request_path(self, call: ImageCall) -> str:
        """Return the path of the model's API, below the base URL."""
        options, model = call.credentials, self.effective_model(call.model, call.credentials)
        table = self.table_for(model)
        is_bare = bool(options[_URL]) and "/" not in options[_URL].partition("://")[2].rstrip("/")
        api = next(path for _, it, path in _FAMILIES if it is table) if is_bare else ""
        name = quote_model(model.lower().replace(".", "-")) if table is _FLUX_2 else ""
        version = options["azure_api_version"] or "preview"
        return f"{api}/{name or 'images/generations'}?api-version={version}"

    def build_request(self, call: ImageCall) -> ProviderRequest:
        """Return the request, with an endpoint's own options in headers."""
        options = {
            "azureml-model-deployment": call.credentials["azure_deployment_name"],
            "extra-parameters": call.credentials["azure_extra_params"],
        }
        headers = {name: value for name, value in options.items() if value}
        return replace(super().build_request(call), headers=headers)


ADAPTER = AzureAI()
