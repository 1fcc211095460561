"""The settings file: valid values, and the message for every invalid one."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

import adapters
from proxy.settings import policies, routing_config
from proxy.settings.loader import (
    NAME_RULE,
    TOP_LEVEL_KEYS,
    VIRTUAL_KEY_KEYS,
    Settings,
    SettingsError,
    default_settings,
    key_digest,
    load,
    parse,
)
from proxy.settings.prices import Prices, bundled_prices
from proxy.settings.schema import SECTIONS
from proxy.settings.yaml_file import YamlFile

CONFIG = Path(__file__).parents[3] / "config"
KEY = "a-key-of-sixteen-characters"
SECRET = "sekret-sekret-sekret"
FILES = sorted(CONFIG.glob("*.yaml"))


def problems(text: str, **environ: str) -> list[str]:
    """Return the messages for a settings file."""
    with pytest.raises(SettingsError) as caught:
        parse(text, file="my.yaml", environ=environ)
    return list(map(str, caught.value.problems))


def environment_of(file: Path) -> dict[str, str]:
    """Return an environment with a value for each variable without a default."""
    names = re.findall(r"\$\{(\w+)\}", re.sub(r"#.*", "", file.read_text()))
    return {name: f"value-of-{name.lower()}" for name in names}


def shown(default: object) -> str:
    """Format a default as the example does."""
    if isinstance(default, bool):
        return str(default).lower()
    if default in ("", ()):
        return "none"
    return f"{default:g}" if isinstance(default, float) else str(default)


def keys_shown(file: Path) -> list[tuple[str | int, ...]]:
    """Return the path of every key in a file."""
    source = YamlFile(file.read_text(), file.name, environment_of(file))
    return [path for path in source.lines if path]


# What the starting points hold.


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_a_starting_point_loads_with_the_environment_it_names(file: Path) -> None:
    assert isinstance(load(str(file), environment_of(file)), Settings)


@pytest.mark.parametrize("name", ["production.yaml", "sidecar.yaml", "example.yaml"])
def test_a_gateway_for_others_needs_its_environment(name: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load(str(CONFIG / name), {})
    told = {re.sub(r".*variable (\w+) .*", r"\1", it.message) for it in caught.value.problems}
    assert told == environment_of(CONFIG / name).keys()


def test_the_development_settings_need_no_environment() -> None:
    assert load(str(CONFIG / "dev.yaml"), {}).virtual_keys.keys() == {adapters.DEMO}


def test_production_listens_to_others_only_with_keys() -> None:
    found = load(str(CONFIG / "production.yaml"), environment_of(CONFIG / "production.yaml"))
    assert (found.server.host, set(found.api_keys.values())) == ("0.0.0.0", {"web", "batch"})  # noqa: S104 - nothing is bound


def test_the_example_shows_every_setting() -> None:
    shown = keys_shown(CONFIG / "example.yaml")
    fields = {(name, key) for name, kind in SECTIONS.items() for key in kind.__struct_fields__}
    assert {path[0] for path in shown} == TOP_LEVEL_KEYS
    assert fields <= set(shown)


def test_the_example_shows_every_key_of_a_virtual_key() -> None:
    shown = {
        path[2]
        for path in keys_shown(CONFIG / "example.yaml")
        if path[0] == "virtual_keys" and path[2:]
    }
    assert shown >= VIRTUAL_KEY_KEYS


def test_the_example_shows_every_key_of_a_config() -> None:
    shown = {path[-1] for path in keys_shown(CONFIG / "example.yaml") if path[0] == "configs"}
    assert (
        shown
        >= routing_config.CONFIG_KEYS | routing_config.NESTING_KEYS | routing_config.IGNORED_KEYS
    )
    spelled = {"sticky_session", "use_retry_after_headers"}  # second spellings
    assert shown >= (routing_config.STRATEGY_KEYS | policies.POLICY_KEYS) - spelled


def test_the_example_tells_the_true_defaults() -> None:
    text = (CONFIG / "example.yaml").read_text()
    told = {key: value for value, key in re.findall(r"Default: (.+)\n +(\w+):", text)}
    fields = [(kind(), key) for kind in SECTIONS.values() for key in kind.__struct_fields__]
    assert {key: told[key] for _, key in fields} == {
        key: shown(getattr(section, key)) for section, key in fields
    }


# Sections.


def test_without_a_file_the_gateway_is_for_this_machine_and_the_demo() -> None:
    found = default_settings({})
    assert found.server.host == "127.0.0.1"
    assert found.virtual_keys.keys() == {adapters.DEMO}
    assert not found.api_keys


def test_an_empty_file_is_the_defaults() -> None:
    assert parse("", environ={}).server == Settings().server


@pytest.mark.parametrize("name", sorted(TOP_LEVEL_KEYS - {"state_dir"}))
def test_an_empty_section_is_its_default(name: str) -> None:
    assert getattr(parse(f"{name}:", environ={}), name) == getattr(Settings(), name)


def test_a_number_may_come_from_the_environment() -> None:
    assert parse("server:\n  port: ${PORT}", environ={"PORT": "80"}).server.port == 80


def test_a_signing_key_is_not_shown() -> None:
    found = parse(f"blobs: {{signing_key: {SECRET * 2}}}", environ={}).blobs
    assert found.signing_key == SECRET * 2
    assert SECRET not in f"{found} {found!r}"


def _renamed(old: str, new: str) -> str:
    return f"my.yaml:1: {old}: is not a setting; it was renamed to {new}"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("sever: {}", "my.yaml:1: sever: is not a setting; did you mean server?"),
        ("limits: {pictures: 1}", _renamed("limits.pictures", "limits.images")),
        ("jobs: {park_seconds: 1}", _renamed("jobs.park_seconds", "jobs.result_ttl_seconds")),
        ("server: {prot: 1}", "my.yaml:1: server.prot: is not a setting; did you mean port?"),
        ("server: 8787", "my.yaml:1: server: must be a mapping of keys to values"),
        ("server: false", "my.yaml:1: server: must be a mapping of keys to values"),
        ("server:\n  port: abc", "my.yaml:2: server.port: must be a whole number"),
        ("server:\n  port: 65536", "my.yaml:2: server.port: must be 0 to 65535"),
        ("server:\n  port: ${X}", "my.yaml:2: server.port: the environment variable X is not set, or empty"),  # noqa: E501 - a whole sentence
        ("server:\n  host: 1", "my.yaml:2: server.host: must be a string"),
        ("timeouts:\n  idle: 0", "my.yaml:2: timeouts.idle: must be 0.01 to 86400"),
        ("limits:\n  body_bytes: 1", "my.yaml:2: limits.body_bytes: must be 1024 to 4294967296"),
        ("cache:\n  memory_bytes: -1", "my.yaml:2: cache.memory_bytes: must be 0 to 1099511627776"),
        ("server:\n  public_url: easel.example", "my.yaml:2: server.public_url: must be a URL such as https://host/path"),  # noqa: E501 - a whole sentence
        ("server:\n  public_url: https://u:p@h/", "my.yaml:2: server.public_url: must be a URL such as https://host/path"),  # noqa: E501 - the same
        ("blobs:\n  store: http://h/b", "my.yaml:2: blobs.store: must be a directory, or s3://, gs:// or az://bucket/prefix"),  # noqa: E501 - the same
        ("blobs:\n  store: s3://", "my.yaml:2: blobs.store: must be a directory, or s3://, gs:// or az://bucket/prefix"),  # noqa: E501 - the same
        ("blobs:\n  lifetime_seconds: 59", "my.yaml:2: blobs.lifetime_seconds: must be 60 to 31536000"),  # noqa: E501 - the same
        ("blobs:\n  disk_bytes: 0", "my.yaml:2: blobs.disk_bytes: must be 1048576 to 1125899906842624"),  # noqa: E501 - the same
        ("blobs:\n  signing_key: too short", "my.yaml:2: blobs.signing_key: must be at least 32 characters long"),  # noqa: E501 - the same
        ("blobs:\n  s3_endpoint: minio:9000", "my.yaml:2: blobs.s3_endpoint: must be a URL such as https://host/path"),  # noqa: E501 - the same
        ("redis:\n  url: h:6379", "my.yaml:2: redis.url: must be redis://user:password@host:port/number, redis+sentinel://…@host:port,…/service or redis+cluster://…@host:port,…, with rediss for TLS, and with special characters of the password percent-encoded"),  # noqa: E501 - the same
        ("redis:\n  prefix: a b", "my.yaml:2: redis.prefix: must be 1 to 64 letters, digits, '.', '_' and '-'"),  # noqa: E501 - the same
        ("log:\n  format: JSON", "my.yaml:2: log.format: must be one of: auto, json, text, none"),
        ("state_dir: ''", "my.yaml:1: state_dir: must be a string that is not empty"),
        ("- a", "my.yaml:1: must be a mapping of keys to values"),
        ("just text", "my.yaml:1: must be a mapping of keys to values"),
        ("trusted_custom_hosts: localhost", "my.yaml:1: trusted_custom_hosts: must be a list of host names"),  # noqa: E501 - the same
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_by_file_line_and_key(text: str, sentence: str) -> None:
    assert problems(text) == [sentence]


def test_everything_wrong_is_told_at_once_in_the_order_of_the_file() -> None:
    text = (
        "server: {port: x, hots: y}\n"
        "api_keys: {web: {key: short}, batch: {}}\n"
        "virtual_keys:\n"
        "  a: {provider: openai, apikey: k, openai_project: ' ', custom_host: h}\n"
        "  b: {provider: opnai, api_key: k}\n"
        "configs:\n"
        "  c: {virtual_key: a, retry: {}, cache: {mode: x}}\n"
        "  d: {virtual_key: b}\n"
        "  e: {virtual_key: z}\n"
        "trusted_custom_hosts: [http://h]\n"
        "colour: blue\n"
    )
    found = [re.match(r"my\.yaml:(\d+): ([^:]+): ", problem) for problem in problems(text)]
    assert [(int(it[1]), it[2]) for it in found if it] == [
        (1, "server.hots"),
        (1, "server.port"),
        (2, "api_keys.web.key"),
        (2, "api_keys.batch"),
        (4, "virtual_keys.a.custom_host"),
        (4, "virtual_keys.a.apikey"),
        (4, "virtual_keys.a.openai_project"),
        (5, "virtual_keys.b.provider"),
        (7, "configs.c.retry"),
        (7, "configs.c.cache.mode"),
        (9, "configs.e.virtual_key"),
        (10, "trusted_custom_hosts[0]"),
        (11, "colour"),
    ]


@pytest.mark.parametrize(
    "text",
    [
        "api_keys: {web: {key: %s }, batch: {key: %s }}",
        "api_keys: {web: %s}",
        "api_keys: [%s]",
        "api_keys: {web: {key: 'sha256:%s'}}",
        "api_keys: {web: {key: [%s]}}",
        "virtual_keys: {a: %s}",
        "virtual_keys: {a: {provider: %s}}",
        "virtual_keys: {a: {provider: openai, api_key: '%s \t'}}",
        "virtual_keys: {a: {provider: openai, api_key: [%s]}}",
        "virtual_keys: {a: {provider: openai, openai_project: '%s/'}}",
        "virtual_keys: {a: {provider: openai, custom_host: 'http://u:%s@h'}}",
        "configs: {c: {virtual_key: %s}}",
        "configs: {c: {provider: %s}}",
        "configs: {c: {api_key: [%s]}}",
        "configs: {c: {provider: openai, api_key: '%s x'}}",
        "server: {port: %s}",
        "log: {format: %s}",
        "blobs: {signing_key: %s}",
        "blobs: {s3_endpoint: 'https://u:%s@h'}",
        "trusted_custom_hosts: ['%s:x']",
    ],
)
def test_no_sentence_holds_a_value(text: str) -> None:
    for spelled in (SECRET, "${KEY}"):
        quoted = f'"{spelled}"' if spelled != SECRET and "'" not in text else spelled
        told = problems(text.replace("%s", quoted), KEY=SECRET)
        assert told, spelled
        assert SECRET not in "".join(told)


@settings(max_examples=150, deadline=None)
@given(
    st.text(alphabet="abk:{}[]-&*!#|>'\"%@ \n,$.<1~", max_size=40),
    st.sampled_from(sorted(TOP_LEVEL_KEYS)),
)
def test_no_text_makes_it_fail_otherwise(text: str, name: str) -> None:
    try:
        parse(f"{name}: {text}", environ={})
    except SettingsError as error:
        assert error.problems  # noqa: PT017 - either outcome is right, a third is not


# API keys.


def test_a_key_may_be_plain_or_its_digest() -> None:
    text = f"api_keys: {{a: {{key: {KEY}}}, b: {{key: 'sha256:{key_digest('other').hex()}'}}}}"
    assert parse(text, environ={}).api_keys == {key_digest(KEY): "a", key_digest("other"): "b"}


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        ("{}", "needs 'key': `easel keys new` makes one"),
        ("{key: ''}", "must be at least 16 characters long"),
        ("{key: '${X:-}'}", "must be at least 16 characters long"),
        ("{key: short}", "must be at least 16 characters long"),
        ("{key: 12345678901234567890}", "must be a string (put it in quotes)"),
        ("{key: 'sha256:abc'}", "64 lower-case hex digits"),
        ("{key: 'SHA256:0123456789abcdef'}", "64 lower-case hex digits"),
        ("{key: 'with a line break at its end\n\n'}", "without spaces or line breaks"),
        ("{kye: x}", "is not a setting; did you mean key?"),
        ("text", "must be a mapping of keys to values"),
    ],
)  # fmt: skip
def test_a_key_that_would_not_do_is_a_problem(entry: str, told: str) -> None:
    (problem,) = problems(f"api_keys: {{web: {entry}}}")
    assert told in problem


def test_two_names_for_one_key_are_a_problem() -> None:
    assert problems(f"api_keys:\n  a: {{key: {KEY}}}\n  b: {{key: {KEY}}}") == [
        "my.yaml:3: api_keys.b: has the same key as a"
    ]


@pytest.mark.parametrize("section", ["api_keys", "virtual_keys", "configs"])
@pytest.mark.parametrize("name", ["web app", "-x", "", "é", "a/b", "x" * 129])
def test_a_name_that_could_not_stand_in_a_header_is_a_problem(section: str, name: str) -> None:
    (problem,) = problems(f'{section}: {{"{name}": {{}}}}')
    assert NAME_RULE in problem


# Virtual keys.


def test_a_virtual_key_takes_options_by_alias_and_hyphenless_dates() -> None:
    text = (
        "virtual_keys:\n"
        "  az: {provider: azure-openai, api_key: k, resource_name: r, deployment_id: d,\n"
        "       api_version: 2025-04-01}\n"
    )
    found = parse(text, environ={}).virtual_keys["az"].credentials
    assert found["azure_resource_name"] == "r"
    assert found["azure_api_version"] == "2025-04-01"


def test_a_provider_may_be_named_by_an_alias() -> None:
    found = parse("virtual_keys: {b: {provider: bfl, api_key: k}}", environ={}).virtual_keys
    assert found["b"].adapter.id == "black-forest-labs"


def test_a_server_of_the_operators_own_needs_no_key() -> None:
    text = "virtual_keys: {a: {provider: openai, custom_host: http://10.0.0.5:8080/v1}}"
    assert parse(text, environ={}).virtual_keys["a"].custom_host == "http://10.0.0.5:8080/v1"


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        ("{api_key: k}", "a: needs 'provider'; `easel providers` lists them"),
        ("{provider: OpenAI, api_key: k}", "is not a known provider; did you mean openai?"),
        ("{provider: openai}", "a: lacks an API key"),
        ("{provider: openai, api_key: 5}", "a.api_key: must be a string (put it in quotes)"),
        ("{provider: openai, api_key:}", "a.api_key: must be a string (put it in quotes)"),
        ("{provider: openai, api_key: k, openai_org: o}", "a.openai_org: is not an option of"),
        ("{provider: openai, api_key: k, custom_host: h}", "a.custom_host: must be a URL such as"),
        ("{provider: [openai], api_key: k}", "a.provider: must be a string (put it in quotes)"),
    ],
)  # fmt: skip
def test_a_virtual_key_that_could_not_be_used_is_a_problem(entry: str, told: str) -> None:
    (problem,) = problems(f"virtual_keys: {{a: {entry}}}")
    assert told in problem


def test_a_missing_variable_is_told_once_and_not_as_a_missing_key_too() -> None:
    assert problems("virtual_keys:\n  a:\n    provider: openai\n    api_key: ${X}") == [
        "my.yaml:4: virtual_keys.a.api_key: the environment variable X is not set, or empty"
    ]


# Configs.


def test_a_config_may_name_a_virtual_key_as_provider() -> None:
    text = "virtual_keys: {s: {provider: sandbox}}\nconfigs: {c: {provider: '@s'}}"
    assert parse(text, environ={}).configs["c"].provider == "@s"


def test_a_problem_inside_a_target_has_its_own_line() -> None:
    text = "configs:\n  c:\n    targets:\n      - cache:\n          mode: x\n"
    assert problems(text) == [
        "my.yaml:5: configs.c.targets[0].cache.mode: must be one of: simple, semantic"
    ]


# Hosts.


def test_trusted_hosts_come_from_the_file_and_from_the_environment() -> None:
    text = "trusted_custom_hosts: [Localhost, '*.svc.cluster.local', '0:0:0:0:0:0:0:1']"
    more = "gpu-1, 10.0.0.5, GPU-2:8080, [0:0:0:0:0:0:0:1]:80,*.lan:443,"
    found = parse(text, environ={"TRUSTED_CUSTOM_HOSTS": more}).trusted_custom_hosts
    with_ports = {"gpu-2:8080", "[::1]:80", "*.lan:443"}
    assert found == {"localhost", "*.svc.cluster.local", "::1", "gpu-1", "10.0.0.5", *with_ports}


@pytest.mark.parametrize(
    "host", ["http://h", "h:", "h:80/v1", "a b", "*", "*.:80", "a.*", "[::1]", ""]
)
def test_a_trusted_host_that_would_never_match_is_a_problem(host: str) -> None:
    (problem,) = problems(f"trusted_custom_hosts: [ok, '{host}']")
    assert problem.startswith("my.yaml:1: trusted_custom_hosts[1]: must be a host name")


def test_the_environments_hosts_are_checked_too() -> None:
    (problem,) = problems("", TRUSTED_CUSTOM_HOSTS="http://h")
    assert problem.startswith("environment: TRUSTED_CUSTOM_HOSTS: must be a host name")


# Files.


def test_a_file_that_is_not_there_is_a_problem(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"none\.yaml: No such file or directory"):
        load(str(tmp_path / "none.yaml"))


def test_a_file_of_other_bytes_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text("server:", encoding="utf-16")
    with pytest.raises(SettingsError, match="is not UTF-8 text"):
        load(str(tmp_path / "x.yaml"))


def test_without_a_file_of_prices_the_table_of_the_package_holds() -> None:
    assert parse("", environ={}).price_table == bundled_prices()


@pytest.mark.parametrize("error", [FileNotFoundError, yaml.YAMLError, ValueError])
def test_a_package_without_its_price_table_does_not_start(
    error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> Prices:
        raise error

    monkeypatch.setattr("proxy.settings.loader.bundled_prices", broken)
    [problem] = problems("")
    assert problem.startswith("my.yaml: prices: the price table inside the package is missing")
    named = f"prices: {CONFIG.parent / 'proxy' / 'settings' / 'prices.yaml'}"
    assert parse(named, environ={}).price_table == bundled_prices()
