"""Three ways to choose a provider, as with Portkey, with OpenAI's SDK (pip install openai).

Start a gateway with `make run`; then, in the same folder: python examples/openai_sdk.py
"""

import base64
import json
import os
from pathlib import Path

from openai import OpenAI

URL = os.environ.get("EASEL_URL", "http://127.0.0.1:8787") + "/v1"
KEY = os.environ.get("EASEL_KEY") or Path(".easel/key").read_text(encoding="ascii").strip()
PROVIDER_KEY = "the-sandbox-needs-none"
CONFIG = {"virtual_key": "sandbox", "cache": {"mode": "simple"}}

CLIENTS = {
    "provider": OpenAI(
        base_url=URL,
        api_key=PROVIDER_KEY,
        default_headers={"x-portkey-api-key": KEY, "x-portkey-provider": "sandbox"},
    ),
    "virtual-key": OpenAI(
        base_url=URL, api_key=KEY, default_headers={"x-portkey-virtual-key": "sandbox"}
    ),
    "config": OpenAI(
        base_url=URL, api_key=KEY, default_headers={"x-portkey-config": json.dumps(CONFIG)}
    ),
}

for name, client in CLIENTS.items():
    response = client.images.generate(prompt="A cute baby sea otter", size="1024x1024")
    for image in response.data or []:
        Path(f"image.{name}.png").write_bytes(base64.b64decode(image.b64_json or ""))
        print(f"image.{name}.png")
