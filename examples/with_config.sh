#!/usr/bin/env bash
# Generate an image with a config: bash examples/with_config.sh examples/configs/fallback.json
#
# Start a gateway with `make run` first. A second argument is the request's metadata, as JSON.
# Prints the response headers that name the target and report retries and the cache.
set -euo pipefail

URL=${EASEL_URL:-http://127.0.0.1:8787}
KEY=${EASEL_KEY:-$(cat .easel/key)}

curl -sSf -o image.json -D - "$URL/v1/images/generations" \
  -H "Content-Type: application/json" \
  -H "x-portkey-api-key: $KEY" \
  -H "x-portkey-config: $(tr -d '\n' < "$1")" \
  -H "x-portkey-metadata: ${2:-"{}"}" \
  -d '{"prompt": "A cute baby sea otter"}' | grep '^x-portkey-'

sed 's/.*"b64_json":"\([^"]*\)".*/\1/' image.json | base64 --decode > image.png
