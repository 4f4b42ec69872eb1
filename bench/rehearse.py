"""An hour of a cluster in virtual time: what it costs on one core.

Owns the hour: a mesh boots, a pod on each node, and converges; every ten minutes something befalls it (a power cut, calico-node stopped, a
node that hangs, a link that is cut), is noticed, and is over again; each time all tables are right before the next. Three
columns of it:

    plain   nobody counts what is lost, and nothing is written down
    log     every event, as ``rehearse --events`` has them
    loss    what is lost between each pair of nodes, by the account

Left out: real TCP in virtual time, which costs what keepalives cost.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Awaitable, Callable, Sequence

import trio

from bench.rows import BenchError, Case, Run
from cluster.rehearsal.clock import run_virtual
from cluster.rehearsal.eventlog import EventLog
from cluster.rehearsal.virtual import Virtual
from cluster.spec import Spec, build
from protocol.v3.codec import encode

HOUR = 3600.0
PAUSE = 600.0
KINDS = ("plain", "log", "loss")


def tool(kind: str) -> Callable[[Case], Sequence[Run]]:
    return lambda case: rehearse(case, kind)


def rehearse(case: Case, kind: str) -> list[Run]:
    """The events ``boot`` (until it has converged) and ``hour`` (all of it)."""
    resources = build(Spec(nodes=case.nodes)).resources
    started, worked = time.perf_counter(), time.process_time()
    runs: list[Run] = []

    def measured(event: str) -> None:
        runs.append(
            Run(event=event, wall_s=time.perf_counter() - started, cpu_s=time.process_time() - worked)
        )

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            log = EventLog() if kind == "log" else None
            stage = Virtual(nursery, 1, log=log)
            for resource in resources:
                stage.store.create(encode(resource))
            if kind == "loss":
                await stage.watch_loss()
            problems = await stage.boot(1)
            if problems:
                raise BenchError(problems[0])
            await converge(stage)
            measured("boot")
            await hour(stage)
            measured("hour")
            if log is not None:
                log.digest()
            if stage.account is not None:
                stage.account.report(stage.now())
            nursery.cancel_scope.cancel()

    gc.collect()
    gc.freeze()
    try:
        run_virtual(main, 1)
    finally:
        gc.unfreeze()
    return runs


async def hour(stage: Virtual) -> None:
    one, two, *_ = stage.members()
    faults: list[tuple[Callable[[], Awaitable[None]], Callable[[], Awaitable[None]]]] = [
        (lambda: stage.power_off(one), lambda: stage.start(one)),
        (lambda: stage.stop(one), lambda: stage.start(one)),
        (lambda: stage.freeze(one), lambda: stage.thaw(one)),
        (lambda: stage.cut(one, two), lambda: stage.heal(one, two)),
    ]
    for number, (begin, end) in enumerate(faults, 1):
        await stage.sleep(number * PAUSE - stage.now())
        await begin()
        await converge(stage)
        await end()
        await converge(stage)
    await stage.sleep(HOUR - stage.now())


async def converge(stage: Virtual) -> None:
    settled = await stage.settle(PAUSE / 2)
    if settled.differences:
        raise BenchError(settled.differences[0])
