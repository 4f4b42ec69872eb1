"""``start``: clusters that end with their test, and leave nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.real.clusters import ROOT, Start, Up, free_port


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    started: list[Up] = []
    environment = {**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)}

    def begin(
        *options: str, port: int | None = None, stdin: str = "", target: str = "", hang_up: bool = False
    ) -> Up:
        command = [sys.executable, "-m", "cluster", "up", "--bgp-port", str(port or free_port()), *options]
        with Path(target or os.devnull).open("w") as sink:
            process = subprocess.Popen(
                command,
                cwd=ROOT,
                env=environment,
                text=True,
                stdin=subprocess.PIPE,
                stdout=sink if target else subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
        assert process.stdin is not None
        process.stdin.write(stdin)
        process.stdin.close()
        process.stdin = None  # or communicate() flushes it
        if hang_up:
            assert process.stdout is not None
            process.stdout.close()
            process.stdout = None
        started.append(Up(process, environment))
        return started[-1]

    yield begin
    for up in started:
        for pid in up.session():
            os.kill(pid, signal.SIGKILL)
        for pipe in (up.process.stdout, up.process.stderr):
            if pipe is not None:
                pipe.close()
        up.process.wait()
    run_files = list((tmp_path / "tortie").glob("*")) if (tmp_path / "tortie").exists() else []
    assert run_files == []
