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
        "addresses are checked where the socket is made",
        "proxy/upstream/connector.py",
        "if not may_reach(address[0], private=private):",
        "if False:",
    ),
    Mutation(
        "every place of a host has the check",
        "proxy/routing/targets.py",
        'return str(url), hosts.is_trusted(url.host or "", trusted)',
        "return str(url), True",
    ),
    Mutation(
        "metadata services are closed to everybody",
        "proxy/upstream/connector.py",
        "if address in _METADATA or address.is_multicast",
        "if address.is_multicast",
    ),
    Mutation(
        "an IPv4 address inside of an IPv6 one is that address",
        "proxy/upstream/connector.py",
        'address = _inner(ip_address(text.partition("%")[0]))',
        'address = ip_address(text.partition("%")[0])',
    ),
    Mutation(
        "a picture's host has the reach of a stranger",
        "proxy/upstream/exchange.py",
        "    return url, False\n",
        "    return url, target.private\n",
    ),
    Mutation(
        "what was checked is what is dialled",
        "proxy/upstream/connector.py",
        "if not may_reach(address[0], private=private):",
        "if False:",
    ),
    Mutation(
        "two pools of connections",
        "proxy/upstream/connector.py",
        "return self._doors[private]",
        "return self._doors[True]",
    ),
    Mutation(
        "no redirect is followed",
        "proxy/upstream/connector.py",
        "allow_redirects=False",
        "allow_redirects=True",
    ),
    Mutation(
        "an option has a form",
        "proxy/settings/credentials.py",
        "elif not re.fullmatch(option.pattern, value):",
        "elif False:",
    ),
    Mutation(
        "a model's name keeps its place in a path",
        "adapters/tools/url_paths.py",
        'if not _MODEL.fullmatch(model) or any(step in ("", ".", "..") for step in steps):',
        "if not steps:",
    ),
    Mutation(
        "a key follows an answer to the provider's own hosts only",
        "proxy/upstream/exchange.py",
        "if request.signed and not _own_host(target.adapter, url):",
        "if False:",
    ),
    Mutation(
        "a stored key never meets a host that a caller chose",
        "proxy/routing/targets.py",
        "    if chosen.stored:\n",
        "    if False:\n",
    ),
    Mutation(
        "a key is printable ASCII",
        "proxy/settings/credentials.py",
        "if not sendable(api_key):",
        "if False:",
    ),
    Mutation(
        "a head has the lines that were meant",
        "proxy/upstream/http1.py",
        'if head.count("\\n") >= len(lines) or _FORBIDDEN.search(head):',
        "if False:",
    ),
    Mutation(
        "what `Connection` names ends there",
        "proxy/http/forwarding.py",
        "if name in headers and name not in named_by_connection:",
        "if name in headers:",
    ),
    Mutation(
        "of a provider's headers only some go on",
        "proxy/http/forwarding.py",
        "if lower in _NEVER_RELAYED or lower.startswith(_NEVER_RELAYED_PREFIXES):",
        "if lower.startswith(_NEVER_RELAYED_PREFIXES):",
    ),
    Mutation(
        "what frames a message is not forwarded",
        "proxy/http/forwarding.py",
        "return name in _NEVER_FORWARDED or name.startswith(_NEVER_FORWARDED_PREFIXES)",
        "return name.startswith(_NEVER_FORWARDED_PREFIXES)",
    ),
    Mutation(
        "a gateway key never leaves",
        "proxy/http/forwarding.py",
        'if is_forbidden(name) or (name == "authorization" and bearer_is_gateway_key):',
        "if is_forbidden(name):",
    ),
    Mutation(
        "gateways are counted",
        "proxy/http/forwarding.py",
        "if count > _MAX_HOPS:",
        "if count > 40:",
    ),
    Mutation(
        "a config is at most 32 KB",
        "proxy/routing/resolver.py",
        "if len(text) > CONFIG_LIMIT:",
        "if False:",
    ),
    Mutation(
        "depth is counted before anything is parsed",
        "proxy/settings/config_json.py",
        "if _nesting(text) > _MOST_NESTED:",
        "if False:",
    ),
    Mutation(
        "targets are counted",
        "proxy/settings/routing_config.py",
        "if self._targets > MOST_IN_ALL:",
        "if False:",
    ),
    Mutation(
        "a key of a config is given once",
        "proxy/settings/config_json.py",
        'found[key] = _Bad("is given twice") if key in found else value',
        "found[key] = value",
    ),
    Mutation(
        "a body's depth is bounded",
        "proxy/http/body.py",
        "    if exceeds_depth(params, DEPTH_LIMIT):\n",
        "    if False:\n",
    ),
    Mutation(
        "one budget for all attempts of a request",
        "proxy/pipeline/execute.py",
        "if self._request.get(COMMITTED) or self.budget.left <= 0:",
        "if self._request.get(COMMITTED):",
    ),
    Mutation(
        "pictures that take too many requests are not begun",
        "proxy/pipeline/converse.py",
        "if 1 < len(attempt.calls) > (left := attempt.tries.budget.left):",
        "if (left := attempt.tries.budget.left) < 0:",
    ),
    Mutation(
        "an answer is its caller's",
        "proxy/cache/keys.py",
        '"" if shared else caller,',
        '"",',
    ),
    Mutation(
        "an answer is its credential's",
        "proxy/cache/keys.py",
        "*(target.fingerprint, target.adapter.id,",
        "*(target.adapter.id,",
    ),
    Mutation(
        "only what is a picture is kept",
        "proxy/cache/images.py",
        "        media_type = allowed_media_type(head, declared)\n",
        '        media_type = allowed_media_type(head, declared) or "image/png"\n',
    ),
    Mutation(
        "what was read is what is sent",
        "proxy/http/body.py",
        "return orjson.dumps(params), params",
        "return raw, params",
    ),
    Mutation(
        "a picture's URL is signed in every part",
        "proxy/blobs/urls.py",
        "return link if hmac.compare_digest(signed[2], self._mac(link)) else None",
        "return link",
    ),
    Mutation(
        "a name is 128 bits of chance",
        "proxy/blobs/urls.py",
        "else secrets.token_hex(16)",
        'else f"{expires:032x}"',
    ),
    Mutation(
        "a job is its caller's",
        "proxy/jobs/store.py",
        "return job if job and job.asked.caller == caller else None",
        "return job",
    ),
    Mutation(
        "a job is its caller's on every node",
        "proxy/jobs/cluster.py",
        "return seen if seen and seen.record.caller == caller else None",
        "return seen",
    ),
    Mutation(
        "a compressed body has a size and a ratio",
        "proxy/http/body.py",
        "    if size > request.content.total_raw_bytes * memory.max_ratio:\n",
        "    if False:\n",
    ),
    Mutation(
        "no stranger's picture is decoded",
        "proxy/pipeline/image_source.py",
        "from __future__ import annotations\n",
        "from __future__ import annotations\n\nimport PIL.Image\n",
    ),
    Mutation(
        "only pictures are kept, by their first bytes",
        "proxy/blobs/publish.py",
        "found = allowed_media_type(head, media_type)",
        'found = allowed_media_type(head, media_type) or "image/png"',
    ),
    Mutation(
        "no browser looks for another type",
        "proxy/endpoints/blobs.py",
        '        "X-Content-Type-Options": "nosniff",\n',
        "",
    ),
    Mutation(
        "a drawing is saved, not shown",
        "proxy/endpoints/blobs.py",
        '"attachment" if link.media_type == SVG else "inline"',
        '"inline"',
    ),
    Mutation(
        "a head, a body and an answer have their time",
        "proxy/server/client_timeouts.py",
        "            if now - wait.since >= self._allowed(connection, wait.what):\n",
        "            if False:\n",
    ),
    Mutation(
        "jobs under way are counted",
        "proxy/jobs/limits.py",
        "        if own >= self._each:\n",
        "        if False:\n",
    ),
    Mutation(
        "pictures and prompts of a request are bounded",
        "proxy/http/body.py",
        "    if isinstance(n, int | float) and n > limits.pictures:\n",
        "    if False:\n",
    ),
    Mutation(
        "large bodies are counted together",
        "proxy/http/body_limits.py",
        "        if memory.reserved + more > memory.limit:\n",
        "        if False:\n",
    ),
    Mutation(
        "a request is measured in one way",
        "proxy/middlewares/framing.py",
        '    if coding is not None and coding.strip().lower() != "chunked":\n',
        "    if False:\n",
    ),
    Mutation(
        "keys are compared as digests, in constant time",
        "proxy/middlewares/auth.py",
        "return name if hmac.compare_digest(known, asked) else None",
        "return name",
    ),
    Mutation(
        "secrets are blotted out of what a provider repeats",
        "proxy/upstream/redact.py",
        '            body = body.replace(secret.encode(), b"***")\n',
        "            pass\n",
    ),
    Mutation(
        "secrets are blotted out of events that are relayed",
        "proxy/upstream/redact.py",
        'text.replace(secret, b"*" * len(secret))',
        "text",
    ),
    Mutation(
        "what signing makes of a key is as secret as the key",
        "proxy/routing/plan.py",
        "        values.add(self._authorization)\n",
        "",
    ),
    Mutation(
        "a failure is told by its name and its place",
        "proxy/errors.py",
        "[type(error).__name__, *(",
        "[repr(error), *(",
    ),
    Mutation(
        "a crash leaves no image of the memory",
        "proxy/server/process.py",
        "    resource.setrlimit(resource.RLIMIT_CORE, (soft, hard))\n",
        "",
    ),
    Mutation(
        "the state folder is its owner's",
        "proxy/settings/state_dir.py",
        "_OWNERS_ONLY = 0o700",
        "_OWNERS_ONLY = 0o755",
    ),
    Mutation(
        "a span holds no words that a client wrote freely",
        "proxy/observability/tracing/attempt.py",
        "if not (isinstance(named, str) and _MODEL.fullmatch(named)):",
        "if not isinstance(named, str):",
    ),
    Mutation(
        "a span tells a failure by its name",
        "proxy/observability/tracing/spans.py",
        "else type(error).__name__",
        "else repr(error)",
    ),
    Mutation(
        "a span holds a path without its query and its ids",
        "proxy/observability/tracing/exchange.py",
        'step if _is_word(step, secrets) else "{id}"',
        "step",
    ),
    Mutation(
        "a caller's baggage goes to no provider unasked",
        "proxy/observability/tracing/propagation.py",
        'if propagate == "all":',
        "if True:",
    ),
    Mutation(
        "no line of a log holds a prompt, a key or a picture",
        "proxy/middlewares/access.py",
        '        "trace": request[TRACE],\n',
        '        "trace": repr(list(request._state.values())),\n',
    ),
    Mutation(
        "a label is a word of ours",
        "proxy/observability/metrics/labels.py",
        "    return OTHER\n",
        "    return model\n",
    ),
    Mutation(
        "what was ordered is finished, and kept for who ordered it",
        "proxy/middlewares/jobs.py",
        'retry=headers.get("x-stainless-retry-count", "0").strip() not in ("", "0"),',
        "retry=False,",
    ),
    Mutation(
        "what nobody waits for is cancelled at the provider, where the operator wants that",
        "proxy/upstream/client.py",
        "self._upstream.cancellations.begin(self._flow, self._granted)",
        "pass",
    ),
    Mutation(
        "a name that is not ours is refused",
        "proxy/http/allowed_hosts.py",
        "        if not (self._allow_any or host is None or self._is_allowed(host)):\n",
        "        if False:\n",
    ),
    Mutation(
        "whoever is no trusted proxy speaks for nobody",
        "proxy/http/proxy_headers.py",
        "    return proxies if proxies.contains(_peer_address(request)) else None\n",
        "    return proxies\n",
    ),
    Mutation(
        "settings are exchanged whole",
        "proxy/reload/live_settings.py",
        "self.current = Current(checked.settings)",
        "self.current = Current(self.current.settings)",
    ),
    Mutation(
        "what was remembered of requests ends with its settings",
        "proxy/reload/snapshot.py",
        "self.repeats: dict[bytes, bytes] = {}",
        "self.repeats = Current.__init__.__dict__",
    ),
    Mutation(
        "a file that lets nobody in is a bad one",
        "proxy/reload/live_settings.py",
        "if not (read.api_keys or self._own_keys):",
        "if False:",
    ),
    Mutation(
        "a request is one line of the log, and printable",
        "proxy/observability/access_log.py",
        'text if text.isprintable() else text.encode("unicode_escape").decode()',
        "text",
    ),
    Mutation(
        "an answer has an end in bytes",
        "proxy/upstream/reply.py",
        "            if room < 0:\n",
        "            if False:\n",
    ),
    Mutation(
        "what is relayed has an end in bytes too",
        "proxy/pipeline/passthrough.py",
        "        if room < 0:\n",
        "        if False:\n",
    ),
    Mutation(
        "what is relayed has an end in time",
        "proxy/pipeline/passthrough.py",
        "        if waited > patience:\n",
        "        if False:\n",
    ),
    Mutation(
        "a picture has an end in time",
        "proxy/upstream/image_download.py",
        "        if left < 0:\n",
        "        if False:\n",
    ),
    Mutation(
        "whatever comes, reading it ends in an answer or an error",
        "adapters/tools/json_access.py",
        "tree.get(step) if isinstance(tree, dict) else None",
        "tree[step]",
    ),
    Mutation(
        "what is installed is pinned by hash",
        "Makefile",
        "--require-hashes -r requirements/run.txt",
        "-r requirements/run.txt",
    ),
    Mutation(
        "a dozen dependencies",
        "setup.cfg",
        "    PyYAML >=6.0.2,<7\n",
        "    PyYAML >=6.0.2,<7\n    rich\n",
    ),
    Mutation(
        "importing does nothing",
        "proxy/app.py",
        "\n\ndef make_app(",
        "\n\nPath(__file__).with_suffix('.seen').open('w').close()\n\n\ndef make_app(",
    ),
    Mutation(
        "what a caller sends is never run",
        "proxy/settings/conditions.py",
        "from __future__ import annotations\n",
        "from __future__ import annotations\n\nimport pickle\n",
    ),
)
