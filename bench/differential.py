"""Real BIRD and the emulated one, given the same manifests, over and over: ``tests/real/test_bird_differential.py`` at length.

Owns ``run``, which has pytest run that test with as many examples as wanted, shrinking included. It is the test's own
process that needs hypothesis, BIRD 1.6 and root, and says what is missing.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

from bench.rows import BenchError

ROOT = Path(__file__).parent.parent
TEST = "tests/real/test_bird_differential.py"
EXAMPLES = "TORTIE_EXAMPLES"
"""The test's own environment variable."""


def run(examples: int, seed: int) -> bool:
    """Whether there was no difference. What the test says goes to stdout and stderr. Raises BenchError."""
    if importlib.util.find_spec("hypothesis") is None:
        raise BenchError("hypothesis is not installed: ./run test --co -q installs it")
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-s",
        "-q",
        "-p",
        "no:cacheprovider",
        f"--hypothesis-seed={seed}",
        TEST,
    ]
    environment = {**os.environ, EXAMPLES: str(examples)}
    return subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode == 0
