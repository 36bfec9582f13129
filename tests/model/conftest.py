"""Measures no coverage: a few of the thousands of states run every line, and measuring takes as long as exploring."""

import sys
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def _unmeasured() -> Iterator[None]:
    """Stop tracing; pytest-cov's own mark `no_cover` does not, in processes of pytest-xdist."""
    trace = sys.gettrace()
    sys.settrace(None)
    yield
    sys.settrace(trace)
