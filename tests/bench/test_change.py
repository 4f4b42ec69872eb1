"""The changes of bench change, made to a small real cluster."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from bench.tortie import ROOT


@pytest.mark.slow
def test_every_change_arrives_and_is_judged_exact_after_it_is_shown() -> None:
    """In a process of its own: it forks, which a test runner with threads must not."""
    ended = subprocess.run(
        [sys.executable, "-P", "-m", "bench.change", "4"],
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    times = json.loads(ended.stdout)
    events = [f"{verb} {direction}" for direction in ("export", "import") for verb in ("reject", "accept")]
    assert list(times) == [name for event in events for name in (event, f"{event}, judged")]
    assert all(0 < times[event] < times[f"{event}, judged"] < 30 for event in events)
