"""A receipt: its lines, and how much of them fits."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from adapters.table.receipt import RECEIPT_LIMIT, Receipt, ReceiptLine, sanitize


def test_a_receipt_takes_further_lines() -> None:
    longer = Receipt((ReceiptLine("dropped", "style"),)).with_lines(
        ReceiptLine("converted", "n", "3", "calls=3")
    )
    assert str(longer) == "dropped style, converted n=3>calls=3"


@given(st.integers(0, 400))
def test_a_receipt_that_is_cut_says_how_much_is_missing(count: int) -> None:
    written = str(Receipt(tuple(ReceiptLine("dropped", f"parameter_{it}") for it in range(count))))
    *lines, last = written.split(", ")
    missing = int(last.split()[0]) if last.endswith("more") else 0
    assert len(written) <= RECEIPT_LIMIT
    assert count == (len(lines) + missing if missing else written.count("dropped"))


def test_a_word_is_kept_to_what_may_stand_in_a_header() -> None:
    assert [sanitize(it) for it in ("a, b>c", True, 1.5, "x" * 99)] == [
        "a??b?c",
        "true",
        "1.5",
        "x" * 64,
    ]
