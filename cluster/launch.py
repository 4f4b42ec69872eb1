"""From a spec to a running cluster and back to nothing.

Owns the order of things. Everything that can be refused is refused before anything is started:

    name free? ─► manifests ─► world ─► sum ─► ports free?        (``prepare``; Refused, exit 2)
    ─► fork the shards ─► trio: Coordinator, screen, signals      (``launch``)
    ─► converged, or time is up ─► what became of it
    ─► with ``once`` the end, else until ``down``, Ctrl-C or SIGTERM

Without ``once`` the API is served from the moment that it has settled, or from SERVE_AFTER on when that takes longer:
a cluster that does not converge is the one to look into.

One way out, whatever the reason: the nursery is cancelled, the shards are killed and reaped, the run file is removed.
None of it waits for anybody.

Left out: the words (``cli.up_output``), the options (``cli.up``).
"""

from __future__ import annotations

import gc
import os
import signal
import socket
import sys
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING

import attrs
import trio

from agents.speaker.config import Timers
from agents.speaker.tcp_options import can_sign
from cluster.addressing import (
    AddressingError,
    Endpoints,
    busy_message,
    find_busy,
    has_wide_loopback,
    listeners,
)
from cluster.api import rundir
from cluster.cli.up_output import Goal, LostShard, Outcome, header, lost_line, pod_failure_lines
from cluster.cli.up_screen import Screen
from cluster.convergence import Progress
from cluster.coordinator import Coordinator
from cluster.datastore.memory import MemoryStore
from cluster.interruption import Interrupted, interruptible
from cluster.memory import (
    available_bytes,
    cores,
    cpu_seconds,
    descriptor_limit,
    ended_children_seconds,
    pss_bytes,
)
from cluster.plan import Machine, Plan, PlanError, make_plan
from cluster.processes import CannotStart, Processes, ShardProcess
from cluster.shard import PROGRESS_INTERVAL, Job, serve
from cluster.spec import Spec, SpecError, World, build
from cluster.topology import Topology, derive
from cluster.workloads import first_documents
from protocol.v3.bgp import BGPPeer
from protocol.v3.metadata import Resource

if TYPE_CHECKING:
    from protocol.v3.loader import Loaded

LAST_JUDGEMENT = 10.0
"""Seconds that the shards of a cluster which did not converge in time have to say what is wrong."""

SERVE_AFTER = 3.0
"""Seconds of converging after which the API is served all the same. A cluster that is quicker than that does not pay
for the import of the server, 0.25 s, while it converges."""

GC_THRESHOLD = 100_000


class Refused(Exception):
    """Nothing was started, or nothing of it is left. ``problems`` are the lines for the user."""

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


@attrs.frozen
class Prepared:
    """What is known before anything is started, and what is made of it."""

    spec: Spec
    world: World
    topology: Topology
    plan: Plan
    endpoints: Endpoints
    env: Mapping[str, str]  # of calico-node, on all nodes
    warnings: tuple[str, ...]  # of what the manifests say and surely do not mean

    def job(
        self,
        nodes: tuple[str, ...],
        progress_interval: float = PROGRESS_INTERVAL,
        off: Collection[str] = (),
    ) -> Job:
        return Job(
            nodes=nodes,
            off=tuple(off),
            endpoints=self.endpoints.table,
            introduce=not self.endpoints.wide,
            env=self.env,
            timers=Timers(hold=self.spec.hold_time),
            seed=self.spec.seed,
            progress_interval=progress_interval,
        )

    def fill_store(self) -> MemoryStore:
        store = MemoryStore(wall=time.time)
        for document in first_documents(self.world, self.spec.blocks_per_node, now=time.time()):
            store.create(document)
        return store

    def coordinator(
        self,
        store: MemoryStore,
        shards: Sequence[ShardProcess],
        *,
        clock: Callable[[], float],
        shard_lost: Callable[[ShardProcess], None],
        off: Collection[str] = (),
    ) -> Coordinator:
        return Coordinator(
            name=self.spec.name,
            pid=os.getpid(),
            topology=self.topology,
            store=store,
            shards=shards,
            endpoints=self.endpoints,
            env=self.env,
            pods_per_node=self.spec.pods_per_node,
            hold_time=self.spec.hold_time,
            clock=clock,
            shard_lost=shard_lost,
            off=off,
        )


def prepare(spec: Spec) -> Prepared:
    """Reads, checks and counts. Raises Refused with all that is wrong."""
    loaded = _load(spec.manifests)
    prepared = prepare_with(spec, () if loaded is None else loaded.resources)
    return attrs.evolve(prepared, warnings=_warnings(loaded, prepared.world))


def prepare_with(spec: Spec, resources: Sequence[Resource]) -> Prepared:
    """The same with resources in hand, instead of those of ``spec.manifests``; without warnings."""
    try:
        world = build(spec, resources)
        topology = derive(world.nodes, world.bgp_configuration, world.of_kind(BGPPeer), world.routers)
        machine = Machine(descriptors=descriptor_limit(), cores=cores(), memory=available_bytes())
        plan = make_plan(
            topology.loads(spec.blocks_per_node), topology=topology.name, machine=machine, shards=spec.shards
        )
        addresses = world.addresses()
        endpoints = Endpoints(spec.bgp_port, wide=has_wide_loopback())
        endpoints.add(address for several in addresses.values() for address in several)
        where = listeners(endpoints, addresses, world.listen_ports())
        busy = find_busy(endpoint for several in where.values() for endpoint in several)
    except SpecError as error:
        raise Refused(*error.problems) from None
    except (PlanError, AddressingError) as error:
        raise Refused(str(error)) from None
    if busy is not None:
        raise Refused(busy_message(busy, where))
    if not can_sign() or not endpoints.wide:
        unsigned = [*world.passwords()]
        if unsigned:
            raise Refused(
                *(f"{field}: this computer has no TCP MD5 signatures (RFC 2385)" for field in unsigned)
            )
    return Prepared(spec, world, topology, plan, endpoints, world.environment(), ())


def _load(manifests: tuple[str, ...]) -> Loaded | None:
    if not manifests:
        return None
    from protocol.v3.loader import MAX_FILE, STDIN, ManifestError, load  # noqa: PLC0415  # 0.1 s, most runs have none

    try:
        stdin = sys.stdin.buffer.read(MAX_FILE + 1) if STDIN in manifests else b""
        return load(manifests, stdin)
    except ManifestError as error:
        raise Refused(*map(str, error.problems)) from None


def _warnings(loaded: Loaded | None, world: World) -> tuple[str, ...]:
    if loaded is None:
        return ()
    from cluster.remarks import remarks  # noqa: PLC0415  # as above

    return tuple(remarks(loaded, world))


def launch(
    prepared: Prepared,
    *,
    screen: Screen,
    run_file: rundir.RunFile | None,
    born: float,
    settled: Callable[[Outcome], None],
    serving: Callable[[], None],
) -> Outcome:
    """Runs the cluster to its end and returns what had become of it when it settled.

    Args:
        run_file: the claimed name under which the API is served; None: there is none, and the end comes at once.
        born: when the program was started, in seconds of time.monotonic().
        settled: called with the outcome, converged or not.
        serving: called after that, when the API can be asked.

    Raises:
        Interrupted: a signal, or ``down``, which counts as SIGTERM, came before it had settled.
        Refused: a process could not be made, or a node's port was taken after all.
    """
    gc.disable()  # what is made from here on is meant to stay
    shards = prepared.plan.shards
    not_ours = ended_children_seconds()  # the set-up's, when ./run did one before it became this program

    def serve_shard(index: int, stream: socket.socket) -> None:
        serve(prepared.job(shards[index]), stream)

    screen.line(header(prepared.plan))
    gc.freeze()  # so that no collection in a shard touches, and copies, what is shared
    try:
        with Processes(shards, serve_shard) as processes:
            # After the fork: no shard looks into the store, and what they inherited of it would be memory for nothing.
            store = prepared.fill_store()
            gc.set_threshold(GC_THRESHOLD)
            gc.enable()
            run = _Run(prepared, store, processes, screen, run_file, born, not_ours, settled, serving)
            trio.run(run.main)
    except CannotStart as error:
        raise Refused(str(error)) from None
    assert run.outcome is not None
    return run.outcome


@attrs.define
class _Run:
    """One cluster in one trio.run."""

    prepared: Prepared
    store: MemoryStore
    processes: Processes
    screen: Screen
    run_file: rundir.RunFile | None
    born: float
    not_ours: float  # CPU seconds
    settled: Callable[[Outcome], None]
    serving: Callable[[], None]
    progress: Progress = attrs.field(factory=Progress)  # when it settled
    outcome: Outcome | None = None
    refusal: Refused | None = None
    signals: list[int] = attrs.field(factory=list)
    said: trio.Event = attrs.field(factory=trio.Event)  # what has become of it
    served: trio.Event = attrs.field(factory=trio.Event)

    async def main(self) -> None:
        coordinator = self.prepared.coordinator(
            self.store,
            self.processes.shards,
            clock=self.clock,
            shard_lost=lambda shard: self.screen.line(lost_line(_lost(shard))),
        )
        async with interruptible(self.signals) as nursery:
            self.processes.accept_signals()
            nursery.start_soon(coordinator.run)
            if self.run_file is not None:
                nursery.start_soon(self._serve, coordinator, self.run_file, nursery)
            await self._settle(coordinator)
            if self.refusal is None:
                self.outcome = self._make_outcome(coordinator)
                self.settled(self.outcome)
                if self.run_file is not None:
                    self.said.set()
                    await self.served.wait()
                    self.serving()
                    await trio.sleep_forever()
        # Raised here, outside of the nursery, which would wrap it.
        if self.refusal is not None:
            raise self.refusal
        if self.outcome is None:
            raise Interrupted(self.signals[-1])

    def clock(self) -> float:
        return time.monotonic() - self.born

    async def _settle(self, coordinator: Coordinator) -> None:
        async with self.screen, trio.open_nursery() as nursery:
            nursery.start_soon(self._show_progress, coordinator)
            with trio.move_on_after(max(0.0, self.prepared.spec.timeout - self.clock())):
                await coordinator.settled.wait()
            if coordinator.failure is not None:
                self.refusal = Refused(": ".join(coordinator.failure))
            self.progress = coordinator.jury.progress
            if self.refusal is None and coordinator.booted and coordinator.milestones.converged is None:
                with trio.move_on_after(LAST_JUDGEMENT):
                    await coordinator.judge_now()
                    self.progress = coordinator.jury.judged  # the reports are older than that
            self.screen.progress(self.clock(), self.progress, self._goal(coordinator))
            nursery.cancel_scope.cancel()
        for line in pod_failure_lines(coordinator.pod_failures):
            self.screen.line(line)

    async def _show_progress(self, coordinator: Coordinator) -> None:
        while True:
            await trio.sleep(self.screen.interval)
            self.screen.progress(self.clock(), coordinator.jury.progress, self._goal(coordinator))

    def _goal(self, coordinator: Coordinator) -> Goal:
        expectation = coordinator.expectation
        spec, nodes = self.prepared.spec, len(self.prepared.world.nodes)
        if expectation is None:
            routes = nodes * (nodes * spec.blocks_per_node + spec.pods_per_node)
            return Goal(nodes=nodes, sessions=self.prepared.topology.total, routes=routes)
        return Goal(nodes=nodes, sessions=expectation.session_ends // 2, routes=expectation.all_routes)

    def _make_outcome(self, coordinator: Coordinator) -> Outcome:
        pids = [shard.pid for shard in self.processes.shards if shard.ended is None]
        cpu = cpu_seconds(pids) - self.not_ours
        verdict, goal, milestones = coordinator.jury.verdict, self._goal(coordinator), coordinator.milestones
        elapsed = self.clock()
        return Outcome(
            topology=self.prepared.topology.name,
            nodes=goal.nodes,
            routers=len(self.prepared.world.routers),
            shards=len(self.processes.shards),
            sessions_expected=goal.sessions,
            sessions_established=self.progress.session_ends // 2,
            routes_expected=goal.routes,
            routes_programmed=verdict.programmed,
            # What nobody judged is missing.
            routes_missing=verdict.missing + goal.routes - verdict.expected,
            routes_extra=verdict.extra,
            start_seconds=milestones.listening,
            sessions_seconds=milestones.sessions,
            converged_seconds=milestones.converged,
            elapsed=elapsed,
            cpu_seconds=cpu,
            memory_bytes=pss_bytes([os.getpid(), *pids]),
            differences=verdict.differences,
            lost=tuple(map(_lost, coordinator.lost)),
        )

    async def _serve(self, coordinator: Coordinator, run_file: rundir.RunFile, nursery: trio.Nursery) -> None:
        with trio.move_on_after(SERVE_AFTER):
            await self.said.wait()
        # Abandoned, because beside a cluster that converges the import takes seconds, which Ctrl-C does not have.
        server = await trio.to_thread.run_sync(_import_server, abandon_on_cancel=True)
        await nursery.start(server, coordinator, self.store, run_file)
        self.served.set()
        await coordinator.down_requested.wait()
        self.signals.append(signal.SIGTERM)  # which is what `down` sends to a cluster that does not serve yet
        nursery.cancel_scope.cancel()


def _import_server() -> Callable[..., Awaitable[None]]:
    from cluster.api.server import serve  # noqa: PLC0415  # 0.25 s, when there is time for it

    return serve


def _lost(shard: ShardProcess) -> LostShard:
    return LostShard(number=shard.number, how=shard.ended or "", nodes=shard.nodes)
