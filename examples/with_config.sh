#!/usr/bin/env bash
# A picture by way of a config: bash examples/with_config.sh examples/configs/fallback.json
#
# Start a gateway with `make run` first. A second argument is the request's metadata, as JSON.
# Prints the headers that say which target answered and what it took.
set -euo pipefail

URL=${EASEL_URL:-http://127.0.0.1:8787}
KEY=${EASEL_KEY:-$(cat .easel/key)}

curl -sSf -o picture.json -D - "$URL/v1/images/generations" \
  -H "Content-Type: application/json" \
  -H "x-portkey-api-key: $KEY" \
  -H "x-portkey-config: $(tr -d '\n' < "$1")" \
  -H "x-portkey-metadata: ${2:-"{}"}" \
  -d '{"prompt": "A cute baby sea otter"}' | grep '^x-portkey-'

sed 's/.*"b64_json":"\([^"]*\)".*/\1/' picture.json | base64 --decode > picture.png
