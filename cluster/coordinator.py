"""The coordinator: owns the datastore, starts the nodes of all shards together, watches, judges, answers.

    MemoryStore ─ Typha ─┬─ Connection ══ shard 1        a task each, to the end of the shard
                         └─ Connection ══ shard k
    boot:    all shards "listening" ─► pods on all nodes ─► all start to dial       once
    hosting: nodes and routers that were created, moved or deleted                   from then on
    attend:  woken by reports, by writes, by deaths ─► ask shards to judge           for ever

Boot has a barrier, so that no dial is refused. Pods come before the sessions, so that the first UPDATE of a node says
all that it has to say.

A cluster has converged when every living shard has judged all of its nodes exactly equal at the datastore's current
revision, and the sessions are all up or nothing moves any more (a table can be right before the last of several
reflectors is heard). Attending does not end there: whatever changes later is judged again.

A shard that dies takes its nodes down, nothing else; a node may be down because it cannot listen, or because somebody
wanted it so (``faults``). The oracle is told which nodes are down and who is cut off from whom, and the rest converges
to what is left. Nodes and routers that come and go later are ``hosting``'s.

Left out: the processes themselves (``processes``), what is printed (``cli.up``), the words of ``status``
(``overview``), HTTP (``api``).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Any

import attrs
import trio

from agents.speaker.config import Timers
from cluster.addressing import Endpoints
from cluster.api.control import NodeDown, NoSuchNode
from cluster.cleanup import Cleanup
from cluster.convergence import Jury, Progress, Verdict
from cluster.datastore.memory import Change, MemoryStore
from cluster.expectation import Expectation, Expectations
from cluster.faults import Faults
from cluster.faults import State as Fault
from cluster.hosting import Hosting
from cluster.losswatch import LossWatch
from cluster.oracle import Oracle
from cluster.overview import converged_line, converging_line, shard_row, topology_of
from cluster.processes import ShardProcess
from cluster.topology import Topology
from cluster.typha import Connection, Typha
from cluster.views import ClusterStatus, EventRow, PeerRow, RouteRow
from cluster.whatif.state import State
from protocol.sync.errors import Unreachable

_NO_ENVIRONMENT: Mapping[str, str] = MappingProxyType({})

IDLE_LOOK = 0.1
"""Seconds between two looks while nothing is heard and the cluster has not converged, or its tables have moved since
it was judged."""

POLITE = 0.5
"""Seconds that a view of the whole cluster waits for a shard: one that is stopped must not hide the others."""

UNMET = (
    "peers without a session: nobody is there, or the other end does not ask for it, or the two differ in AS, "
    "password or TTL; ./run node status NODE"
)
"""A note: what a real cluster would show as sessions that are down, and no sum of those that can be up has."""

LAST_WORDS = 1.0
"""Seconds that a process whose stream has ended may take to end itself; then it is killed."""


@attrs.define(kw_only=True)
class Milestones:
    """When things were reached, by the coordinator's clock; None: not yet."""

    listening: float | None = None
    sessions: float | None = None
    converged: float | None = None


class Coordinator:
    """One cluster. ``clock`` counts the seconds since the program was started. Implements ``api.ClusterControl``."""

    def __init__(
        self,
        *,
        name: str,
        pid: int,
        topology: Topology,
        store: MemoryStore,
        shards: Sequence[ShardProcess],
        endpoints: Endpoints,
        env: Mapping[str, str] = _NO_ENVIRONMENT,
        pods_per_node: int,
        hold_time: float = Timers().hold,
        clock: Callable[[], float],
        shard_lost: Callable[[ShardProcess], None],
        off: Collection[str] = (),
    ) -> None:
        self.milestones = Milestones()
        self.lost: list[ShardProcess] = []
        self.pod_failures: list[str] = []
        self.started = trio.Event()
        """All nodes have begun to dial, or that will not be."""
        self.settled = trio.Event()
        """Converged for the first time, or it never will: ``failure``, or no shard is left."""
        self.failure: tuple[str, str] | None = None
        """A node that could not listen, and why."""
        self.down_requested = trio.Event()
        self.jury = Jury(shard.number for shard in shards)
        self._name = name
        self._pid = pid
        self._topology = topology
        self._store = store
        self._shards = {shard.number: shard for shard in shards}
        self._connections: dict[int, Connection] = {}
        self._cleanup = Cleanup(store, wall=time.time)
        self._hosting = Hosting(
            store=store,
            shards=self._shards,
            endpoints=endpoints,
            pods_per_node=pods_per_node,
            ask=self._ask_shard,
            changed=self._wake,
            evicted=self._evicted,
        )
        self.faults = Faults(
            states=dict.fromkeys(sorted(off), Fault.OFF),
            hosts=self._hosting.host_of,
            ask=self._ask_shard,
            ask_all=self.ask_all,
            changed=self._wake,
        )
        self.losses = LossWatch(
            store=store,
            faults=self.faults,
            ask_all=self.ask_all,
            shards=lambda: self._connections,
            dead=lambda: [node for shard in self.lost for node in shard.nodes],
        )
        self._pods_per_node = pods_per_node
        self._env = env
        self._hold_time = hold_time
        self._clock = clock
        self._shard_lost = shard_lost
        self._listening: set[int] = set()
        self._asked: set[int] = set()  # shards with a judgement under way
        self._told: dict[int, Expectation] = {}  # which of them a shard has
        self._expectations = Expectations(
            store=store,
            hosting=self._hosting,
            faults=self.faults,
            jury=self.jury,
            shards=self._shards.keys(),
            down=self._down,
            oracle=Oracle(env),
        )
        self.booted = False
        """All nodes listen, have their pods and have begun to dial: only now does the datastore ask for all it will."""
        self._news = trio.Event()

    # -- running --------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Serves the shards, boots, attends; until cancelled."""
        typha = Typha(self._store)
        stop = self._store.watch(self._written)
        try:
            async with trio.open_nursery() as nursery:
                for shard in self._shards.values():
                    stream = trio.SocketStream(trio.socket.from_stdlib_socket(shard.socket))
                    shard.socket.setblocking(False)
                    connection = typha.connect(stream, partial(self._reported, shard.number))
                    self._connections[shard.number] = connection
                    nursery.start_soon(self._serve, shard, connection)
                await self._boot()
                nursery.start_soon(self._hosting.run)
                nursery.start_soon(self.losses.run)
                await self._attend(nursery)
        finally:
            stop()
            typha.close()

    async def _serve(self, shard: ShardProcess, connection: Connection) -> None:
        await connection.run()
        with trio.move_on_after(LAST_WORDS):
            while not shard.look():  # noqa: ASYNC110  # no event tells of a process's end on every system
                await trio.sleep(0.002)
        shard.kill()
        shard.reap()
        del self._connections[shard.number]
        self.jury.dismiss(shard.number)
        self.lost.append(shard)
        self.losses.shard_lost(shard.number, shard.nodes)
        self._shard_lost(shard)
        self._wake()

    def _reported(self, shard: int, subject: str, params: Any) -> None:
        if subject == "progress":
            self.jury.report(shard, Progress.from_wire(params), self._clock())
        elif subject == "fibs":
            self.losses.reported(shard, params)
            return
        elif subject == "listening":
            self._listening.add(shard)
        elif subject == "health":
            name, reason = params
            self._hosting.health(name, reason)
            if not self.booted and reason:
                self.failure = name, reason
                self.started.set()
                self.settled.set()
        self._wake()

    def _written(self, change: Change) -> None:
        self._hosting.written(change)
        if self.booted:
            self._wake()

    async def _evicted(self, name: str) -> None:
        await self.faults.evicted(name)
        await self._cleanup.sweep(name)

    def _wake(self) -> None:
        self._news.set()

    async def _boot(self) -> None:
        while not self._connections.keys() <= self._listening:
            await self._next_news()
        self.milestones.listening = self._clock()
        if self._pods_per_node:
            for failures in await self.ask_all("add_pods", [self._pods_per_node, []]):
                self.pod_failures += failures
        await self.ask_all("start")
        self.booted = True
        self.started.set()
        self._wake()

    async def _next_news(self, within: float = float("inf")) -> None:
        with trio.move_on_after(within):
            await self._news.wait()
        self._news = trio.Event()

    async def ask_all(self, method: str, params: Any = None, within: float = float("inf")) -> list[Any]:
        """The answers of all shards that lived to give one, in time; in the order of the shards."""
        answers: dict[int, Any] = {}

        async def ask(number: int, connection: Connection) -> None:
            try:
                answers[number] = await connection.call(method, params)
            except Unreachable:
                pass

        with trio.move_on_after(within):
            async with trio.open_nursery() as nursery:
                for number, connection in self._connections.items():
                    nursery.start_soon(ask, number, connection)
        return [answers[number] for number in sorted(answers)]

    # -- judging --------------------------------------------------------------------------------------------------

    async def _attend(self, nursery: trio.Nursery) -> None:
        while True:
            expectation = await self._expectations.find()
            now = self._clock()
            for number in [*self._connections]:
                if number not in self._asked and self.jury.ready(
                    number, routes_expected=expectation.routes[number], revision=expectation.revision, now=now
                ):
                    self._asked.add(number)
                    nursery.start_soon(self._judge, number, expectation)
            if (
                self.jury.progress.session_ends >= expectation.session_ends
                and self.milestones.sessions is None
            ):
                self.milestones.sessions = now
            if self.converged and self.milestones.converged is None:
                self.milestones.converged = now
                self.settled.set()
            if not self._connections:
                self.settled.set()
            rest = self.converged and self.jury.current  # else some shard will be ready, and nobody says when
            await self._next_news(float("inf") if rest else IDLE_LOOK)

    @property
    def expectation(self) -> Expectation | None:
        """The latest; None before the first."""
        return self._expectations.latest

    @property
    def converged(self) -> bool:
        expectation = self.expectation
        return (
            expectation is not None
            and self._expectations.is_current(expectation)
            and self.jury.converged(expectation.revision)
            and (
                self.jury.progress.session_ends >= expectation.session_ends or self.jury.quiet(self._clock())
            )
        )

    @property
    def hosts(self) -> Mapping[str, int]:
        """The shard of every node and router that has been given one."""
        return self._hosting.host_of

    def _down(self) -> dict[str, None]:
        """Nodes and routers that do not work: their shard has died, they cannot listen, or somebody wanted it so."""
        dead = (node for shard in self.lost for node in shard.nodes)
        return dict.fromkeys([*dead, *self._hosting.down, *self.faults.down])

    async def _judge(self, number: int, expectation: Expectation) -> None:
        """Ask one shard, and take its word."""
        known = self._told.get(number) is expectation
        facts = None if known else expectation.oracle.to_wire(self._shards[number].nodes)
        try:
            verdict, counts = await self._connections[number].call("judge", [expectation.revision, facts])
        except (Unreachable, KeyError):
            return  # it has died meanwhile
        finally:
            self._asked.discard(number)
        self._told[number] = expectation
        if expectation is self.expectation:
            self.jury.judge(number, Verdict.from_wire(verdict), Progress.from_wire(counts), self._clock())
        self._wake()

    async def judge_now(self) -> None:
        """Every living shard's word on things as they are, whether or not it is time.

        When all tables are right the cluster has converged, though sessions may be missing. Not to be called before
        it is booted: right are also the empty tables of nodes that nothing was asked of yet.
        """
        expectation = await self._expectations.find()
        async with trio.open_nursery() as nursery:
            for number in [*self._connections]:
                nursery.start_soon(self._judge, number, expectation)
        if self.jury.converged(self._store.revision):
            self.milestones.converged = self._clock()

    # -- ClusterControl -------------------------------------------------------------------------------------------

    async def status(self) -> ClusterStatus:
        notes: dict[str, list[str]] = {}
        for of_shard in await self.ask_all("notes", within=POLITE):
            for name, texts in of_shard.items():
                for text in texts:
                    notes.setdefault(text, []).append(name)
        progress = self.jury.progress
        expectation = self.expectation
        routers, down = self._hosting.routers, self._down()
        if expectation is not None and not down and progress.session_ends >= expectation.session_ends:
            # All that can be up is: what is not was configured in vain.
            unmet = [name for names in await self.ask_all("unmet", within=POLITE) for name in names]
            if unmet:
                notes[UNMET] = sorted(unmet)
        return ClusterStatus(
            name=self._name,
            pid=self._pid,
            topology=topology_of(self._store).name,
            uptime=self._clock(),
            nodes=len(self._hosting.host_of) - len(routers),
            routers=len(routers),
            nodes_down=[name for name in down if name not in routers],
            routers_down=[name for name in down if name in routers],
            faults=self.faults.lines,
            notes=notes,
            shards=[shard_row(shard, self.jury) for shard in self._shards.values()],
            sessions_expected=expectation.session_ends // 2 if expectation else self._topology.total,
            sessions_established=progress.session_ends // 2,
            routes_expected=expectation.all_routes if expectation else 0,
            routes_programmed=progress.routes,
            convergence=self._convergence_line(),
        )

    async def state(self) -> State:
        wanted = {fault: self.faults.names_of(fault) for fault in Fault}
        dead = {node for shard in self.lost for node in shard.nodes}
        return State(
            name=self._name,
            revision=self._store.revision,
            documents=tuple(self._store.documents()),
            off=tuple(sorted({*dead, *wanted[Fault.OFF]})),
            ill=tuple(sorted(self._hosting.down.keys() - dead - self.faults.states.keys())),
            stopped=tuple(wanted[Fault.STOPPED]),
            frozen=tuple(wanted[Fault.FROZEN]),
            cut=tuple(sorted(self.faults.cuts)),
            env=self._env,
            hold_time=self._hold_time,
            time=time.time(),
        )

    def _convergence_line(self) -> str:
        if not self.booted:
            return f"starting: the nodes of {len(self._listening)} of {len(self._shards)} shards listen"
        if self.converged and self.expectation is not None:
            living = len(self._hosting.host_of) - len(self._down())
            return converged_line(living, self.expectation.oracle.unsettled)
        return converging_line(self.jury)

    async def birdc(self, node: str, family: int, command: str) -> str:
        text: str = await self.ask(node, "birdc", family, command)
        return text

    async def node_status(self, node: str) -> list[PeerRow]:
        rows: list[PeerRow] = await self.ask(node, "node_status")
        return rows

    async def ip_route(self, node: str, family: int) -> list[RouteRow]:
        rows: list[RouteRow] = await self.ask(node, "ip_route", family)
        return rows

    async def events(self, node: str | None) -> list[EventRow]:
        if node is not None:
            rows: list[EventRow] = await self.ask(node, "events")
            return rows
        return [row for rows in await self.ask_all("events", [], POLITE) for row in rows]

    async def fault(self, action: str, nodes: Sequence[str]) -> None:
        if not self.booted:
            raise Unreachable("the cluster is starting: what does not run yet cannot be stopped")
        await self.faults.act(action, nodes)

    def leave_new_nodes_bare(self) -> None:
        """Nodes that come from now on get no pods of their own accord."""
        self._hosting.pods_per_node = 0

    def request_down(self) -> None:
        self.down_requested.set()

    async def ask(self, node: str, method: str, *params: Any) -> Any:
        number = self._hosting.host_of.get(node)
        if number is None:
            raise NoSuchNode(f"no node {node!r} in cluster {self._name!r}")
        try:
            return await self._ask_shard(number, method, [node, *params])
        except Unreachable:
            raise NodeDown(
                f"node {node} is down: shard {number}, which hosted it, {self._shards[number].ended}"
            ) from None

    async def _ask_shard(self, number: int, method: str, params: Any) -> Any:
        connection = self._connections.get(number)
        if connection is None:
            raise Unreachable(f"shard {number} is gone: it {self._shards[number].ended or 'hung up'}")
        return await connection.call(method, params)
