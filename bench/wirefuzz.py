"""Coverage-guided fuzzing of one target: ``python -m bench.wirefuzz MODULE TARGET SECONDS SEED CORPUS``, started by
``attack``. MODULE has TARGETS.

atheris counts which lines of ``protocol`` and ``agents`` an input reaches, and goes on from those that reach new ones. It ends
the process itself: with 0 when the time is over, else behind the traceback of what it found, the input in
CORPUS/finding-….
"""

from __future__ import annotations

import sys
from importlib import import_module

import atheris

MAX_LENGTH = 2048
"""Octets of an input: a script of a few hundred steps."""


def main(module: str, target: str, seconds: str, seed: str, corpus: str) -> None:
    with atheris.instrument_imports(include=["protocol", "agents"]):
        targets = import_module(module)
    options = [
        f"-max_total_time={seconds}",
        f"-seed={seed}",
        f"-max_len={MAX_LENGTH}",
        f"-artifact_prefix={corpus}/finding-",
        "-rss_limit_mb=1024",  # memory that grows is a finding too
        "-timeout=10",
        corpus,
    ]
    atheris.Setup([sys.argv[0], *options], targets.TARGETS[target])
    atheris.Fuzz()


if __name__ == "__main__":
    main(*sys.argv[1:])
