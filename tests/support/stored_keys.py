"""Requests that combine a stored key with a host that is not its own, which is refused."""

from __future__ import annotations

from typing import Any

CONFIGS = """
configs:
  pc-otter-1: {virtual_key: up}
  pc-params:
    virtual_key: up
    default_params: {model: dall-e-3, quality: hd, user: nobody}
    override_params: {n: 2, user: u}
    drop_params: [style, input.secret]
trusted_custom_hosts: [127.0.0.1]
"""


KEYS_AND_HOSTS: tuple[dict[str, Any], ...] = (
    {"virtual_key": "up", "custom_host": "{url}"},
    {"provider": "@up", "custom_host": "{url}"},
    {"config": "pc-otter-1", "custom_host": "{url}"},
    {"config": '{"virtual_key": "up", "custom_host": "{url}"}'},
    {"config": '{"provider": "@up", "custom_host": "{url}"}'},
    {"config": '{"custom_host": "{url}"}', "virtual_key": "up"},
    {"config": '{"custom_host": "{url}", "override_params": {"model": "@up/m"}}'},
    {"config": '{"targets": [{"virtual_key": "up"}], "custom_host": "{url}"}'},
    {"params": {"model": "@up/m"}, "custom_host": "{url}"},
)


def saved_hosts(url: str) -> str:
    """Return saved configs with the host `url`, for callers with keys of their own."""
    return f"""
configs:
  lab: {{custom_host: "{url}/lab/v1"}}
  labs: {{custom_host: "{url}/lab/v1", targets: [{{name: a}}, {{override_params: {{n: 1}}}}]}}
  nested:
    custom_host: "{url}/lab/v1"
    targets: [{{targets: [{{}}]}}]
  named: {{custom_host: "{url}/lab/v1", override_params: {{model: "@second/m"}}}}
"""


VIRTUAL_KEYS_AND_SAVED_HOSTS: tuple[dict[str, Any], ...] = (
    {"config": "lab", "virtual_key": "up"},
    {"config": "lab", "provider": "@up"},
    {"config": "lab", "params": {"model": "@up/m"}},
    {"config": '"lab"', "virtual_key": "up"},
    {"config": "lab", "virtual_key": "second"},
    {"config": "lab", "virtual_key": "second", "params": {"model": "@up/m"}},
    {"config": "labs", "params": {"model": "@up/m"}},
    {"config": "nested", "params": {"model": "@up/m"}},
    {"config": "named", "virtual_key": "up"},
    {"config": "named", "provider": "@up"},
)
