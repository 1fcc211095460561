"""What waits for a restart is in force nowhere; the rest is, from the next request on."""

from __future__ import annotations

from proxy.reload.restart_only import HOT_RELOADABLE, apply_hot, restart_required
from proxy.settings.loader import TOP_LEVEL_KEYS, parse
from proxy.settings.schema import SECTIONS

BEGAN = parse("", environ={})
READ = parse(
    "server: {port: 1, public_url: https://a.example}\nstate_dir: b\nredis: {prefix: c}\n"
    "limits: {jobs: 2, images: 3}\nvirtual_keys: {s: {provider: sandbox}}\n",
    environ={},
)


def test_every_setting_that_holds_at_once_is_one() -> None:
    dotted = {f"{name}.{key}" for name, kind in SECTIONS.items() for key in kind.__struct_fields__}
    assert dotted | (TOP_LEVEL_KEYS - SECTIONS.keys()) >= HOT_RELOADABLE


def test_what_waits_stays_as_it_is_and_what_does_not_is_as_it_was_read() -> None:
    merged = apply_hot(BEGAN, READ)
    assert (merged.server.port, merged.state_dir, merged.limits.jobs) == (8787, ".easel", 1000)
    assert merged.redis == BEGAN.redis
    assert (merged.server.public_url, merged.limits.images) == ("https://a.example", 3)
    assert merged.virtual_keys.keys() == {"s"}


def test_what_waits_is_named_against_what_the_process_began_with() -> None:
    names = {"server.port", "limits.jobs", "redis.prefix", "state_dir"}
    assert set(restart_required(BEGAN, READ)) == names
    assert restart_required(READ, READ) == ()
    assert restart_required(BEGAN, apply_hot(BEGAN, READ)) == ()
