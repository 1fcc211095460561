"""What takes each defence of docs/security.md out, in the order of its table."""

from __future__ import annotations

from typing import NamedTuple


class Mutation(NamedTuple):
    """What takes a defence out: in a file, a text and what stands there instead."""

    defence: str
    file: str
    text: str
    instead: str


MUTATIONS = (
    Mutation(
        "addresses are checked when the socket is opened",
        "proxy/upstream/connector.py",
        "if not is_allowed_address(address[0], private=private):",
        "if False:",
    ),
    Mutation(
        "every custom host is checked, at every level of a config",
        "proxy/routing/targets.py",
        'return str(url), is_trusted(url.host or "", trusted)',
        "return str(url), True",
    ),
    Mutation(
        "cloud metadata services are blocked for everyone",
        "proxy/upstream/connector.py",
        "if address in _METADATA_ADDRESSES or address.is_multicast",
        "if address.is_multicast",
    ),
    Mutation(
        "an IPv4 address embedded in IPv6 is treated as that address",
        "proxy/upstream/connector.py",
        'address = _embedded_ipv4(ip_address(text.partition("%")[0]))',
        'address = ip_address(text.partition("%")[0])',
    ),
    Mutation(
        "image downloads reach only what a stranger could reach",
        "proxy/upstream/exchange.py",
        "    return url, False\n",
        "    return url, target.allow_private_network\n",
    ),
    Mutation(
        "the checked address is the one that is connected to",
        "proxy/upstream/connector.py",
        "if not is_allowed_address(address[0], private=private):",
        "if False:",
    ),
    Mutation(
        "separate connection pools for trusted and untrusted hosts",
        "proxy/upstream/connector.py",
        "return self._clients[private]",
        "return self._clients[True]",
    ),
    Mutation(
        "redirects are not followed",
        "proxy/upstream/connector.py",
        "allow_redirects=False",
        "allow_redirects=True",
    ),
    Mutation(
        "options are validated",
        "proxy/settings/credentials.py",
        "elif not re.fullmatch(option.pattern, value):",
        "elif False:",
    ),
    Mutation(
        "a model name cannot leave its path segment",
        "adapters/tools/url_paths.py",
        'if not _MODEL.fullmatch(model) or any(segment in ("", ".", "..") for segment in segments):',
        "if not segments:",
    ),
    Mutation(
        "credentials follow a reply only to the provider's own hosts",
        "proxy/upstream/exchange.py",
        "if request.authenticated and not _is_provider_host(target.adapter, url):",
        "if False:",
    ),
    Mutation(
        "a stored key is never sent to a host that a caller chose",
        "proxy/routing/targets.py",
        "    if chosen.operator_credential:\n",
        "    if False:\n",
    ),
    Mutation(
        "keys are printable ASCII",
        "proxy/settings/credentials.py",
        "if not is_header_safe(api_key):",
        "if False:",
    ),
    Mutation(
        "request headers hold only the intended lines",
        "proxy/upstream/http1.py",
        'if head.count("\\n") >= len(lines) or _CONTROL_CHARACTERS.search(head):',
        "if False:",
    ),
    Mutation(
        "headers named by `Connection` are not forwarded",
        "proxy/http/forwarding.py",
        "if name in headers and name not in named_by_connection:",
        "if name in headers:",
    ),
    Mutation(
        "provider response headers are filtered",
        "proxy/http/forwarding.py",
        "if lower in _NEVER_RELAYED or lower.startswith(_NEVER_RELAYED_PREFIXES):",
        "if lower.startswith(_NEVER_RELAYED_PREFIXES):",
    ),
    Mutation(
        "framing headers are not forwarded",
        "proxy/http/forwarding.py",
        "return name in _NEVER_FORWARDED or name.startswith(_NEVER_FORWARDED_PREFIXES)",
        "return name.startswith(_NEVER_FORWARDED_PREFIXES)",
    ),
    Mutation(
        "a gateway key is never forwarded",
        "proxy/http/forwarding.py",
        'if is_forbidden(name) or (name == "authorization" and bearer_is_gateway_key):',
        "if is_forbidden(name):",
    ),
    Mutation(
        "gateway hops are counted",
        "proxy/http/forwarding.py",
        "if count > _MAX_HOPS:",
        "if count > 40:",
    ),
    Mutation(
        "a config is at most 32 KB",
        "proxy/routing/resolver.py",
        "if len(text) > MAX_CONFIG_BYTES:",
        "if False:",
    ),
    Mutation(
        "nesting is counted before anything is parsed",
        "proxy/settings/config_json.py",
        "if _depth(text) > _MAX_DEPTH:",
        "if False:",
    ),
    Mutation(
        "targets are counted",
        "proxy/settings/routing_config.py",
        "if self._targets > MAX_TOTAL_TARGETS:",
        "if False:",
    ),
    Mutation(
        "duplicate keys in a config are refused",
        "proxy/settings/config_json.py",
        'found[key] = _Invalid("is given twice") if key in found else value',
        "found[key] = value",
    ),
    Mutation(
        "the depth of a body is limited",
        "proxy/http/body.py",
        "    if exceeds_depth(params, DEPTH_LIMIT):\n",
        "    if False:\n",
    ),
    Mutation(
        "one attempt budget for a whole request",
        "proxy/pipeline/execute.py",
        "if self._request.get(COMMITTED) or self.budget.remaining <= 0:",
        "if self._request.get(COMMITTED):",
    ),
    Mutation(
        "requests that need too many provider calls are refused at the start",
        "proxy/pipeline/converse.py",
        "if 1 < len(attempt.calls) > (left := attempt.retry_state.budget.remaining):",
        "if (left := attempt.retry_state.budget.remaining) < 0:",
    ),
    Mutation(
        "a cached response belongs to its caller",
        "proxy/cache/keys.py",
        '"" if shared else caller,',
        '"",',
    ),
    Mutation(
        "a cached response belongs to its credential",
        "proxy/cache/keys.py",
        "*(target.fingerprint, target.adapter.id,",
        "*(target.adapter.id,",
    ),
    Mutation(
        "only images are cached",
        "proxy/cache/images.py",
        "        media_type = allowed_media_type(head, declared)\n",
        '        media_type = allowed_media_type(head, declared) or "image/png"\n',
    ),
    Mutation(
        "the values that were read are the values that are sent",
        "proxy/http/body.py",
        "return orjson.dumps(params), params",
        "return raw, params",
    ),
    Mutation(
        "every part of an image URL is signed",
        "proxy/blobs/urls.py",
        "return url if hmac.compare_digest(signature[2], self._mac(url)) else None",
        "return url",
    ),
    Mutation(
        "names have 128 random bits",
        "proxy/blobs/urls.py",
        "else secrets.token_hex(16)",
        'else f"{expires:032x}"',
    ),
    Mutation(
        "a job belongs to its caller",
        "proxy/jobs/store.py",
        "return job if job and job.key.caller == caller else None",
        "return job",
    ),
    Mutation(
        "a job belongs to its caller on every node",
        "proxy/jobs/cluster.py",
        "return found if found and found.record.caller == caller else None",
        "return found",
    ),
    Mutation(
        "compressed bodies have a size limit and a ratio limit",
        "proxy/http/body.py",
        "    if size > request.content.total_raw_bytes * memory.max_ratio:\n",
        "    if False:\n",
    ),
    Mutation(
        "untrusted images are never decoded",
        "proxy/pipeline/image_source.py",
        "from __future__ import annotations\n",
        "from __future__ import annotations\n\nimport PIL.Image\n",
    ),
    Mutation(
        "only images are stored, recognised by their first bytes",
        "proxy/blobs/publish.py",
        "stored_type = allowed_media_type(head, media_type)",
        'stored_type = allowed_media_type(head, media_type) or "image/png"',
    ),
    Mutation(
        "browsers may not guess another type",
        "proxy/endpoints/blobs.py",
        '        "X-Content-Type-Options": "nosniff",\n',
        "",
    ),
    Mutation(
        "an SVG is offered as a download",
        "proxy/endpoints/blobs.py",
        '"attachment" if url.media_type == SVG else "inline"',
        '"inline"',
    ),
    Mutation(
        "headers, body and response have timeouts",
        "proxy/server/client_timeouts.py",
        "            if now - stall.since >= self._allowed(connection, stall.waiting_for):\n",
        "            if False:\n",
    ),
    Mutation(
        "jobs in progress are limited",
        "proxy/jobs/limits.py",
        "        if own >= self._per_caller:\n",
        "        if False:\n",
    ),
    Mutation(
        "images and prompt of a request are limited",
        "proxy/http/body.py",
        "    if isinstance(n, int | float) and n > limits.images:\n",
        "    if False:\n",
    ),
    Mutation(
        "large bodies are counted together",
        "proxy/http/body_limits.py",
        "        if memory.reserved + more > memory.limit:\n",
        "        if False:\n",
    ),
    Mutation(
        "a request's length is unambiguous",
        "proxy/middlewares/framing.py",
        '    if coding is not None and coding.strip().lower() != "chunked":\n',
        "    if False:\n",
    ),
    Mutation(
        "keys are compared as digests, in constant time",
        "proxy/middlewares/auth.py",
        "return name if hmac.compare_digest(expected, key_digest) else None",
        "return name",
    ),
    Mutation(
        "secrets are redacted from what a provider repeats",
        "proxy/upstream/redact.py",
        '            body = body.replace(secret.encode(), b"***")\n',
        "            pass\n",
    ),
    Mutation(
        "secrets are redacted from relayed events",
        "proxy/upstream/redact.py",
        'text.replace(secret, b"*" * len(secret))',
        "text",
    ),
    Mutation(
        "the signed form of a credential is a secret, too",
        "proxy/routing/plan.py",
        "        values.add(self._authorization)\n",
        "",
    ),
    Mutation(
        "a failure is logged by name and location",
        "proxy/errors.py",
        "[type(error).__name__, *(",
        "[repr(error), *(",
    ),
    Mutation(
        "core dumps are disabled",
        "proxy/server/process.py",
        "    resource.setrlimit(resource.RLIMIT_CORE, (soft, hard))\n",
        "",
    ),
    Mutation(
        "the state folder is private to its owner",
        "proxy/settings/state_dir.py",
        "_OWNER_ONLY_MODE = 0o700",
        "_OWNER_ONLY_MODE = 0o755",
    ),
    Mutation(
        "a span holds no free text of a client",
        "proxy/observability/tracing/attempt.py",
        "if not (isinstance(named, str) and _MODEL.fullmatch(named)):",
        "if not isinstance(named, str):",
    ),
    Mutation(
        "a span names a failure by its type",
        "proxy/observability/tracing/spans.py",
        "else type(error).__name__",
        "else repr(error)",
    ),
    Mutation(
        "a span holds the path without query and ids",
        "proxy/observability/tracing/exchange.py",
        'it if _is_safe_segment(it, secrets) else "{id}"',
        "it",
    ),
    Mutation(
        "a caller's baggage is not sent to providers by default",
        "proxy/observability/tracing/propagation.py",
        'if propagate == "all":',
        "if True:",
    ),
    Mutation(
        "no log line holds a prompt, a key or an image",
        "proxy/middlewares/access.py",
        '        "trace": request[TRACE_ID],\n',
        '        "trace": repr(list(request._state.values())),\n',
    ),
    Mutation(
        "a logged reply quotes no prompt and no key, and holds no image",
        "proxy/upstream/reply_excerpt.py",
        "excerpt(reply.body, call.params, target.secrets)",
        "reply.body.decode()",
    ),
    Mutation(
        "metric labels come from fixed sets",
        "proxy/observability/metrics/labels.py",
        "    return OTHER\n",
        "    return model\n",
    ),
    Mutation(
        "an ordered image is finished and stored for its caller",
        "proxy/middlewares/jobs.py",
        'is_retry=headers.get("x-stainless-retry-count", "0").strip() not in ("", "0"),',
        "is_retry=False,",
    ),
    Mutation(
        "an abandoned job is cancelled at the provider, if the operator wants that",
        "proxy/upstream/client.py",
        "self._client.cancellations.start(self._flow, self._authorized)",
        "pass",
    ),
    Mutation(
        "unknown host names are refused",
        "proxy/http/allowed_hosts.py",
        "        if not (self._allow_any or host is None or self._is_allowed(host)):\n",
        "        if False:\n",
    ),
    Mutation(
        "forwarded headers count only from trusted proxies",
        "proxy/http/proxy_headers.py",
        "    return proxies if proxies.contains(_peer_address(request)) else None\n",
        "    return proxies\n",
    ),
    Mutation(
        "settings are replaced as a whole",
        "proxy/reload/live_settings.py",
        "self.snapshot = SettingsSnapshot(candidate.settings)",
        "self.snapshot = SettingsSnapshot(self.snapshot.settings)",
    ),
    Mutation(
        "what was remembered of requests ends with their settings",
        "proxy/reload/snapshot.py",
        "self.response_digests: dict[bytes, bytes] = {}",
        "self.response_digests = SettingsSnapshot.__init__.__dict__",
    ),
    Mutation(
        "a file without keys is invalid",
        "proxy/reload/live_settings.py",
        "if not (read.api_keys or self._generated_keys):",
        "if False:",
    ),
    Mutation(
        "a request is one printable log line",
        "proxy/observability/process_log.py",
        'text if text.isprintable() else text.encode("unicode_escape").decode()',
        "text",
    ),
    Mutation(
        "replies have a size limit",
        "proxy/upstream/reply.py",
        "            if limit < 0:\n",
        "            if False:\n",
    ),
    Mutation(
        "relayed replies have a size limit, too",
        "proxy/pipeline/passthrough.py",
        "        if limit < 0:\n",
        "        if False:\n",
    ),
    Mutation(
        "relayed replies have a time limit",
        "proxy/pipeline/passthrough.py",
        "        if waited > total_timeout:\n",
        "        if False:\n",
    ),
    Mutation(
        "image downloads have a time limit",
        "proxy/upstream/image_download.py",
        "        if remaining < 0:\n",
        "        if False:\n",
    ),
    Mutation(
        "any reply ends in a response or an error",
        "adapters/tools/json_access.py",
        "tree.get(step) if isinstance(tree, dict) else None",
        "tree[step]",
    ),
    Mutation(
        "installed packages are pinned by hash",
        "Makefile",
        "--require-hashes -r requirements/run.txt",
        "-r requirements/run.txt",
    ),
    Mutation(
        "at most a dozen direct dependencies",
        "setup.cfg",
        "    PyYAML >=6.0.2,<7\n",
        "    PyYAML >=6.0.2,<7\n    rich\n",
    ),
    Mutation(
        "importing a module has no side effects",
        "proxy/app.py",
        "\n\ndef make_app(",
        "\n\nPath(__file__).with_suffix('.seen').open('w').close()\n\n\ndef make_app(",
    ),
    Mutation(
        "input is never executed",
        "proxy/settings/conditions.py",
        "from __future__ import annotations\n",
        "from __future__ import annotations\n\nimport pickle\n",
    ),
)
