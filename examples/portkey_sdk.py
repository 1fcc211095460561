"""Three ways to choose a provider with Portkey's SDK (pip install portkey-ai).

Start a gateway with `make run`; then, in the same folder: python examples/portkey_sdk.py
"""

import base64
import os
from pathlib import Path

from portkey_ai import Portkey

URL = os.environ.get("EASEL_URL", "http://127.0.0.1:8787") + "/v1"
KEY = os.environ.get("EASEL_KEY") or Path(".easel/key").read_text(encoding="ascii").strip()
PROVIDER_KEY = "the-sandbox-needs-none"
CONFIG = {"virtual_key": "sandbox", "cache": {"mode": "simple"}}

CLIENTS = {
    "provider": Portkey(base_url=URL, api_key=KEY, provider="sandbox", Authorization=PROVIDER_KEY),
    "virtual-key": Portkey(base_url=URL, api_key=KEY, virtual_key="sandbox"),
    "config": Portkey(base_url=URL, api_key=KEY, config=CONFIG),
}

for name, client in CLIENTS.items():
    response = client.images.generate(prompt="A cute baby sea otter", size="1024x1024")
    for image in response.data or []:
        Path(f"image.{name}.png").write_bytes(base64.b64decode(image.b64_json or ""))
        print(f"image.{name}.png")
