"""A shard: one process, one trio.run, many nodes.

Owns the nodes of one process from their start to the end of the coordinator's stream, and answers what the
coordinator asks about them.

    coordinator ◄══ one stream ══► Syncer ──► View ──► node 1, node 2, … node n     a task each
                                     │
                                     └─ handle: start, host, judge, birdc, …        a task each call

    Start, with a barrier, so that nobody dials a node that does not listen yet:

      Watch ─► snapshot ─► every node listens ─► report "listening"
                                                 "add_pods" ─► pods have their addresses
                                                 "start"    ─► every node dials
      then: report "progress" whenever the counts have changed; "judge" when asked.

Nodes come and go later: "endpoints" brings the addresses of whoever is new, here or elsewhere, "host" starts a node and
"evict" ends one. A node that cannot listen is down and tries again; the coordinator hears of both ("health"). A pod
that gets no address is asked for again when what IPAM goes by is different, as kubelet would; until then it is a note.

The end of the stream ends the shard. An error in a node that is nobody's fault but ours ends it too: the
coordinator reports a shard that died with what it hosted.

Garbage collection is off while everything that comes into being is meant to stay; what the start has made is frozen,
and later collections come every hundred thousand objects: routes arrive in the millions and hold no cycles.
"""

from __future__ import annotations

import gc
import socket
import time
from collections.abc import Mapping
from typing import Any

import attrs
import trio

from agents.confd.derive import Confd
from agents.journal import Event
from agents.node import Host, Node
from agents.speaker import birdc
from agents.speaker.birdc_control import Operator
from agents.speaker.config import Timers
from agents.speaker.inspect import Inspector
from agents.speaker.tcp import TcpNetwork
from agents.syncer import Syncer, View
from cluster.census import census
from cluster.convergence import Progress
from cluster.fibfeed import FibFeed, rows
from cluster.judge import Judge
from cluster.lives import Lives
from cluster.memory import return_large_blocks
from cluster.pods import Pods
from cluster.rehearsal.weather import Weather
from cluster.spec import HOSTED, addresses_of
from cluster.views import event_rows, peer_rows, route_rows
from cluster.workloads import pod_names
from protocol.bgp.fsm import STATE_NAMES
from protocol.prefix import IPV4, Address
from protocol.sync.errors import Invalid, NotFound
from protocol.v3.lab import Router
from protocol.v3.metadata import Key, Resource
from protocol.v3.node import Node as NodeResource

PROGRESS_INTERVAL = 0.02
"""Seconds between two reports of the counts: short against what a person sees, long against what one costs."""

FIBS_INTERVAL = 0.05
"""Seconds between two batches of changes of the tables, when somebody wants them: they carry their times themselves."""

GC_THRESHOLD = 100_000


@attrs.frozen(kw_only=True)
class Job:
    """What a shard is told by being forked."""

    nodes: tuple[str, ...]
    endpoints: Mapping[Address, tuple[str, int]]
    introduce: bool  # the endpoints differ by port alone
    timers: Timers
    seed: int
    off: tuple[str, ...] = ()  # who has no power yet, anywhere
    env: Mapping[str, str] = attrs.field(factory=dict)  # of everybody's confd
    progress_interval: float = PROGRESS_INTERVAL


def serve(job: Job, stream: socket.socket) -> None:
    """The life of a shard process, up to the end of the coordinator."""

    async def main() -> None:
        await Shard(job, stream).run()

    gc.disable()
    return_large_blocks()
    trio.run(main)


class Shard:
    """Made inside trio.run. ``stream`` is its end of the pair."""

    def __init__(self, job: Job, stream: socket.socket) -> None:
        stream.setblocking(False)
        view = View()
        self._job = job
        self._syncer = Syncer(
            trio.SocketStream(trio.socket.from_stdlib_socket(stream)),
            view,
            changed=self._changed,
            handle=self._handle,
        )
        self._network = TcpNetwork(job.endpoints, introduce=job.introduce)
        self._weather = Weather(self._network, self._addresses)
        self._host = Host(
            view=view,
            datastore=self._syncer,
            network=self._weather,
            confd=Confd(view, job.timers, job.env),
            wall=time.time,
            health=self._health,
            reader=self._happened,
            seed=job.seed,
        )
        self._nodes = self._host.nodes
        self._hosted = dict.fromkeys(job.nodes)
        self._started = False
        self._judge = Judge(self._hosted.keys(), self._nodes, self._host.routes)
        self._ups = 0
        """Ends of sessions that came up, and went."""
        self._fibs = FibFeed(time.monotonic)
        self._reporting = trio.CancelScope()
        self._nursery: trio.Nursery
        self._lives: Lives
        self._pods: Pods

    async def run(self) -> None:
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            self._pods = Pods(self._host, nursery)
            self._lives = Lives(self._host, nursery, self._fibs.made)
            nursery.start_soon(self._follow, nursery.cancel_scope)
            self._syncer.watch(self._hosted)
            await self._syncer.in_sync.wait()
            for name in self._job.off:
                self._weather.power_off(name)
            for name in self._job.nodes:
                if name not in self._weather.off:
                    await self._lives.start(name, bgp=False)
            gc.freeze()
            gc.set_threshold(GC_THRESHOLD)
            gc.enable()
            await self._syncer.report("listening")
            await self._report_progress()

    async def _follow(self, scope: trio.CancelScope) -> None:
        await self._syncer.run()
        scope.cancel()

    def _health(self, name: str, reason: str) -> None:
        self._nursery.start_soon(self._syncer.report, "health", [name, reason])

    def _happened(self, name: str, event: Event) -> None:
        self._ups += event.reason == "SessionUp"

    def _changed(self, keys: list[Key]) -> None:
        self._host.changed(keys)
        for kind, _, name in keys:
            if kind in HOSTED:
                self._weather.moved(name)
        self._pods.changed(keys)

    # -- what the coordinator asks ------------------------------------------------------------------------------------

    async def _handle(self, method: str, params: Any) -> object:
        match method, params:
            case "start", _:
                self._started = True
                for node in self._nodes.values():
                    node.start_bgp()
                return None
            case "endpoints", [*endpoints]:
                self._learn(endpoints)
                return None
            case "host", [str(name)]:
                self._hosted[name] = None
                self._syncer.watch(self._hosted)
                await self._lives.start(name, bgp=self._started)
                return None
            case "evict", [str(name)]:
                await self._evict(name)
                return None
            case "weather", [str(what), [*names]]:
                self._befall(what, names)
                return None
            case "boot", [str(name)]:
                await self._lives.start(name, bgp=self._started)
                self._pods.feed_again(name)
                return None
            case "stop", [str(name)]:
                self._weather.thaw(name)  # with nothing in between: killed daemons have no last word
                await self._lives.stop(name)
                return None
            case "power_off", [str(name)]:
                await self._power_off(name)
                return None
            case "add_pods", [int(count), [*names]]:
                fed = [name for name in names or self._nodes if name not in self._routers()]
                return await self._pods.add({name: pod_names(name, count) for name in fed})
            case "judge", [int(revision), facts]:
                return [self._judge.judge(revision, facts).to_wire(), self._progress().to_wire()]
            case "birdc", [str(name), int(family), str(command)]:
                return self._birdc(self._speaking(name), family, command)
            case "node_status", [str(name)]:
                node = self._speaking(name)
                if node.down:
                    raise NotFound(f"Calico process is not running: {_why_down(node)}")
                return [
                    row for family in node.speakers for row in peer_rows(self._inspect(node, family).status())
                ]
            case "ip_route", [str(name), int(family)]:
                node = self._machine(name)
                return route_rows(node.fib.routes, family, node.felix_routes)
            case "fib", [str(name)]:
                return rows(self._machine(name).fib.routes)
            case "watch_fibs", [bool(wanted)]:
                await self._watch_fibs(wanted)
                return None
            case "report_fibs", _:
                await self._report_fibs()
                return None
            case "sessions", _:
                rows_of = map(self._sessions, self._nodes.values())
                return [[row for rows in rows_of for row in rows], self._ups]
            case "add_named_pods", [str(name), [*pods]]:
                return await self._pods.add({name: pods})
            case "delete_pods", [str(name), [*pods]]:
                self._node(name)
                return await self._pods.delete(name, pods)
            case "events", [*names]:
                return [
                    row for name in names or self._nodes for row in event_rows(name, self._node(name).journal)
                ]
            case "notes", _:
                return {name: notes for name in self._nodes if (notes := self._notes(name))}
            case "census", _:
                return census().to_wire()
            case "unmet", _:
                return [name for name, node in self._nodes.items() if node.unmet]
        raise Invalid(f"no such call: {method[:40]} with these parameters")

    def _node(self, name: str) -> Node:
        node = self._nodes.get(name)
        if node is None:
            stopped = name in self._lives.stopped
            raise NotFound(f"calico-node is stopped on {name}" if stopped else f"node {name} is not running")
        return node

    def _speaking(self, name: str) -> Node:
        node = self._node(name)
        if name in self._weather.frozen:
            raise NotFound(f"BIRD does not answer on {name}: it is frozen")
        return node

    def _machine(self, name: str) -> Node:
        """The node, or the last that there was on a kernel that is still there."""
        return self._lives.stopped.get(name) or self._node(name)

    def _resource(self, name: str) -> Resource | None:
        view = self._host.view
        return view.get(NodeResource.kind, name) or view.get(Router.kind, name)

    def _addresses(self, name: str) -> tuple[Address, ...]:
        resource = self._resource(name)
        return () if resource is None else tuple(addresses_of(resource).values())

    def _befall(self, what: str, names: list[str]) -> None:
        """What all nodes hear, or do not hear any more, of these."""
        match what, names:
            case "power_off", [name]:
                self._weather.power_off(name)
            case "power_on", [name]:
                self._weather.power_on(name)
            case "freeze", [name]:
                self._weather.freeze(name)
            case "thaw", [name]:
                self._weather.thaw(name)
            case "cut", [one, other]:
                self._weather.cut(one, other)
            case "heal", [one, other]:
                self._weather.heal(one, other)
            case "removed", [name]:
                self._weather.removed(name)
            case _:
                raise Invalid(f"no such weather: {what[:40]} with these parameters")

    def _learn(self, endpoints: list[tuple[bytes, str, int]]) -> None:
        self._network.learn({Address(address): (host, port) for address, host, port in endpoints})
        for node in self._nodes.values():
            if node.down:
                node.wake()

    async def _evict(self, name: str) -> None:
        """The node is gone for good, and its machine with it."""
        if name in self._hosted:
            del self._hosted[name]
            await self._lives.remove(name)
            self._fibs.gone(name)
            self._pods.forget(name)
            self._syncer.watch(self._hosted)

    async def _power_off(self, name: str) -> None:
        await self._lives.power_off(name)
        self._fibs.gone(name)

    def _notes(self, name: str) -> tuple[str, ...]:
        lacking = self._pods.note(name)
        return (*self._nodes[name].notes, lacking) if lacking else self._nodes[name].notes

    def _routers(self) -> set[str]:
        return {name for _, _, name in self._host.view.all(Router.kind)}

    def _birdc(self, node: Node, family: int, command: str) -> str:
        inspector = self._inspect(node, family)
        operator = Operator(node.speakers[family], trio.current_time())
        reply = birdc.answer(command, inspector.status(), inspector.routes, operator)
        node.links[family].wake()  # what it did is sent
        return reply

    def _inspect(self, node: Node, family: int) -> Inspector:
        speaker = node.speakers.get(family)
        if speaker is None:
            why = _why_down(node) or f"the node has no IPv{4 if family == IPV4 else 6} address"
            raise NotFound(f"BIRD is not running on {node.name}: {why}")
        return Inspector(speaker, now=trio.current_time(), wall=time.time())

    @staticmethod
    def _sessions(node: Node) -> list[list[Any]]:
        """Every end: the node, the stanza, the neighbour's address, the family, the FSM's state, why it is not up."""
        return [
            [
                node.name,
                peer.config.name,
                peer.address,
                family,
                STATE_NAMES[peer.session.state],
                peer.session.last_error,
            ]
            for family, speaker in node.speakers.items()
            for peer in speaker.peers.values()
        ]

    # -- changes of tables --------------------------------------------------------------------------------------------

    async def _watch_fibs(self, wanted: bool) -> None:
        if wanted == self._fibs.listening:
            return
        self._reporting.cancel()
        if not wanted:
            self._fibs.end(self._lives.fibs)
            return
        self._fibs.begin(self._lives.fibs)
        self._reporting = trio.CancelScope()
        self._nursery.start_soon(self._keep_reporting_fibs, self._reporting)

    async def _keep_reporting_fibs(self, scope: trio.CancelScope) -> None:
        with scope:
            while True:
                await self._report_fibs()
                await trio.sleep(FIBS_INTERVAL)

    async def _report_fibs(self) -> None:
        """With the time up to which this is all."""
        await self._syncer.report("fibs", [time.monotonic(), self._fibs.take()])

    # -- progress -----------------------------------------------------------------------------------------------------

    async def _report_progress(self) -> None:
        told = Progress()
        while True:
            counts = self._progress()
            if counts != told:
                told = counts
                await self._syncer.report("progress", counts.to_wire())
            await trio.sleep(self._job.progress_interval)

    def _progress(self) -> Progress:
        frozen = self._weather.frozen  # they are down, whatever they believe
        routers = self._routers()
        nodes = [node for name, node in self._nodes.items() if name not in frozen]
        return Progress(
            nodes=sum(node.name not in routers for node in nodes),
            session_ends=sum(node.established for node in nodes),
            routes=sum(len(node.fib.routes) for node in nodes),
            version=sum(node.fib.version for node in nodes),
        )


def _why_down(node: Node) -> str:
    return "; ".join(node.down.values())
