"""The bootstrap config of a worker."""

from __future__ import annotations

import pytest

from proxy.settings.loader import SettingsError, key_digest
from proxy.workers.bootstrap import BootstrapConfig, decode, encode

KEY = key_digest("a-key-of-sixteen-characters")
FILE = "api_keys: {web: {key: a-key-of-sixteen-characters}}\n"


def config_with(text: str = FILE, **more: str | bytes) -> BootstrapConfig:
    return BootstrapConfig(text=text, file="my.yaml", host="127.0.0.1", port=1234, **more)  # type: ignore[arg-type]  # each test gives its own


def test_a_config_survives_encoding() -> None:
    assert decode(encode(config_with(local_key_digest=KEY)), BootstrapConfig) == config_with(
        local_key_digest=KEY
    )


def test_the_command_line_overrides_the_file() -> None:
    told = config_with(FILE + "server: {host: 0.0.0.0, port: 1, shutdown_seconds: 5}").settings()
    assert (told.server.host, told.server.port) == ("127.0.0.1", 1234)
    assert told.server.shutdown_seconds == 5


@pytest.mark.parametrize(("said", "meant"), [("auto", "text"), ("json", "json")])
def test_log_format_auto_is_the_supervisors(said: str, meant: str) -> None:
    assert config_with(f"log: {{format: {said}}}", log_format="text").settings().log.format == meant


def test_the_generated_key_is_for_settings_without_one() -> None:
    assert config_with("", local_key_digest=KEY).settings().api_keys == {KEY: "local"}
    assert config_with(local_key_digest=key_digest("another")).settings().api_keys == {KEY: "web"}


def test_new_settings_are_validated_with_file_and_line() -> None:
    assert config_with().with_text(FILE + "limits: {images: 3}").settings().limits.images == 3
    with pytest.raises(SettingsError, match=r"my\.yaml:2: limits\.picturs"):
        config_with().with_text(FILE + "limits: {picturs: 3}")


def test_a_worker_that_starts_later_keeps_restart_only_settings() -> None:
    began = config_with(FILE + "jobs: {memory_bytes: 2097152}\nlimits: {images: 5}")
    told = began.with_text(FILE + "jobs: {memory_bytes: 4194304}\nlimits: {images: 3}")
    found, again = told.settings(), told.with_text(FILE).settings()
    assert (found.jobs.memory_bytes, found.limits.images) == (2_097_152, 3)
    assert (again.jobs.memory_bytes, again.limits.images) == (2_097_152, 10)


def test_a_gateway_does_not_lose_its_last_key_while_it_runs() -> None:
    with pytest.raises(SettingsError, match="is empty: a running gateway"):
        config_with().with_text("limits: {images: 3}")


def test_repr_shows_no_key() -> None:
    assert "sixteen" not in repr(config_with())


def test_a_log_file_is_written_in_json() -> None:
    log = config_with("log: {file: access.log, prompts: true}", log_format="text").settings().log
    assert (log.file, log.prompts, log.format) == ("access.log", True, "json")
