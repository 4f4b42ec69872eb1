"""The floor: what the same number of connections and messages costs in Python with nothing on top of the sockets.

No BGP, no trio, no datastore, no routes: a full mesh whose every connection exchanges what a session's start does
(``bench.floor_process``), over as many processes as tortie would take shards. What tortie takes beyond this is what
it does; what it takes up to this is the price of so many sockets in Python on this computer.

It measures as the others are measured: the wall clock starts before the first process is made.
"""

from __future__ import annotations

import subprocess
import sys
import time
from contextlib import ExitStack

from bench.process import cpu_seconds, pss_mb
from bench.rows import BenchError, Case, Run
from bench.tortie import ROOT
from cluster.memory import cores, descriptor_limit
from cluster.plan import Machine, NodeLoad, make_plan


def shards(nodes: int) -> list[tuple[int, int]]:
    """First and last node of every process: the cut that ``up`` would make."""
    machine = Machine(descriptors=descriptor_limit(), cores=cores(), memory=None)
    loads = [NodeLoad(name=str(node), sessions=nodes - 1, routes=nodes - 1) for node in range(1, nodes + 1)]
    plan = make_plan(loads, topology="floor", machine=machine, shards=None)
    return [(int(names[0]), int(names[-1])) for names in plan.shards]


def floor(case: Case) -> Run:
    ranges = shards(case.nodes)
    started = time.perf_counter()
    with ExitStack() as stack:
        processes = []
        for first, last in ranges:
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", "bench.floor_process", str(case.nodes), str(first), str(last)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env={"PYTHONPATH": str(ROOT)},
                text=True,
            )
            stack.enter_context(process)
            stack.callback(process.kill)  # first: the context manager then only waits
            processes.append(process)
        _expect(processes, "listening")
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        _expect(processes, "done")
        wall = time.perf_counter() - started
        pids = [process.pid for process in processes]
        return Run(wall_s=wall, cpu_s=cpu_seconds(pids), pss_mb=pss_mb(pids))


def _expect(processes: list[subprocess.Popen[str]], word: str) -> None:
    for process in processes:
        assert process.stdout is not None
        if process.stdout.readline().strip() != word:
            raise BenchError(f"a process of the floor ended before it was {word}")
