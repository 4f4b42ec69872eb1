"""A scenario from its values to a report, on the real clock and with shard processes.

Owns ``rehearse_live``: the twin of ``rehearse``, which takes as long as it says. Left out: the stage itself (``live``).
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable

import attrs
import trio

from cluster.launch import Refused, prepare_with
from cluster.rehearsal.live import Live, run_live
from cluster.rehearsal.play import Progress, play
from cluster.rehearsal.rehearse import CannotRun, Interrupted
from cluster.rehearsal.report import Report
from cluster.scenario.model import Scenario
from cluster.scenario.names import UnknownName, off_of
from cluster.scenario.world import spec_of

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

    async def main(stage: Live) -> Report | None:
        report = None
        with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as received:
            async with trio.open_nursery() as nursery:

                async def stop() -> None:
                    async for number in received:
                        signals.append(number)
                        nursery.cancel_scope.cancel()

                async def ticks(tick: Callable[[float], object]) -> None:
                    while True:
                        tick(stage.now())
                        await trio.sleep(TICK)

                nursery.start_soon(stop)
                if tick is not None:
                    nursery.start_soon(ticks, tick)
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
                nursery.cancel_scope.cancel()
        return report

    try:
        report = run_live(prepared, main, off=off)
    except Refused as error:
        raise CannotRun(str(error)) from None
    if report is None:
        raise Interrupted(signals[0])
    return attrs.evolve(report, took=time.monotonic() - began)
