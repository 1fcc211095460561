"""The official SDKs, each asked as its own documentation says, in a process of its own.

    python -m tests.support.official_sdks replicate/pro-polled 8765

imports the one SDK of that table row and lets it make the call of that transcript. The SDK is as
it is installed: it keeps its own address, and its TLS too as far as it can tell. But in this
process every name leads to 127.0.0.1 and the port given, and what would be encrypted is not
(which is arranged for blocking clients only).
"""

from __future__ import annotations

import socket
import ssl
import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any, NamedTuple
from unittest.mock import patch

KEY = "test-key-0123456789"
# Only with a key of this form does the SDK go through the router to another provider.
HUB_KEY = f"hf_{KEY}"
AWS_SECRET = "test+secret/0123456789"
TENCENT_SECRET = "test-secret-0123456789"

Ask = Callable[[Any], None]


class Asking(NamedTuple):
    """How an SDK makes a transcript's call: the package it is in, its module, and the call."""

    package: str
    module: str
    ask: Ask


ASKINGS: dict[str, Asking] = {}
"""By transcript."""


def asking(place: str, package: str, module: str = "") -> Callable[[Ask], Ask]:
    """Note how a package makes the call of a transcript."""

    def noted(ask: Ask) -> Ask:
        ASKINGS[place] = Asking(package, module or package.replace("-", "_"), ask)
        return ask

    return noted


@asking("openai/verbatim", "openai")
def _(sdk: Any) -> None:
    sdk.OpenAI(api_key=KEY).images.generate(
        model="gpt-image-2",
        prompt="a red cube",
        n=2,
        size="1536x1024",
        quality="high",
        user="someone",
        extra_body={"complexity": "high", "not_yet_invented": {"a": 1}},
    )


@asking("azure-openai/deployment", "openai")
def _(sdk: Any) -> None:
    client = sdk.AzureOpenAI(
        api_key=KEY,
        azure_endpoint="https://contoso.openai.azure.com",
        azure_deployment="pictures",
        api_version="2025-04-01-preview",
    )
    client.images.generate(model="pictures", prompt="a red cube", n=2, quality="high")


@asking("azure-openai/ad-token", "openai")
def _(sdk: Any) -> None:
    client = sdk.AzureOpenAI(
        azure_ad_token="eyJ0ZXN0.token-0123456789.c2ln",
        azure_endpoint="https://contoso.openai.azure.com",
        azure_deployment="pictures",
        api_version="2025-04-01-preview",
    )
    client.images.generate(model="pictures", prompt="a red cube")


@asking("google/flash", "google-genai", "google.genai")
def _(sdk: Any) -> None:
    harms = ("HARASSMENT", "HATE_SPEECH", "SEXUALLY_EXPLICIT", "DANGEROUS_CONTENT")
    client = sdk.Client(api_key=KEY)
    client.models.generate_content(
        model="gemini-3.1-flash-image",
        contents="a red cube",
        config={
            "response_modalities": ["IMAGE"],
            "image_config": {"aspect_ratio": "16:9", "image_size": "1K"},
            "seed": 7,
            "safety_settings": [
                {"category": f"HARM_CATEGORY_{harm}", "threshold": "BLOCK_ONLY_HIGH"}
                for harm in harms
            ],
        },
    )


def _vertex(sdk: Any, location: str) -> Any:
    token = import_module("google.oauth2.credentials").Credentials("ya29.test-token-0123456789")
    return sdk.Client(vertexai=True, project="my-project", location=location, credentials=token)


@asking("vertex-ai/gemini-global", "google-genai", "google.genai")
def _(sdk: Any) -> None:
    client = _vertex(sdk, "global")
    client.models.generate_content(
        model="gemini-3.1-flash-image",
        contents="a red cube",
        config={
            "response_modalities": ["IMAGE"],
            "image_config": {
                "aspect_ratio": "3:2",
                "image_size": "1K",
                "output_mime_type": "image/jpeg",
                "output_compression_quality": 80,
                "person_generation": "ALLOW_NONE",
            },
            "labels": {"team": "a"},
        },
    )


@asking("vertex-ai/imagen", "google-genai", "google.genai")
def _(sdk: Any) -> None:
    client = _vertex(sdk, "europe-west4")
    client.models.generate_images(
        model="imagen-4.0-generate-001",
        prompt="a red cube",
        config={
            "number_of_images": 2,
            "aspect_ratio": "4:3",
            "image_size": "1K",
            "safety_filter_level": "BLOCK_ONLY_HIGH",
            "seed": 7,
            "add_watermark": False,
            "include_rai_reason": True,
        },
    )


def _bedrock(sdk: Any, model: str, region: str, body: str, **keys: str) -> None:
    client = sdk.get_session().create_client("bedrock-runtime", region, **keys)
    client.invoke_model(
        modelId=model, body=body, accept="application/json", contentType="application/json"
    )


@asking("bedrock/sd3", "botocore", "botocore.session")
def _(sdk: Any) -> None:
    _bedrock(
        sdk,
        "stability.sd3-5-large-v1:0",
        "us-west-2",
        '{"prompt": "a red cube", "mode": "text-to-image", "aspect_ratio": "16:9", '
        '"output_format": "png", "seed": 7, "negative_prompt": "blur"}',
        aws_access_key_id="AKIDEXAMPLE",
        aws_secret_access_key=AWS_SECRET,
    )


@asking("bedrock/session-token", "botocore", "botocore.session")
def _(sdk: Any) -> None:
    _bedrock(
        sdk,
        "us.stability.stable-image-ultra-v1:1",
        "us-east-1",
        '{"prompt": "a red cube"}',
        aws_access_key_id="AKIDEXAMPLE",
        aws_secret_access_key=AWS_SECRET,
        aws_session_token="FwoGZXIvYXdzEXAMPLE//////////test+token==",
    )


@asking("replicate/schnell-at-once", "replicate")
def _(sdk: Any) -> None:
    sdk.Client(api_token=KEY).run(
        "black-forest-labs/flux-schnell",
        input={
            "prompt": "a blue cube",
            "num_outputs": 2,
            "aspect_ratio": "3:2",
            "output_format": "jpg",
            "output_quality": 90,
        },
    )


@asking("replicate/pro-polled", "replicate")
def _(sdk: Any) -> None:
    prediction = sdk.Client(api_token=KEY).models.predictions.create(
        model="black-forest-labs/flux-1.1-pro",
        input={
            "prompt": "a blue cube",
            "aspect_ratio": "custom",
            "width": 1440,
            "height": 832,
            "safety_tolerance": 6,
        },
        wait=True,
    )
    prediction.wait()


@asking("replicate/deployment-data-uri", "replicate")
def _(sdk: Any) -> None:
    sdk.Client(api_token=KEY).deployments.predictions.create(
        "my-team/cubes", input={"prompt": "a blue cube", "seed": 7}, wait=True
    )


@asking("fal-ai/flux-dev-queued", "fal-client")
def _(sdk: Any) -> None:
    sdk.SyncClient(key=KEY).subscribe(
        "fal-ai/flux/dev",
        arguments={
            "prompt": "a blue cube",
            "num_images": 2,
            "image_size": {"width": 1792, "height": 1024},
            "output_format": "png",
            "enable_safety_checker": False,
            "num_inference_steps": 28,
            "seed": 42,
        },
    )


@asking("together-ai/flux-2-base64", "together")
def _(sdk: Any) -> None:
    sdk.Together(api_key=KEY).images.generate(
        model="black-forest-labs/FLUX.2-pro",
        prompt="a blue cube",
        width=1024,
        height=1792,
        response_format="base64",
        output_format="png",
        seed=7,
        disable_safety_checker=False,
    )


@asking("huggingface/own", "huggingface-hub")
def _(sdk: Any) -> None:
    client = sdk.InferenceClient(provider="hf-inference", token=KEY, bill_to="acme")
    client.text_to_image(
        "a red cube",
        model="stabilityai/stable-diffusion-xl-base-1.0",
        width=1536,
        height=1024,
        negative_prompt="blue",
        num_inference_steps=20,
        guidance_scale=7.5,
        seed=7,
    )


@asking("huggingface/endpoint", "huggingface-hub")
def _(sdk: Any) -> None:
    place = "https://a1b2.us-east-1.aws.endpoints.huggingface.cloud"
    client = sdk.InferenceClient(model=place, token=KEY)
    client.text_to_image("a red cube", width=512, height=512)


@asking("huggingface/fal", "huggingface-hub")
def _(sdk: Any) -> None:
    client = sdk.InferenceClient(provider="fal-ai", token=HUB_KEY)
    client.text_to_image("a red cube", model="zai-org/GLM-Image", width=1792, height=1024, seed=42)


@asking("huggingface/together", "huggingface-hub")
def _(sdk: Any) -> None:
    client = sdk.InferenceClient(provider="together", token=HUB_KEY)
    client.text_to_image(
        "a red cube",
        model="black-forest-labs/FLUX.1-dev",
        width=1024,
        height=768,
        num_inference_steps=28,
        guidance_scale=3.5,
        negative_prompt="blue",
        seed=7,
    )


@asking("huggingface/nscale", "huggingface-hub")
def _(sdk: Any) -> None:
    client = sdk.InferenceClient(provider="nscale", token=HUB_KEY)
    client.text_to_image(
        "a red cube",
        model="stabilityai/stable-diffusion-xl-base-1.0",
        width=1024,
        height=1024,
        num_inference_steps=28,
        guidance_scale=3.5,
        seed=7,
    )


def _tencent(request: str, **fields: Any) -> tuple[Any, Any]:
    """Make a client and a request of it."""
    package = "tencentcloud.hunyuan.v20230901"
    pair = import_module("tencentcloud.common.credential").Credential("AKIDEXAMPLE", TENCENT_SECRET)
    client = import_module(f"{package}.hunyuan_client").HunyuanClient(pair, "ap-guangzhou")
    made = getattr(import_module(f"{package}.models"), request)()
    for name, value in fields.items():
        setattr(made, name, value)
    return client, made


@asking("tencent/job", "tencentcloud-sdk-python-hunyuan", "tencentcloud.hunyuan.v20230901")
def _(sdk: Any) -> None:
    del sdk
    client, job = _tencent(
        "SubmitHunyuanImageJobRequest",
        Prompt="a blue cube",
        Resolution="1280:768",
        Num=2,
        Seed=7,
        Revise=0,
    )
    submitted = client.SubmitHunyuanImageJob(job)
    _, question = _tencent("QueryHunyuanImageJobRequest", JobId=submitted.JobId)
    while client.QueryHunyuanImageJob(question).JobStatusCode in ("1", "2"):
        pass


@asking("tencent/lite-url", "tencentcloud-sdk-python-hunyuan", "tencentcloud.hunyuan.v20230901")
def _(sdk: Any) -> None:
    del sdk
    client, wish = _tencent(
        "TextToImageLiteRequest", Prompt="a blue cube", Resolution="1920:1080", RspImgType="url"
    )
    client.TextToImageLite(wish)


@asking("luma/photon-polled", "lumaai")
def _(sdk: Any) -> None:
    client = sdk.LumaAI(auth_token=KEY)
    job = client.generations.image.create(
        model="photon-1", prompt="a blue cube", aspect_ratio="16:9", format="jpg"
    )
    while client.generations.get(job.id).state in ("queued", "dreaming"):
        pass


@asking("openrouter/two-pictures", "openrouter")
def _(sdk: Any) -> None:
    client = sdk.OpenRouter(
        api_key=KEY, http_referer="https://app.test", x_open_router_title="Acme"
    )
    client.images.generate(
        model="openai/gpt-image-2",
        prompt="a blue cube",
        n=2,
        size="1536x1024",
        quality="medium",
        background="opaque",
        output_format="webp",
        output_compression=80,
        user="u-1",
    )


@asking("openrouter/ratio-and-routing", "openrouter")
def _(sdk: Any) -> None:
    sdk.OpenRouter(api_key=KEY).images.generate(
        model="black-forest-labs/flux.2-pro",
        prompt="a blue cube",
        aspect_ratio="9:19.5",
        resolution="2K",
        quality="high",
        seed=7,
        provider={"only": ["black-forest-labs"], "allow_fallbacks": False},
    )


@asking("zhipu/glm-image", "zai-sdk", "zai")
def _(sdk: Any) -> None:
    sdk.ZaiClient(api_key=KEY).images.generations(
        model="glm-image", prompt="a blue cube", size="1792x1024", quality="hd", user_id="user-0001"
    )


@asking("leonardo/lucid-polled", "leonardo-ai-sdk")
def _(sdk: Any) -> None:
    client = sdk.LeonardoAiSDK(bearer_auth=KEY)
    made = client.image.create_generation(
        request={
            "model_id": "7b592283-e8a7-4c5a-9ba6-d18c31f258b9",
            "prompt": "a blue cube",
            "num_images": 2,
            "width": 1536,
            "height": 880,
            "transparency": "foreground_only",
            "contrast": 3.5,
        }
    )
    job = made.object.sd_generation_job.generation_id
    while client.image.get_generation_by_id(id=job).object.generations_by_pk.status == "PENDING":
        pass


class Unencrypted(socket.socket):
    """A plain connection that passes for an encrypted one to the host that was asked for."""

    host = ""

    def getpeercert(self, *_: object) -> dict[str, Any]:
        """Show a certificate of that host's."""
        return {"subjectAltName": (("DNS", self.host),)}


def lead_here(port: int) -> None:
    """Let every name of this process lead to a port of this machine, without encryption."""

    def found(*_: object, **__: object) -> list[tuple[Any, ...]]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 0, "", ("127.0.0.1", port))]

    def wrapped(
        _: ssl.SSLContext,
        sock: socket.socket,
        *__: object,
        server_hostname: str = "",
        **___: object,
    ) -> Unencrypted:
        timeout = sock.gettimeout()
        plain = Unencrypted(fileno=sock.detach())
        plain.settimeout(timeout)
        plain.host = server_hostname
        return plain

    patch.object(socket, "getaddrinfo", found).start()
    patch.object(ssl.SSLContext, "wrap_socket", wrapped).start()


if __name__ == "__main__":
    chosen = ASKINGS[sys.argv[1]]
    lead_here(int(sys.argv[2]))
    chosen.ask(import_module(chosen.module))
