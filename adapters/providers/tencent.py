"""Tencent: Hunyuan with signed requests, or other vendors' models at TokenHub with a key.

    POST {base}/                            X-TC-Action: SubmitHunyuanImageJob -> {"Response"}
    POST {base}/                            X-TC-Action: QueryHunyuanImageJob, polling
    POST {base}/                            X-TC-Action: TextToImageLite, without polling
    POST {base}/wand/{kind}/generation      TokenHub, close to OpenAI's format

A key pair (`tencent_secret_id`, `tencent_secret_key`) selects Hunyuan, an API key TokenHub. All
replies of Hunyuan are a 200; a failure has a code in `Response.Error`.

>>> from adapters.contract import ImageCall
>>> made = ADAPTER.table_for("hunyuan-image").translate({"prompt": "a cube", "size": "1536x1024"})
>>> pair = Credentials("", {"tencent_secret_id": "id", "tencent_secret_key": "key"})
>>> sent = ADAPTER.build_request(ImageCall({"model": "hunyuan-image"}, made.fields, pair))
>>> sent.headers["x-tc-action"], sent.json
('SubmitHunyuanImageJob', {'Prompt': 'a cube', 'Resolution': '1280:768', 'LogoAdd': 0})
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from adapters import errors
from adapters.auth.signatures import sign_tc3
from adapters.bases.openai_passthrough import MODERATION_CODES, parse_images
from adapters.bases.polling import PollingAdapter
from adapters.contract import Answer, Credentials, Image, ImageCall, Option, SignableRequest
from adapters.http import ProviderReply, ProviderRequest
from adapters.table.param import Param
from adapters.table.table import Table
from adapters.tools import sizes
from adapters.tools.json_access import dig, dig_list, dig_str, dig_typed, parse_usage, without_none
from adapters.tools.url_paths import require_model

_HOSTS = {
    "": "tokenhub-intl.tencentcloudmaas.com",
    "intl": "tokenhub-intl.tencentcloudmaas.com",
    "cn": "tokenhub.tencentmaas.com",
}
_SIZES = "768x768 768x1024 1024x768 1024x1024 720x1280 1280x720 768x1280 1280x768"
_PAIR = ("tencent_secret_id", "tencent_secret_key")
_HUNYUAN = "hunyuan-image"
_LIMITED = "RequestLimitExceeded"
_TOO_MANY = 429


def _hunyuan(prompt: int, more_sizes: str, *rows: Param) -> Table:
    listed = f"{_SIZES} {more_sizes}".split()
    return Table(
        (
            Param("prompt", "Prompt", high=prompt),
            Param("NegativePrompt", high=prompt),
            Param(
                "size",
                convert=sizes.nearest_size(listed, field="Resolution", separator=":"),
                default="1024x1024" if more_sizes else None,
            ),
            Param(
                "Style", pattern="[0-9]{1,8}", note="its number; the lite model defaults to anime"
            ),
            Param("LogoAdd", kind=int, low=0, high=1, default=0, note="1 adds a visible mark"),
            Param("LogoParam", kind=dict),
            *rows,
        )
    )


_JOB = _hunyuan(
    1024,
    "",
    Param("n", "Num", high=4),
    Param("Revise", kind=int, low=0, high=1, note="1 (the default) rewrites the prompt"),
    Param("Seed", kind=int, low=1, note="only with Revise=0"),
    Param("Clarity", choices=("x2", "x4")),
    Param("ContentImage", kind=dict),
)
_LITE = _hunyuan(
    256,
    "1080x1920 1920x1080",
    Param("response_format", "RspImgType", convert={"url": "url", "b64_json": "base64"}),
)
_TOKENHUB = Table(
    (
        Param("prompt"),
        Param("size", convert=sizes.pixels(low=256, high=4096, combined="size")),
        Param("response_format", choices=("url", "b64_json")),
        Param("output_format", choices=("png", "jpeg", "webp")),
        Param("background", choices=("transparent", "opaque")),
        Param("user"),
    )
)


class Tencent(PollingAdapter):
    """Tencent Cloud's Hunyuan, and its TokenHub."""

    id = "tencent"
    name = "Tencent Cloud"
    base_url = "https://tokenhub-intl.tencentcloudmaas.com/v1"
    docs = "https://cloud.tencent.com/document/product/1729"
    tables_by_model = (("hunyuan-image-lite", _LITE), ("hunyuan", _JOB), ("", _TOKENHUB))
    models = (
        "seedream-image-v5.0-pro",
        "seedream-image-v5.0-lite",
        "seedream-image-v5.0-flash",
        _HUNYUAN,
        "hunyuan-image-lite",
    )
    options: ClassVar[tuple[Option, ...]] = (
        Option(_PAIR[0], "the SecretId of a key pair", pattern=r"[A-Za-z0-9_-]{1,128}"),
        Option(_PAIR[1], "the SecretKey of the key pair", secret=True),
        Option(
            "tencent_token",
            "the session token of a temporary key pair",
            secret=True,
            pattern="[!-~]+",
        ),
        Option("tencent_region", "the region, ap-guangzhou by default", pattern="[a-z0-9-]{1,32}"),
        Option(
            "tencent_tokenhub", "the TokenHub host: intl (the default) or cn", pattern="intl|cn"
        ),
    )
    url_lifetime = 3600
    confidence = "medium"
    unconfirmed = (
        "sizes, formats and refusals at TokenHub, and the models of each of its hosts; the style "
        "number of TextToImageLite that means none; the maximum number of concurrent jobs"
    )
    refusal_pattern = errors.REFUSAL_WORDS
    status_by_code: ClassVar[Mapping[str, int]] = {
        **dict.fromkeys(MODERATION_CODES, errors.REFUSED),
        "AuthFailure": 401,
        "AuthFailure.UnauthorizedOperation": 403,
        "UnauthorizedOperation": 403,
        "InvalidParameter": 400,
        "MissingParameter": 400,
        "UnknownParameter": 400,
        "UnsupportedRegion": 400,
        "OperationDenied": 403,
        # Listed in the SDK as "The picture contains sensitive content".
        "FailedOperation.GenerateImageFailed": errors.REFUSED,
        "OperationDenied.TextIllegalDetected": errors.REFUSED,
        "OperationDenied.ImageIllegalDetected": errors.REFUSED,
        _LIMITED: _TOO_MANY,
        "LimitExceeded": _TOO_MANY,
        "ResourceInsufficient": 402,
        "ResourceUnavailable.InArrears": 402,
        "ResourceUnavailable.LowBalance": 402,
        "FailedOperation.FreeResourcePackExhausted": 402,
        "FailedOperation.ResourcePackExhausted": 402,
        "FailedOperation.ServiceStopArrears": 402,
        "FailedOperation.ServiceNotActivated": 403,
        "FailedOperation.UserUnAuthError": 403,
        "FailedOperation.EngineServerLimitExceeded": _TOO_MANY,
        "FailedOperation.EngineRequestTimeout": 504,
    }
    state_path = ("Response", "JobStatusCode")
    # 1 is waiting, 2 is running.
    success_state, failed_states = "5", frozenset({"4"})
    poll_interval = 2.0

    def resolve_base_url(self, credentials: Credentials) -> str:
        """Return the URL that the credential is for."""
        if _uses_key_pair(credentials):
            return "https://hunyuan.tencentcloudapi.com"
        return f"https://{_HOSTS[credentials['tencent_tokenhub']]}/v1"

    def effective_model(self, model: str, credentials: Credentials) -> str:
        """Return a model that exists at that URL: one of Hunyuan's actions, or any other."""
        ours = model.startswith("hunyuan")
        if _uses_key_pair(credentials):
            return model if ours else _HUNYUAN
        return "" if ours else model

    def missing_credentials(self, credentials: Credentials) -> str:
        """Return the missing half of a key pair, or the API key."""
        missing = [name for name in _PAIR if not credentials[name]]
        if credentials.api_key or not missing:
            return ""
        return missing[0] if len(missing) == 1 else f"an API key, or {' and '.join(_PAIR)}"

    def sign(self, request: SignableRequest, credentials: Credentials) -> Mapping[str, str]:
        """Return the headers of a signature with the key pair, or the API key."""
        if not _uses_key_pair(credentials):
            return super().sign(request, credentials)
        secret_id, secret_key = (credentials[name] for name in _PAIR)
        return sign_tc3(
            request,
            service="hunyuan",
            secret_id=secret_id,
            secret_key=secret_key,
            token=credentials["tencent_token"],
        )

    def build_request(self, call: ImageCall) -> ProviderRequest:
        """Return the request for a job, or for an image without polling."""
        if _uses_key_pair(call.credentials):
            is_lite = call.model.startswith("hunyuan-image-lite")
            return _action(
                "TextToImageLite" if is_lite else "SubmitHunyuanImageJob", call, call.fields
            )
        model = require_model(call.model, example=self.models[0])
        kind = "minimax-image" if model.lower().startswith("minimax") else "si-image"
        return ProviderRequest(f"/wand/{kind}/generation", json={"model": model, **call.fields})

    def build_poll_request(self, call: ImageCall, reply: ProviderReply) -> ProviderRequest | None:
        """Return the poll of the job; None if the reply has the images."""
        job = dig_str(reply.json(), "Response", "JobId")
        return _action("QueryHunyuanImageJob", call, {"JobId": job}) if job else None

    def is_finished(self, reply: ProviderReply) -> bool:
        """Whether the job has finished; a rate-limited poll says nothing about it."""
        code = dig_str(reply.json(), "Response", "Error", "Code")
        if code:
            return reply.ok and not code.startswith(_LIMITED)
        return super().is_finished(reply)

    def is_readable(self, reply: ProviderReply) -> bool:
        """Whether a reply has a job's state, or is that of a rate-limited poll."""
        code = dig_str(reply.json(), "Response", "Error", "Code")
        return code.startswith(_LIMITED) or super().is_readable(reply)

    def parse_answer(self, call: ImageCall, reply: ProviderReply) -> Answer:
        """Parse the images of any of the APIs. Raises `ProviderError` if there are none."""
        del call
        tree = reply.json()
        if images := (
            *parse_images(tree, extra_fields={"revised_prompt"}),
            *_images(dig(tree, "Response")),
        ):
            return Answer(images, usage=parse_usage(tree, "tokenhub_usage"))
        if any(errors.find_error_codes(reply)) or errors.find_error_message(reply):
            raise self.provider_error(reply)
        raise errors.no_image_error(reply.status)


def _uses_key_pair(credentials: Credentials) -> bool:
    """Whether a key pair is the credential; it takes precedence over an API key."""
    return all(credentials[name] for name in _PAIR)


def _action(name: str, call: ImageCall, fields: Mapping[str, Any]) -> ProviderRequest:
    headers = {
        "x-tc-action": name,
        "x-tc-version": "2023-09-01",
        "x-tc-region": call.credentials["tencent_region"] or "ap-guangzhou",
    }
    return ProviderRequest("/", headers=headers, json=fields)


def _images(response: Any) -> Iterator[Image]:
    """Yield a job's images, or the one image of TextToImageLite, a URL or base64."""
    for which, url in enumerate(dig_list(response, "ResultImage")):
        if url and isinstance(url, str):
            prompt = dig_str(response, "RevisedPrompt", which)
            yield Image.from_url(url, **without_none(revised_prompt=prompt or None))
    if lone := dig_str(response, "ResultImage"):
        extra = without_none(seed=dig_typed(response, "Seed", kind=int))
        is_place = lone.startswith(("https://", "http://"))
        yield Image(url=lone, extra=extra) if is_place else Image(b64=lone, extra=extra)


ADAPTER = Tencent()
