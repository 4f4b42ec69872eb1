"""What every test may use: golden transcripts; and how tests are run.

A transcript is a text file under ``tests/transcripts`` that a person reads as a session. ``golden`` compares with
it; ``pytest --rewrite`` writes it anew, and the diff is what gets reviewed.

Hypothesis measures no example: on a busy machine any of them may take half a second, and that is nobody's fault.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile("tortie", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tortie")

TRANSCRIPTS = Path(__file__).parent / "transcripts"

Golden = Callable[[str, str], None]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--rewrite", action="store_true", help="write the golden transcripts anew")
    parser.addoption(
        "--depth", type=int, default=1, help="play so many times as many drawn histories and rehearsals"
    )


def pytest_xdist_auto_num_workers() -> int:
    """``-n auto``. One more than there are cores: whoever waits for real daemons needs none."""
    return (os.cpu_count() or 1) + 1


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """What takes minutes, and waits most of the time, begins first: beside all others, and not behind them. And who goes
    deeper may take longer by as much, which has to be known before anything of a test runs.
    """
    items.sort(key=lambda item: item.get_closest_marker("first") is None)
    depth: int = config.getoption("--depth")
    for item in items:
        limit = item.get_closest_marker("timeout")
        if depth > 1 and limit is not None and "depth" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.timeout(limit.args[0] * depth), append=False)


@pytest.fixture
def depth(request: pytest.FixtureRequest) -> int:
    """``--depth``."""
    depth: int = request.config.getoption("--depth")
    return depth


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Golden:
    """``golden(name, text)``: text is what stands in ``tests/transcripts/<name>.txt``."""

    def compare(name: str, text: str) -> None:
        path = TRANSCRIPTS / f"{name}.txt"
        if request.config.getoption("--rewrite"):
            path.write_text(text)
        assert text == path.read_text()

    return compare
