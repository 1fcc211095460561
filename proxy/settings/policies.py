"""The policies of a config: caching, retries, circuit breaker, sticky sessions.

Each validates its values against Portkey's documentation. Error messages begin with the key.
"""

from __future__ import annotations

import msgspec

from proxy.settings.checks import check_range, check_statuses

MIN_AGE, MAX_AGE, DEFAULT_AGE = 60, 7_776_000, 604_800
"""Seconds that a response may be cached: minimum, maximum (90 days), default (7 days)."""

MAX_RETRY_ATTEMPTS = 5
DEFAULT_RETRY_STATUSES = frozenset({429, 500, 502, 503, 504, 529})
"""Statuses that are retried if a config asks for retries without naming statuses."""

MIN_COOLDOWN_MS, MAX_COOLDOWN_MS = 30_000, 86_400_000
MAX_STICKY_SECONDS = 2_592_000
_MAX_HASH_FIELDS = 16


class Policy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A part of a config; unknown keys are an error."""


class CachePolicy(Policy, frozen=True):
    """`cache`: store responses for `max_age` seconds. For images `semantic` means `simple`.

    `pool`: stored images serve a request with a smaller or larger `n`. `shared`: the responses to
    one caller serve the others. `coalesce`: concurrent identical requests are sent once, even if
    nothing is stored (no `mode`).
    """

    mode: str = ""
    max_age: int = DEFAULT_AGE
    pool: bool = False
    shared: bool = False
    coalesce: bool = False

    def __post_init__(self) -> None:
        """Validate the values."""
        if not self.mode and not self.coalesce:
            raise ValueError("needs 'mode'")
        if self.mode not in ("", "simple", "semantic"):
            raise ValueError("`mode` must be one of: simple, semantic")
        check_range("max_age", self.max_age, MIN_AGE, MAX_AGE, " seconds")

    @property
    def stores_responses(self) -> bool:
        """Whether responses are stored."""
        return bool(self.mode)


class RetryPolicy(Policy, frozen=True):
    """`retry`: send a failed request to the same target again, at most `attempts` times.

    Without `on_status_codes`, `DEFAULT_RETRY_STATUSES` are retried. Both spellings of
    `use_retry_after_header(s)` are accepted.
    """

    attempts: int
    on_status_codes: frozenset[int] | None = None
    use_retry_after_header: bool = False
    use_retry_after_headers: bool = False

    def __post_init__(self) -> None:
        """Validate the values."""
        check_range("attempts", self.attempts, 0, MAX_RETRY_ATTEMPTS)
        check_statuses("on_status_codes", self.on_status_codes)

    @property
    def statuses(self) -> frozenset[int]:
        """The provider's statuses that are retried."""
        return DEFAULT_RETRY_STATUSES if self.on_status_codes is None else self.on_status_codes

    @property
    def honors_retry_after(self) -> bool:
        """Whether the provider's Retry-After header sets the delay."""
        return self.use_retry_after_header or self.use_retry_after_headers


class BreakerPolicy(Policy, frozen=True):
    """`cb_config`: the circuit breaker skips a failing target for `cooldown_interval` milliseconds.

    The circuit opens if more than `failure_threshold` requests failed, or more than
    `failure_threshold_percentage` percent of at least `minimum_requests`. Without
    `failure_status_codes` a failure is any status above 500.
    """

    failure_threshold: int | None = None
    failure_threshold_percentage: float | None = None
    cooldown_interval: int = MIN_COOLDOWN_MS
    failure_status_codes: frozenset[int] | None = None
    minimum_requests: int = 1

    def __post_init__(self) -> None:
        """Validate the values."""
        if self.failure_threshold is None and self.failure_threshold_percentage is None:
            raise ValueError("`failure_threshold` or failure_threshold_percentage must be given")
        if self.failure_threshold is not None:
            check_range("failure_threshold", self.failure_threshold, 1, 1_000_000)
        if self.failure_threshold_percentage is not None:
            percentage = self.failure_threshold_percentage
            check_range("failure_threshold_percentage", percentage, 0, 100)
        interval = self.cooldown_interval
        check_range(
            "cooldown_interval", interval, MIN_COOLDOWN_MS, MAX_COOLDOWN_MS, " milliseconds"
        )
        check_range("minimum_requests", self.minimum_requests, 1, 1_000_000)
        check_statuses("failure_status_codes", self.failure_status_codes)

    def is_failure(self, status: int) -> bool:
        """Return whether a status counts as a failure."""
        if self.failure_status_codes is None:
            return status > 500  # noqa: PLR2004 - as documented
        return status in self.failure_status_codes


class StickyPolicy(Policy, frozen=True):
    """`sticky`: equal values of `hash_fields` select the same target for `ttl` seconds."""

    hash_fields: tuple[str, ...]
    enabled: bool = True
    ttl: int = 3600

    def __post_init__(self) -> None:
        """Validate the values."""
        check_range("ttl", self.ttl, 1, MAX_STICKY_SECONDS, " seconds")
        if not 1 <= len(self.hash_fields) <= _MAX_HASH_FIELDS:
            raise ValueError(f"`hash_fields` must name 1 to {_MAX_HASH_FIELDS} fields")
        for name in self.hash_fields:
            place, _, key = name.partition(".")
            known = place in ("metadata", "params") and key and "." not in key
            if not known and name != "url.pathname":
                raise ValueError(
                    "`hash_fields` must be metadata.<key>, params.<key> or url.pathname"
                )


POLICY_KEYS = frozenset(name for kind in Policy.__subclasses__() for name in kind.__struct_fields__)
"""Every key of every policy."""
