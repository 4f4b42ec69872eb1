"""What every test may use: golden transcripts.

A transcript is a text file under ``tests/transcripts`` that a person reads as a session. ``golden`` compares with
it; ``pytest --rewrite`` writes it anew, and the diff is what gets reviewed.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

TRANSCRIPTS = Path(__file__).parent / "transcripts"

Golden = Callable[[str, str], None]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--rewrite", action="store_true", help="write the golden transcripts anew")


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Golden:
    """``golden(name, text)``: text is what stands in ``tests/transcripts/<name>.txt``."""

    def compare(name: str, text: str) -> None:
        path = TRANSCRIPTS / f"{name}.txt"
        if request.config.getoption("--rewrite"):
            path.write_text(text)
        assert text == path.read_text()

    return compare
