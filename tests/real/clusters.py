"""Whole clusters from outside: ``up`` as a process that can be asked, ended and audited."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO

import attrs
import pytest

from tests.strategies.network import free_ports

ROOT = Path(__file__).parents[2]
PATIENCE = 40.0  # seconds; on an idle machine nothing here takes two


def free_port() -> int:
    """A port that is free on all loopback addresses."""
    return free_ports(1)[0]


@attrs.define
class Up:
    """One ``python -m cluster up`` under test."""

    process: subprocess.Popen[str]
    environment: dict[str, str]
    lines: list[str] = attrs.field(factory=list)

    @property
    def out(self) -> IO[str]:
        assert self.process.stdout is not None
        return self.process.stdout

    def read_until(self, start: str) -> str:
        """The first line that begins so."""
        for line in self.out:
            self.lines.append(line.rstrip("\n"))
            if line.startswith(start):
                return self.lines[-1]
        pytest.fail(f"ended without a line {start!r}: {self.lines}")

    def end(self) -> int:
        """The exit code, and nothing is left: no process, no run file."""
        code = self.process.wait(PATIENCE)
        deadline = time.monotonic() + 1.0  # init may still have to reap what a killed coordinator left
        while self.session() and time.monotonic() < deadline:
            time.sleep(0.01)
        assert self.session() == []
        return code

    def session(self) -> list[int]:
        """The processes of its session."""
        found = []
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = stat.read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[3]) == self.process.pid and fields[0] != "Z":
                found.append(int(stat.parent.name))
        return found

    def ask(self, *command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "cluster", *command],
            cwd=ROOT,
            env=self.environment,
            stdin=subprocess.DEVNULL,  # nobody is there to be asked
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )


Start = Callable[..., Up]
