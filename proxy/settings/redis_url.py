"""The URL of a Redis or Valkey: one server, a primary chosen by Sentinels, or a cluster.

    redis://user:password@host:port/number
    redis+sentinel://user:password@host:port,host:port,host:port/service/number
    redis+cluster://user:password@host:port,host:port

`rediss` instead of `redis` turns on TLS. The part before the `@`, the ports and the number may be
left out. For a cluster, one reachable node is enough.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import unquote

_MAX_PORT = 65_535
_DEFAULT_PORTS = {"": 6379, "sentinel": 26_379, "cluster": 6379}
"""The default port of each kind."""
_HOST = r"(?:[^\s/?#@:,\[\]]+|\[[0-9a-fA-F:.]+\])"
_HOST_AND_PORT = rf"{_HOST}(?::\d{{1,5}})?"
_URL = re.compile(
    r"(?P<scheme>rediss?)(?:\+(?P<kind>sentinel|cluster))?://"
    r"(?:(?P<user>[^\s/?#@:]*)(?::(?P<password>[^\s/?#@]*))?@)?"
    rf"(?P<hosts>{_HOST_AND_PORT}(?:,{_HOST_AND_PORT})*)(?P<path>/[^\s?#]*)?"
)
_PATHS = {
    "": re.compile(r"(?:/(?P<number>\d{0,3}))?"),
    "sentinel": re.compile(r"/(?P<service>[A-Za-z0-9_.-]{1,128})(?:/(?P<number>\d{0,3}))?"),
    "cluster": re.compile(r"/?(?P<number>0?)"),
}
_PATH_ERRORS = {
    "": "`url` must end with the port, or with /number, the database number",
    "sentinel": "`url` must end with /service, the name of the Sentinels' service, "
    "or with /service/number",
    "cluster": "`url` must end with the port: a cluster has no numbered databases",
}
_URL_ERROR = (
    "`url` must be redis://user:password@host:port/number, redis+sentinel://…@host:port,…/service "
    "or redis+cluster://…@host:port,…, with rediss for TLS, "
    "and with special characters of the password percent-encoded"
)


@dataclass(frozen=True, slots=True, repr=False)
class RedisUrl:
    """A parsed URL. `kind` is "", `sentinel` or `cluster`; `hosts` are those of that kind."""

    kind: str
    hosts: tuple[tuple[str, int], ...]
    tls: bool
    username: str | None
    password: str | None
    service: str
    database: int


def parse_redis_url(url: str) -> RedisUrl:
    """Parse a URL; raises `ValueError` without the URL in it, which may contain a password.

    >>> found = parse_redis_url("redis+sentinel://:p%2Fw@one,two:26380/mymaster/2")
    >>> found.hosts, found.service, found.database, found.password
    ((('one', 26379), ('two', 26380)), 'mymaster', 2, 'p/w')
    """
    found = _URL.fullmatch(url)
    if not found:
        raise ValueError(_URL_ERROR)
    kind = found["kind"] or ""
    path = _PATHS[kind].fullmatch(found["path"] or "")
    if not path:
        raise ValueError(_PATH_ERRORS[kind])
    hosts = tuple(_parse_host(text, _DEFAULT_PORTS[kind]) for text in found["hosts"].split(","))
    if not kind and len(hosts) > 1:
        raise ValueError("`url` names several hosts: begin it with redis+sentinel or redis+cluster")
    return RedisUrl(
        kind=kind,
        hosts=hosts,
        tls=found["scheme"] == "rediss",
        username=unquote(found["user"] or "") or None,
        password=unquote(found["password"] or "") or None,
        service=path.groupdict().get("service") or "",
        database=int(path["number"] or 0),
    )


def _parse_host(text: str, default: int) -> tuple[str, int]:
    host, _, port = text.rpartition(":") if re.search(r":\d+\Z", text) else (text, "", "")
    if not 0 <= int(port or 0) <= _MAX_PORT:
        raise ValueError(_URL_ERROR)
    return host.strip("[]"), int(port or default)
