"""Azure OpenAI: OpenAI's API, with a deployment instead of a model.

    POST {base}/deployments/{deployment}/images/generations?api-version=…    the dated API
    POST {base}/v1/images/generations                                       `azure_api_version: v1`

In the dated API the URL contains the deployment and the body must not contain a model; in the v1
API the body contains the deployment as `model`. A deployment's name need not show its model.

>>> from adapters.contract import ImageCall
>>> body = {"model": "gpt-image-2", "prompt": "a cube"}
>>> credentials = Credentials("k", {"azure_deployment_id": "d"})
>>> request = ADAPTER.build_request(ImageCall(body, body, credentials))
>>> request.path, request.content
('/deployments/d/images/generations?api-version=2025-04-01-preview', b'{"prompt":"a cube"}')
"""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

from adapters.auth import entra_id
from adapters.bases import openai_tables
from adapters.bases.openai_passthrough import OpenAIPassthrough
from adapters.contract import Credentials, ImageCall, Option
from adapters.errors import BadParam, ProviderError, error_from_reply, refusal
from adapters.http import ProviderReply, ProviderRequest
from adapters.tools.json_access import dig, dig_str
from adapters.tools.url_paths import quote_model

_DATED = "2025-04-01-preview"
_V1 = ("v1", "preview", "latest")
_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}"


class AzureOpenAI(entra_id.AzureAdapter, OpenAIPassthrough):
    """Azure OpenAI, and OpenAI deployments of Azure AI Foundry by a custom host."""

    id = "azure-openai"
    otel_provider_name = "azure.ai.openai"
    name = "Azure OpenAI"
    base_url = ""
    docs = "https://learn.microsoft.com/azure/ai-foundry/openai/how-to/dall-e"
    # Azure's documentation lists no webp and none of the parameters of OpenAI's newest models.
    tables_by_model = openai_tables.build_tables("png", "jpeg", newer=())
    models = (
        "gpt-image-2",
        "gpt-image-2.5-sunburst",
        "gpt-image-2.5-flare",
        "gpt-image-1.5",
        "gpt-image-1-mini",
    )
    options: ClassVar[tuple[Option, ...]] = (
        Option(
            "azure_resource_name",
            "the resource: https://{name}.openai.azure.com",
            aliases=("resource_name",),
            pattern=r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,62}[A-Za-z0-9])?",
        ),
        Option(
            "azure_deployment_id",
            "the deployment; by default the client's model",
            aliases=("deployment_id",),
            pattern=_NAME,
        ),
        Option(
            "azure_api_version",
            f"a date ({_DATED} by default), or v1, preview or latest for the v1 API",
            aliases=("api_version",),
            pattern=r"v1|preview|latest|\d{4}-\d{2}-\d{2}(?:-preview)?",
        ),
        *entra_id.OPTIONS,
    )
    unconfirmed = (
        "whether the v1 API requires `api-version` in the query (`v1` sends none) and tokens with "
        "the scope https://ai.azure.com/.default"
    )

    def resolve_base_url(self, credentials: Credentials) -> str:
        """Return the resource's URL. Raises `BadParam` if none is configured."""
        if not (name := credentials["azure_resource_name"]):
            raise BadParam(
                "azure_resource_name",
                "Azure OpenAI needs a resource name. Set azure_resource_name (header "
                "x-portkey-azure-resource-name) or a custom host that ends in /openai.",
                code="option_needed",
            )
        return f"https://{name}.openai.azure.com/openai"

    def request_path(self, call: ImageCall) -> str:
        """Return the path of the API that the version selects."""
        version = call.credentials["azure_api_version"] or _DATED
        if version in _V1:
            query = "" if version == "v1" else f"?api-version={version}"
            return f"/v1/images/generations{query}"
        name = call.credentials["azure_deployment_id"] or call.model
        deployment = quote_model(name, example="the deployment, or set azure_deployment_id")
        return f"/deployments/{deployment}/images/generations?api-version={version}"

    def suppressed_params(self, call: ImageCall) -> frozenset[str]:
        """Suppress `model` if the URL contains it, and `response_format` except for DALL-E."""
        names = {"model"} if not _is_v1(call.credentials) else set[str]()
        if not self.effective_model(call.model, call.credentials).startswith("dall-e"):
            names.add("response_format")
        return frozenset(names)

    def build_request(self, call: ImageCall) -> ProviderRequest:
        """Return the client's body as the request; in the v1 API the deployment is the model."""
        deployment = call.credentials["azure_deployment_id"]
        if _is_v1(call.credentials) and deployment and deployment != call.model:
            call = replace(call, fields={**call.fields, "model": deployment}, body=None)
        return super().build_request(call)

    def provider_error(self, reply: ProviderReply) -> ProviderError:
        """Recognise the content filter by its inner code, too, and Azure's own error codes."""
        details = dig(reply.json(), "error")
        inner = {dig_str(details, name, "code") for name in ("innererror", "inner_error")}
        if "ResponsibleAIPolicyViolation" in inner:
            return refusal(dig_str(details, "message"), provider_status=reply.status)
        if (code := dig_str(details, "code")) == "DeploymentNotFound" or code.isdigit():
            return error_from_reply(reply)
        return super().provider_error(reply)


def _is_v1(credentials: Credentials) -> bool:
    return credentials["azure_api_version"] in _V1


ADAPTER = AzureOpenAI()
