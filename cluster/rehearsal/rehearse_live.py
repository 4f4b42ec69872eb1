"""A scenario from its values to a report, on the real clock and with shard processes.

Owns ``rehearse_live``: the twin of ``rehearse``, which takes as long as it says. A shard that dies ends it: what a
scenario expects is nothing of a cluster that has lost nodes by no step of its.

Left out: the stage itself (``live``).
"""

from __future__ import annotations

import time
from collections.abc import Callable

import attrs
import trio

from cluster.api.control import NodeDown
from cluster.coordinator import LAST_WORDS
from cluster.interruption import Interrupted, interruptible
from cluster.launch import Refused, prepare_with
from cluster.processes import ShardProcess
from cluster.rehearsal.live import Live, run_live
from cluster.rehearsal.play import Progress, play
from cluster.rehearsal.rehearse import CannotRun
from cluster.rehearsal.report import Report
from cluster.scenario.model import Scenario
from cluster.scenario.names import UnknownName, off_of
from cluster.scenario.world import spec_of
from protocol.sync.errors import Unreachable

HOW = "real time, shards"
TICK = 0.1


def rehearse_live(
    scenario: Scenario,
    *,
    bgp_port: int,
    progress: Progress = lambda _: None,
    tick: Callable[[float], object] | None = None,
) -> Report:
    """See ``rehearse``. Raises CannotRun, Interrupted."""
    spec = attrs.evolve(spec_of(scenario), bgp_port=bgp_port)
    try:
        prepared = prepare_with(spec, scenario.cluster.resources)
        off = off_of(scenario, prepared.world)
    except (Refused, UnknownName) as error:
        raise CannotRun(str(error)) from None
    world = prepared.world
    began = time.monotonic()

    signals: list[int] = []
    dead: list[ShardProcess] = []
    died = trio.Event()

    async def main(stage: Live) -> Report | None:
        report = None
        stage.coordinator.leave_new_nodes_bare()  # as in virtual time
        async with interruptible(signals) as nursery:

            async def ticks(tick: Callable[[float], object]) -> None:
                while True:
                    tick(stage.now())
                    await trio.sleep(TICK)

            async def fall() -> None:
                await died.wait()
                nursery.cancel_scope.cancel()

            nursery.start_soon(fall)
            if tick is not None:
                nursery.start_soon(ticks, tick)
            try:
                report = await play(
                    scenario,
                    stage,
                    world,
                    wall=time.time,
                    how=HOW,
                    progress=progress,
                    ups=stage.ups,
                    trouble=stage.coordinator.pod_failures,
                )
            except (Unreachable, NodeDown):  # before anybody could say that the shard is dead
                with trio.fail_after(2 * LAST_WORDS):
                    await died.wait()
        return report

    def lost(shard: ShardProcess) -> None:
        dead.append(shard)
        died.set()

    try:
        report = run_live(prepared, main, off=off, shard_lost=lost)
    except Refused as error:
        raise CannotRun(str(error)) from None
    if dead and not signals:  # which may have been for all of the process group
        shard = dead[0]
        raise CannotRun(f"shard {shard.number}, which hosts {len(shard.nodes):,} nodes, {shard.ended}")
    if report is None:
        raise Interrupted(signals[0])
    return attrs.evolve(report, took=time.monotonic() - began)
