"""Classes of HTTP statuses."""

from __future__ import annotations

import pytest

from proxy.http.status import (
    is_client_error,
    is_error,
    is_redirect,
    is_server_error,
    is_success,
)

PREDICATES = (is_success, is_redirect, is_client_error, is_server_error, is_error)


@pytest.mark.parametrize(
    ("first", "last", "claims"),
    [
        (100, 199, ()),
        (200, 299, (is_success,)),
        (300, 399, (is_redirect,)),
        (400, 499, (is_client_error, is_error)),
        (500, 599, (is_server_error, is_error)),
        (600, 999, (is_server_error, is_error)),
    ],
)
def test_each_class_begins_and_ends_at_its_hundred(
    first: int, last: int, claims: tuple[object, ...]
) -> None:
    for status in (first, last):
        assert tuple(it for it in PREDICATES if it(status)) == claims


def test_status_0_is_in_no_class() -> None:
    assert not any(predicate(0) for predicate in PREDICATES)
