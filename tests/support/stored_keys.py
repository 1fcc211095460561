"""Requests that combine a stored key with a custom host, which is refused."""

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
