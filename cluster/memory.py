"""What a cluster's processes cost: memory, CPU seconds and time since the start, read from /proc.

Owns five readings and one setting, no state. PSS counts a page shared by k forked processes as 1/k in each, so that the sum over
all processes is what the cluster really holds. Where there is no /proc (macOS) the memory is unknown (None) and
the CPU seconds are those of this process and its ended children.
"""

from __future__ import annotations

import ctypes
import os
import resource
import time
from collections.abc import Iterable
from pathlib import Path

M_MMAP_THRESHOLD = -3  # malloc.h
LARGE_BLOCK = 128 << 10


def return_large_blocks() -> None:
    """Have glibc give every large block back to the system when it is freed.

    It does so at first, and stops after the first one: a routing table that doubles leaves a hole of its old size in
    the heap then, and the holes of fifty tables are 50 MB. Setting the threshold keeps it where it is. Any other
    libc does as it likes.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, LARGE_BLOCK)


def pss_bytes(pids: Iterable[int]) -> int | None:
    """The proportional set size of all these processes; one that has ended counts nothing."""
    total = 0
    for pid in pids:
        try:
            text = Path(f"/proc/{pid}/smaps_rollup").read_bytes()
        except OSError:
            if pid == os.getpid():
                return None
            continue
        for line in text.splitlines():
            if line.startswith(b"Pss:"):
                total += int(line.split()[1]) * 1024
                break
    return total


def ended_children_seconds() -> float:
    """User and system seconds of the children that ended; those of before an exec are among them."""
    times = os.times()
    return times.children_user + times.children_system


def cpu_seconds(children: Iterable[int]) -> float:
    """User and system seconds of this process, its ended children, and the living ``children`` (of one thread each)."""
    times = os.times()
    total = times.user + times.system + ended_children_seconds()
    return total + sum(map(_seconds_of, children))


def _seconds_of(pid: int) -> float:
    """Of one process, which has one thread; 0.0 when it has ended."""
    try:
        # In nanoseconds. /proc/<pid>/stat rounds down to ticks of 10 ms, twice.
        return int(Path(f"/proc/{pid}/schedstat").read_bytes().split()[0]) / 1e9
    except OSError:  # it has ended, or this kernel keeps no such statistics
        fields = _stat_fields(pid)
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK") if fields is not None else 0.0


def process_age() -> float:
    """Seconds since this process was made, the interpreter's own start included.

    Without /proc: 0.0, the time counts from here.
    """
    fields = _stat_fields(os.getpid())
    if fields is None:
        return 0.0
    started = int(fields[19]) / os.sysconf("SC_CLK_TCK")
    return max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - started)


def available_bytes() -> int | None:
    """MemAvailable: what new processes may take without swapping; None when the system does not tell."""
    try:
        text = Path("/proc/meminfo").read_text()
    except OSError:
        return None
    for line in text.splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return None


def descriptor_limit() -> int:
    """Raises the soft limit of descriptors to the hard one and returns it.

    An unlimited hard limit (macOS says so and means OPEN_MAX) counts as a million, more than one process serves.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 1_048_576 if hard == resource.RLIM_INFINITY else hard
    if soft < wanted:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        except (OSError, ValueError):
            return soft
    return wanted


def cores() -> int:
    """The processors this process may run on."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on this system
        return os.cpu_count() or 1


def _stat_fields(pid: int) -> list[bytes] | None:
    """The fields of /proc/<pid>/stat after the command's name (which may hold spaces), state first."""
    try:
        text = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return None
    return text[text.rindex(b")") + 2 :].split()
