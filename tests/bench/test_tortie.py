"""The stop-watch around a command, with small programs in the cluster's place."""

from __future__ import annotations

import sys
import time

import pytest

from bench.rows import BenchError
from bench.tortie import timed


def program(text: str) -> list[str]:
    return [sys.executable, "-c", text]


@pytest.mark.slow
def test_the_clock_stops_at_the_answer_and_not_at_the_end() -> None:
    started = time.perf_counter()
    wall, answer = timed(program("import time; print('{\"a\": 1}', flush=True); time.sleep(0.3)"))
    assert answer == {"a": 1}
    assert 0 < wall < time.perf_counter() - started - 0.25


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("import sys; sys.exit('pool too small')", "exit 1: pool too small"),
        ("print('{}'); raise SystemExit(1)", "exit 1: {}"),
        ("print('converged')", "not JSON"),
    ],
)
def test_a_run_without_an_answer_says_why(text: str, reason: str) -> None:
    with pytest.raises(BenchError, match=reason):
        timed(program(text))
