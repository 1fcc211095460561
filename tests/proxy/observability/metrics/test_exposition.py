"""The page is what the library's own parsers read back, in both formats."""

from __future__ import annotations

import sys

import pytest
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as openmetrics_families,
)
from prometheus_client.parser import text_string_to_metric_families as families

from proxy.observability.metrics.exposition import MissingLibraryError, render
from proxy.observability.metrics.merge import (
    COUNTER,
    GAUGE,
    HISTOGRAM,
    MetricSnapshot,
    encode_snapshot,
)

EVIL = 'a"b\\c\nd'
SNAPSHOT = encode_snapshot(
    [
        MetricSnapshot("c_total", "C.", COUNTER, ("of",), samples=[((EVIL,), [3])]),
        MetricSnapshot("g", 'G "of" \\ \n.', GAUGE, samples=[((), [1.5])]),
        MetricSnapshot("h", "H.", HISTOGRAM, (), (1.0, 2.0), samples=[((), [1, 2, 3, 9.5])]),
    ]
)
OPENMETRICS = "application/openmetrics-text; version=1.0.0"


@pytest.mark.parametrize(("accept", "parse"), [("", families), (OPENMETRICS, openmetrics_families)])
def test_what_is_written_is_read_back(accept: str, parse: object) -> None:
    assert callable(parse)
    body, content_type = render(SNAPSHOT, accept)
    found = {
        (it.name, tuple(it.labels.values())): it.value
        for family in parse(body.decode())
        for it in family.samples
    }
    assert found == {
        ("c_total", (EVIL,)): 3,
        ("g", ()): 1.5,
        ("h_bucket", ("1.0",)): 1,
        ("h_bucket", ("2.0",)): 3,
        ("h_bucket", ("+Inf",)): 6,
        ("h_count", ()): 6,
        ("h_sum", ()): 9.5,
    }
    assert ("openmetrics" in content_type) is bool(accept)


def test_without_the_library_there_is_no_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "prometheus_client.exposition", None)
    with pytest.raises(MissingLibraryError):
        render(SNAPSHOT, "")
