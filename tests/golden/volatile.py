"""What differs from run to run, and what stands in its place: everything else is exact."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping

RULES: tuple[tuple[str, str, str], ...] = (
    # pattern, replacement, why
    (r"(?m)^Date: .+$", "Date: <date>", "the time of the answer"),
    (r'"version": "\d+\.\d+[^"]*"', '"version": "<version>"', "another with each release"),
    (r'version="\d+\.\d+[^"]*"', 'version="<version>"', "another with each release"),
    (r'"version": "[0-9a-f]{12}"', '"version": "<digest>"', "of the settings, with a port in them"),
    (r'"loaded_at": [\d.]+', '"loaded_at": <time>', "the time of the start"),
    (r"blobs/(?!0{32})[0-9a-f]{32}\.", "blobs/<id>.", "a blob's id is random"),
    (r'ETag: "[0-9a-f]{32}"', 'ETag: "<etag>"', "made of the id"),
    (r"max-age=35\d\d,", "max-age=3600,", "seconds that are left of an hour"),
    (r"expires=\d+", "expires=<time>", "an hour from now"),
    (r"sig=[0-9a-f]{80}", "sig=<signature>", "covers the id and the expiry"),
    (r'"(\w*ms|time)": [\d.]+', r'"\1": <\1>', "how long it took, and when it ended"),
    (r"(boundary=|--)[0-9a-f]{32}", r"\1<boundary>", "a multipart body's boundary is random"),
)
"""What is replaced in every text."""

VARYING_LENGTH: tuple[tuple[str, str, str], ...] = (
    (r"(?m)^Content-Length: \d+$", "Content-Length: <length>", "see Request.varies"),
    (r'"bytes_out": \d+', '"bytes_out": <length>', "the same"),
)
"""What is replaced as well where the length of the body varies."""

_ANY_VALUE = {
    "easel_answer_bytes_total": "counts answers whose length varies",
    "easel_loop_lag_seconds": "the machine's load",
    "easel_tasks": "tasks that are about to end",
    "easel_upstream_connections": "connections that are about to close",
    "easel_settings_loaded_seconds": "the time of the start",
    "process_cpu_seconds_total": "the machine's speed",
    "process_max_fds": "the machine's limit",
    "process_open_fds": "connections that are about to close",
    "process_resident_memory_bytes": "the machine's memory",
    "process_start_time_seconds": "the time of the start",
}
"""Samples of which the presence is compared, not the value."""

_SAMPLE = re.compile(r"(?P<name>\w+)(?P<labels>\{.*\})? (?P<value>\S+)")
_BUCKET = re.compile(r',?\ble="([^"]+)"')
_NOW_SECONDS = 3600


def replaced(text: str, names: Mapping[str, str], *, varies: bool) -> str:
    """Return a text with what is volatile replaced; `names` are values of this run."""
    for value in sorted(names, key=len, reverse=True):
        text = text.replace(value, f"<{names[value]}>")
    for pattern, replacement, _ in RULES + (VARYING_LENGTH if varies else ()):
        text = re.sub(pattern, replacement, text)
    return re.sub(r'("created(?:_at)?": )(\d{10})', _unless_now, text)


def _unless_now(found: re.Match[str]) -> str:
    """Keep a provider's own time; the gateway's is now."""
    is_now = abs(int(found[2]) - time.time()) < _NOW_SECONDS
    return f"{found[1]}<now>" if is_now else found[0]


def without_unused_providers(body: bytes) -> bytes:
    """Leave out the models of other providers: a new provider changes nothing here."""
    tree = json.loads(body)
    used = ("openai", "stability-ai", "black-forest-labs", "google")
    tree["data"] = [it for it in tree["data"] if it["provider"] in used]
    return json.dumps(tree).encode()


def metrics(page: str) -> str:
    """Return a page of metrics: buckets on one line, times and sizes of this machine replaced."""
    lines: list[str] = []
    for line in page.splitlines():
        sample = _SAMPLE.fullmatch(line)
        if line.startswith("#") or not sample:
            lines.append(line)
            continue
        name, labels = sample["name"], sample["labels"] or ""
        if bound := _BUCKET.search(labels):
            head = f"{name}{_BUCKET.sub('', labels)} le".replace("{}", "")
            if not lines[-1].startswith(head + " "):
                lines.append(head)
            lines[-1] += f" {bound[1]}"
        elif name in _ANY_VALUE or name.endswith("_seconds_sum"):
            lines.append(f"{name}{labels} <any>")
        else:
            lines.append(line)
    return "\n".join(lines) + "\n"
