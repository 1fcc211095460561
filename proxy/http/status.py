"""Classes of HTTP statuses (RFC 9110, section 15), and the codes that the gateway compares with.

Plain integers and functions: `http.HTTPStatus` costs ten times as much per comparison, and has no
predicates before Python 3.12.
"""

from __future__ import annotations

OK = 200
ACCEPTED = 202
PARTIAL_CONTENT = 206
NOT_MODIFIED = 304
UNAUTHORIZED = 401
TOO_MANY_REQUESTS = 429
INTERNAL_SERVER_ERROR = 500
BAD_GATEWAY = 502


def is_success(status: int) -> bool:
    """Return whether the request succeeded: 200 to 299."""
    return 200 <= status < 300  # noqa: PLR2004 - the one place that says so


def is_redirect(status: int) -> bool:
    """Return whether the response redirects: 300 to 399."""
    return 300 <= status < 400  # noqa: PLR2004 - the one place that says so


def is_client_error(status: int) -> bool:
    """Return whether the client's request was at fault: 400 to 499."""
    return 400 <= status < 500  # noqa: PLR2004 - the one place that says so


def is_server_error(status: int) -> bool:
    """Return whether the server failed: 500 and above."""
    return status >= 500  # noqa: PLR2004 - the one place that says so


def is_error(status: int) -> bool:
    """Return whether the request failed, by either side's fault: 400 and above."""
    return status >= 400  # noqa: PLR2004 - the one place that says so
