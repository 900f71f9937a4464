"""The table after the tests counts each thing once."""

from types import SimpleNamespace

import pytest

from tests.site.conftest import COUNTED, pytest_terminal_summary

pytestmark = pytest.mark.site


def test_what_a_test_looked_at_is_counted_once():
    seen = [(COUNTED, ["pages", 1]), (COUNTED, ["views", 4])]
    reports = [SimpleNamespace(when=when, user_properties=seen) for when in ("setup", "call", "teardown")]
    lines = []
    reporter = SimpleNamespace(
        stats={"": [reports[0], reports[2]], "passed": [reports[1]], "deselected": [SimpleNamespace()]},
        section=lines.append,
        write_line=lines.append,
    )
    pytest_terminal_summary(reporter)
    assert lines == ["looked at", "1 pages, 4 views"]
