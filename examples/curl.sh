#!/usr/bin/env bash
# Three ways to choose a provider, as with Portkey, with curl.
#
# Start a gateway with `make run`; then, in the same folder: bash examples/curl.sh
set -euo pipefail

URL=${EASEL_URL:-http://127.0.0.1:8787}
KEY=${EASEL_KEY:-$(cat .easel/key)}
PROVIDER_KEY=the-sandbox-needs-none

decode_image() { sed 's/.*"b64_json":"\([^"]*\)".*/\1/' | base64 --decode; }

curl -sSf "$URL/v1/images/generations" \
  -H "Content-Type: application/json" \
  -H "x-portkey-api-key: $KEY" \
  -H "x-portkey-provider: sandbox" \
  -H "Authorization: Bearer $PROVIDER_KEY" \
  -d '{"prompt": "A cute baby sea otter", "size": "1024x1024"}' | decode_image > image.provider.png

curl -sSf "$URL/v1/images/generations" \
  -H "Content-Type: application/json" \
  -H "x-portkey-api-key: $KEY" \
  -H "x-portkey-virtual-key: sandbox" \
  -d '{"prompt": "A cute baby sea otter", "size": "1024x1024"}' | decode_image > image.virtual-key.png

curl -sSf "$URL/v1/images/generations" \
  -H "Content-Type: application/json" \
  -H "x-portkey-api-key: $KEY" \
  -H 'x-portkey-config: {"virtual_key": "sandbox", "cache": {"mode": "simple"}}' \
  -d '{"prompt": "A cute baby sea otter", "size": "1024x1024"}' | decode_image > image.config.png

ls image.provider.png image.virtual-key.png image.config.png
