"""What foreign processes cost, read from outside: CPU seconds and memory of a list of pids.

CPU comes from /proc/<pid>/schedstat, in nanoseconds. The better known /proc/<pid>/stat rounds down to ticks of 10 ms,
twice a process: over 200 small daemons that hides two seconds of seven. schedstat counts the main thread only, which
is all that the measured programs have. Memory is PSS, in which a page that k processes share counts 1/k in each.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from cluster.memory import pss_bytes


def cpu_seconds(pids: Iterable[int]) -> float:
    return sum(int(Path(f"/proc/{pid}/schedstat").read_bytes().split()[0]) for pid in pids) / 1e9


def pss_mb(pids: Iterable[int]) -> float | None:
    size = pss_bytes(pids)
    return None if size is None else size / 1e6
