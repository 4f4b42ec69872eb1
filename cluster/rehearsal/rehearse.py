"""A scenario from its values to a report, in virtual time.

Owns ``rehearse``: one ``trio.run`` with one seed, the world in a ``Virtual``, ``play`` on it, and nothing left when it
returns.

    world ─► store ─► boot: listen, pods, sessions ─► play ─► Report

A signal ends it between two events, whatever the clock says. The event log is always kept, at least as a digest: two
runs of one scenario and seed are the same run when their digests are.

Left out: the real clock (``rehearse_live``); text (``cluster.cli.rehearse_output``).
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence

import attrs
import trio

from agents.journal import Event
from cluster.addressing import (
    AddressingError,
    Endpoints,
    busy_message,
    find_busy,
    has_wide_loopback,
    listeners,
)
from cluster.datastore.memory import MemoryStore
from cluster.interruption import Interrupted, interruptible
from cluster.rehearsal.clock import run_virtual
from cluster.rehearsal.eventlog import EventLog
from cluster.rehearsal.play import Progress, play
from cluster.rehearsal.report import Report
from cluster.rehearsal.virtual import EPOCH, Virtual, timers_in_life
from cluster.scenario.model import Scenario
from cluster.scenario.names import UnknownName, off_of
from cluster.scenario.world import world_of
from cluster.spec import World
from cluster.workloads import first_documents

IN_MEMORY = "virtual time, links in memory"
OVER_TCP = "virtual time, real TCP"


class CannotRun(Exception):
    """Nothing was started, or a process of the cluster died; the text says why."""


def rehearse(
    scenario: Scenario,
    *,
    bgp_port: int | None = None,
    sink: Callable[[str], object] | None = None,
    progress: Progress = lambda _: None,
    tick: Callable[[float], object] | None = None,
    afterwards: Callable[[Virtual], Awaitable[None]] | None = None,
) -> Report:
    """Play it, and say what came of it.

    Args:
        bgp_port: where the nodes listen, for real TCP; None: links are in memory.
        sink: gets the event log, piece by piece.
        progress: is told what comes next.
        tick: is called with the virtual time whenever it may be another: often.
        afterwards: has the stage when all is done, before it is taken down.

    Raises:
        SpecError: of a scenario that was not read but drawn, the cluster cannot be.
        CannotRun: a port is taken, or nobody can be powered off.
        Interrupted: by SIGINT or SIGTERM.
    """
    world = world_of(scenario)
    endpoints = None if bgp_port is None else _endpoints(world, bgp_port)
    try:
        off = off_of(scenario, world)
    except UnknownName as error:
        raise CannotRun(str(error)) from None
    run = _Run(scenario, world, off, endpoints, EventLog(sink), progress, afterwards)
    began = time.monotonic()
    run_virtual(run.main, scenario.seed, [] if tick is None else [_Tick(tick)])
    run.log.flush()
    if run.signals or run.report is None:
        raise Interrupted(run.signals[-1])
    return attrs.evolve(
        run.report, events=run.log.lines, digest=run.log.digest(), took=time.monotonic() - began
    )


def _endpoints(world: World, bgp_port: int) -> Endpoints:
    try:
        endpoints = Endpoints(bgp_port, wide=has_wide_loopback())
        addresses = world.addresses()
        endpoints.add(address for several in addresses.values() for address in several)
        where = listeners(endpoints, addresses, world.listen_ports())
        busy = find_busy(endpoint for several in where.values() for endpoint in several)
    except AddressingError as error:
        raise CannotRun(str(error)) from None
    if busy is not None:
        raise CannotRun(busy_message(busy, where))
    return endpoints


@attrs.define
class _Run:
    """One scenario in one trio.run."""

    scenario: Scenario
    world: World
    off: Sequence[str]
    endpoints: Endpoints | None
    log: EventLog
    progress: Progress
    afterwards: Callable[[Virtual], Awaitable[None]] | None = None
    report: Report | None = None
    signals: list[int] = attrs.field(factory=list)
    ups: int = 0

    async def main(self) -> None:
        async with interruptible(self.signals) as nursery:
            await self._play(nursery)

    async def _play(self, nursery: trio.Nursery) -> None:
        stage = Virtual(
            nursery,
            self.scenario.seed,
            env=self.world.environment(),
            timers=timers_in_life(self.scenario.hold_time),
            tcp=self.endpoints,
            log=self.log,
            fill=self._fill,
            reader=self._happened,
        )
        for name in self.off:
            await stage.power_off(name)
        problems = await stage.boot(self.scenario.cluster.pods_per_node)
        self.report = await play(
            self.scenario,
            stage,
            self.world,
            wall=lambda: EPOCH + trio.current_time(),
            how=IN_MEMORY if self.endpoints is None else OVER_TCP,
            progress=self.progress,
            ups=lambda: self.ups,
            trouble=problems,
        )
        if self.afterwards is not None:
            await self.afterwards(stage)

    def _fill(self, store: MemoryStore) -> None:
        for document in first_documents(self.world, self.scenario.cluster.blocks_per_node, now=EPOCH):
            store.create(document)

    def _happened(self, _: str, event: Event) -> None:
        self.ups += event.reason == "SessionUp"


@attrs.frozen
class _Tick(trio.abc.Instrument):
    tick: Callable[[float], object]

    def before_io_wait(self, timeout: float) -> None:
        self.tick(trio.current_time())
