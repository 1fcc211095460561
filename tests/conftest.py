"""Lets the assertions in the tests' own vocabulary explain themselves."""

import pytest

pytest.register_assert_rewrite("tests.support.transcripts", "tests.support.transcript_provider")
