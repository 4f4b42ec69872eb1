"""The attack on the wire, from outside: what is attacked (``targets``) is fuzzed (``wirefuzz``), each target in a process of its own.

Owns ``attack``: how long, from which seed, and what becomes of a finding: its traceback, and a file that the same target
fails on again. A fuzzer that died in any other way is no result.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import attrs

from bench.rows import BenchError
from bench.targets import TARGETS, seeds

ROOT = Path(__file__).parent.parent
NAME = re.compile(r"(\w+)-finding-\w+")
"""Of a file that a finding is kept in."""
GRACE = 60
"""Seconds that a fuzzer may take beside those that it was given: to start, and for its last input."""

_RUNS = re.compile(r"^Done (\d+) runs in", re.MULTILINE)
_COVERED = re.compile(r"^#\d+\s.*\bcov: (\d+)", re.MULTILINE)
_FINDING = re.compile(r"Test unit written to (\S+)")
_TRACEBACK = re.compile(r"=== Uncaught Python exception: ===\n(.*?)\n\n", re.DOTALL)


@attrs.frozen(kw_only=True)
class Fuzzed:
    """``finding`` is an input that breaks the target, ``why`` its traceback; None and "" when there is none."""

    target: str
    runs: int
    branches: int
    finding: bytes | None = None
    why: str = ""

    @property
    def name(self) -> str:
        """Of the file to keep it in."""
        return f"{self.target}-finding-{hashlib.sha256(self.finding or b'').hexdigest()[:8]}"


def attack(seconds: int, seed: int) -> Iterator[Fuzzed]:
    """Each target for so many seconds. Raises BenchError."""
    if importlib.util.find_spec("atheris") is None:
        raise BenchError(
            "atheris is not installed: ./run test --co -q installs it, on x86_64 Linux with Python before 3.14"
        )
    for target in TARGETS:
        yield fuzz(target, seconds, seed)


def replay(path: Path) -> None:
    """Once more with what was kept. Raises whatever it did then, and BenchError."""
    match = NAME.fullmatch(path.name)
    if match is None or match[1] not in TARGETS:
        raise BenchError(f"{path}: not a finding, whose name begins with one of {', '.join(TARGETS)}")
    TARGETS[match[1]](path.read_bytes())


def fuzz(target: str, seconds: int, seed: int, module: str = "bench.targets") -> Fuzzed:
    """One target. Raises BenchError."""
    with tempfile.TemporaryDirectory(prefix="tortie-attack-") as corpus:
        for number, each in enumerate(seeds(target)):
            (Path(corpus) / f"seed-{number}").write_bytes(each)
        command = [
            sys.executable,
            "-P",
            "-m",
            "bench.wirefuzz",
            module,
            target,
            str(seconds),
            str(seed),
            corpus,
        ]
        path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
        try:
            done = subprocess.run(
                command,
                cwd=ROOT,
                env={**os.environ, "PYTHONPATH": path},
                capture_output=True,
                text=True,
                errors="replace",
                timeout=seconds + GRACE,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise BenchError(f"{target}: the fuzzer did not end") from None
        said = done.stdout + done.stderr
        covered = _COVERED.findall(said)
        branches = int(covered[-1]) if covered else 0
        ended = _RUNS.search(said)
        if done.returncode == 0 and ended is not None:
            return Fuzzed(target=target, runs=int(ended[1]), branches=branches)
        written = _FINDING.search(said)
        if written is None:
            raise BenchError(f"{target}: the fuzzer ended with {done.returncode}: {said[-1000:]}")
        traceback = _TRACEBACK.search(said)
        return Fuzzed(
            target=target,
            runs=0,
            branches=branches,
            finding=Path(written[1]).read_bytes(),
            why=traceback[1] if traceback else said[-1000:],
        )
