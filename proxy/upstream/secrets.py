"""Which texts of a target's credential are secret."""

from __future__ import annotations

from proxy.plan import Target

_SHORTEST_SECRET = 8


def secrets_of(target: Target) -> frozenset[str]:
    """Give the secret values of a target's credential, to blot them out of texts.

    A placeholder such as `x` is no secret: blotting it out would only spoil the text.
    """
    credentials = target.credentials
    secret = {option.name for option in target.adapter.options if option.secret}
    values = {credentials.api_key, *(credentials[name] for name in secret)}
    values |= {value.replace("/", "\\/") for value in values}  # as some write it in JSON
    return frozenset(value for value in values if len(value) >= _SHORTEST_SECRET)
