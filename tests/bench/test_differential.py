"""``bench differential``: how it has the test run, and how it ends."""

from __future__ import annotations

import subprocess
from typing import Any

import pytest
from click.testing import CliRunner

from bench.__main__ import main
from bench.differential import EXAMPLES


@pytest.mark.parametrize(("code", "words"), [(0, "no difference"), (1, "stopped")])
def test_the_test_is_run_at_length(monkeypatch: pytest.MonkeyPatch, code: int, words: str) -> None:
    ran: list[tuple[list[str], str]] = []

    def run(command: list[str], *, env: dict[str, str], **options: Any) -> subprocess.CompletedProcess[str]:
        ran.append((command, env[EXAMPLES]))
        return subprocess.CompletedProcess(command, code)

    monkeypatch.setattr(subprocess, "run", run)
    done = CliRunner().invoke(main, ["differential", "--examples", "500", "--seed", "7"])
    assert (done.exit_code, done.stdout) == (code, f"500 clusters, seed 7: {words}\n")
    [(command, examples)] = ran
    assert examples == "500"
    assert {"--hypothesis-seed=7", "tests/real/test_bird_differential.py"} <= set(command)


def test_what_is_missing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    done = CliRunner().invoke(main, ["differential"])
    assert done.exit_code == 2
    assert "./run test" in done.stderr
