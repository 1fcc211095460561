#!/usr/bin/env bash
# Portkey's three ways to name a provider, with curl.
#
# Start a gateway with `make run`; then, in the same folder: bash examples/curl.sh
set -euo pipefail

URL=${EASEL_URL:-http://127.0.0.1:8787}
KEY=${EASEL_KEY:-$(cat .easel/key)}
PROVIDER_KEY=the-sandbox-needs-none

picture() { sed 's/.*"b64_json":"\([^"]*\)".*/\1/' | base64 --decode; }

curl -sSf "$URL/v1/images/generations" \
  -H "Content-Type: application/json" \
  -H "x-portkey-api-key: $KEY" \
  -H "x-portkey-provider: sandbox" \
  -H "Authorization: Bearer $PROVIDER_KEY" \
  -d '{"prompt": "A cute baby sea otter", "size": "1024x1024"}' | picture > picture.provider.png

curl -sSf "$URL/v1/images/generations" \
  -H "Content-Type: application/json" \
  -H "x-portkey-api-key: $KEY" \
  -H "x-portkey-virtual-key: sandbox" \
  -d '{"prompt": "A cute baby sea otter", "size": "1024x1024"}' | picture > picture.virtual-key.png

curl -sSf "$URL/v1/images/generations" \
  -H "Content-Type: application/json" \
  -H "x-portkey-api-key: $KEY" \
  -H 'x-portkey-config: {"virtual_key": "sandbox", "cache": {"mode": "simple"}}' \
  -d '{"prompt": "A cute baby sea otter", "size": "1024x1024"}' | picture > picture.config.png

ls picture.provider.png picture.virtual-key.png picture.config.png
