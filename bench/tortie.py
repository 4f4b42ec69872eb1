"""tortie under the stop-watch, as a user runs it: ``python -m cluster up --once -o json`` from outside.

The wall clock runs from before the process is made until its answer has arrived, so that the interpreter's start,
the imports, the forks and the judging of every FIB are in it. CPU seconds and memory are those of the answer: only
the cluster knows all its processes, and it ends them after it has answered.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.rows import BenchError, Case, Run

ROOT = Path(__file__).resolve().parent.parent
TIMEOUT_S = 900


def up(case: Case, *, reflectors: int = 0) -> Run:
    """One cluster from nothing to exact convergence."""
    arguments = ["--nodes", str(case.nodes), "--timeout", str(TIMEOUT_S)]
    if reflectors:
        arguments += ["--route-reflectors", str(reflectors)]
    if case.routes is not None:
        arguments += ["--blocks-per-node", str(case.routes)]
    command = [sys.executable, "-P", "-m", "cluster", "up", "--once", "-o", "json", *arguments]
    wall, answer = timed(command)
    if answer["sessions"]["established"] != case.sessions:
        raise BenchError(f"up: {answer['sessions']['established']} sessions Established, not {case.sessions}")
    return Run(wall_s=wall, cpu_s=answer["cpu_seconds"], pss_mb=answer["memory_mb"])


def churn(case: Case) -> list[Run]:
    """What one change takes in a converged mesh; ``bench.churn`` makes the changes, and has the clock too."""
    return changes("bench.churn", case)


def change(case: Case) -> list[Run]:
    """The same for changes of a filter: ``bench.change``."""
    return changes("bench.change", case)


def changes(module: str, case: Case) -> list[Run]:
    _, answer = timed([sys.executable, "-P", "-m", module, str(case.nodes)])
    return [Run(event=event, wall_s=seconds) for event, seconds in answer.items()]


def timed(command: Sequence[str]) -> tuple[float, dict[str, Any]]:
    """Runs ``command``; the seconds until its answer was there, and the answer, a JSON object.

    Raises:
        BenchError: it failed or said something else.
    """
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    with tempfile.TemporaryFile() as errors:
        started = time.perf_counter()
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=errors, cwd=ROOT, env={**os.environ, "PYTHONPATH": path}
        ) as process:
            assert process.stdout is not None
            answered, output = started, b""
            try:
                while chunk := os.read(process.stdout.fileno(), 1 << 16):
                    answered, output = time.perf_counter(), output + chunk
            except BaseException:  # Ctrl-C above all: the cluster may clean up behind itself
                process.terminate()
                raise
        errors.seek(0)
        complaint = errors.read().decode(errors="replace").strip()
    name = " ".join(command[2:])
    if process.returncode:
        reason = complaint or output.decode(errors="replace").strip() or "no word of explanation"
        raise BenchError(f"{name}: exit {process.returncode}: {reason[-500:]}")
    try:
        answer = json.loads(output)
    except ValueError:
        raise BenchError(f"{name}: not JSON: {output[-200:]!r}") from None
    return answered - started, answer
