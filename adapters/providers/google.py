"""The Gemini API: image models in a chat of one turn, with the image in the reply.

    POST {base}/models/{model}:generateContent      JSON, with the key in `x-goog-api-key`

>>> from adapters.contract import ImageCall
>>> params = {"model": "gemini-3.1-flash-image", "prompt": "a cube", "size": "1792x1024"}
>>> made = ADAPTER.table_for(params["model"]).translate(params)
>>> request = ADAPTER.build_request(ImageCall(params, made.fields))
>>> request.path, request.json["contents"]
('/models/gemini-3.1-flash-image:generateContent', \
[{'role': 'user', 'parts': [{'text': 'a cube'}]}])
>>> request.json["generationConfig"]
{'imageConfig': {'aspectRatio': '16:9', 'imageSize': '1K'}, 'responseModalities': ['IMAGE']}
"""

from __future__ import annotations

from collections.abc import Mapping

from adapters.bases import gemini
from adapters.contract import Adapter, Answer, Credentials, ImageCall, SignableRequest
from adapters.http import ProviderReply, ProviderRequest
from adapters.tools.url_paths import quote_model


class Google(Adapter):
    """Google AI Studio's Gemini API, which has image models of the Gemini family only."""

    id = "google"
    otel_provider_name = "gcp.gemini"
    name = "Google Gemini"
    base_url = "https://generativelanguage.googleapis.com/v1beta"
    docs = "https://ai.google.dev/gemini-api/docs/image-generation"
    tables_by_model = gemini.build_tables()
    models = gemini.MODELS
    status_by_code = gemini.CODES
    unconfirmed = gemini.UNCONFIRMED

    def sign(self, request: SignableRequest, credentials: Credentials) -> Mapping[str, str]:
        """Return the key in a header, because in the query it could be logged."""
        del request
        return {"x-goog-api-key": credentials.api_key}

    def build_request(self, call: ImageCall) -> ProviderRequest:
        """Return the request, with the model in the path."""
        path = quote_model(call.model, example=self.models[0])
        return ProviderRequest(f"/models/{path}:generateContent", json=call.fields)

    def parse_answer(self, call: ImageCall, reply: ProviderReply) -> Answer:
        """Parse the images."""
        del call
        return gemini.parse_answer(reply)


ADAPTER = Google()
