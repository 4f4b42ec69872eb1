"""A shard: one process, one trio.run, many nodes.

Owns the nodes of one process from their start to the end of the coordinator's stream, and answers what the
coordinator asks about them.

    coordinator ◄══ one stream ══► Syncer ──► View ──► node 1, node 2, … node n     a task each
                                     │
                                     └─ handle: start, add_pods, judge, birdc, …    a task each call

    Start, with a barrier, so that nobody dials a node that does not listen yet:

      Watch ─► snapshot ─► every node listens ─► report "listening"
                                                 "add_pods" ─► pods have their addresses
                                                 "start"    ─► every node dials
      then: report "progress" whenever the counts have changed; "judge" when asked.

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
from agents.ipam.errors import IPAMError
from agents.node import Host, Node
from agents.speaker import birdc
from agents.speaker.config import Timers
from agents.speaker.inspect import Inspector
from agents.speaker.tcp import TcpNetwork
from agents.syncer import Syncer, View
from cluster.convergence import Progress
from cluster.judge import Judge
from cluster.memory import return_large_blocks
from cluster.views import peer_rows, route_rows
from cluster.workloads import pod_names
from protocol.prefix import IPV4, Address
from protocol.sync.errors import DatastoreError, Invalid, NotFound
from protocol.v3.metadata import Key

PROGRESS_INTERVAL = 0.02
"""Seconds between two reports of the counts: short against what a person sees, long against what one costs."""

GC_THRESHOLD = 100_000


@attrs.frozen(kw_only=True)
class Job:
    """What a shard is told by being forked."""

    nodes: tuple[str, ...]
    endpoints: Mapping[Address, tuple[str, int]]
    introduce: bool  # the endpoints differ by port alone
    timers: Timers
    seed: int
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
        self._host = Host(
            view=view,
            datastore=self._syncer,
            network=TcpNetwork(job.endpoints, introduce=job.introduce),
            confd=Confd(view, job.timers),
            wall=time.time,
            seed=job.seed,
        )
        self._nodes = self._host.nodes
        self._judge = Judge(job.nodes, self._nodes, self._host.routes)

    async def run(self) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._follow, nursery.cancel_scope)
            self._syncer.watch(self._job.nodes)
            await self._syncer.in_sync.wait()
            await self._start_nodes(nursery)
            gc.freeze()
            gc.set_threshold(GC_THRESHOLD)
            gc.enable()
            await self._syncer.report("listening")
            await self._report_progress()

    async def _follow(self, scope: trio.CancelScope) -> None:
        await self._syncer.run()
        scope.cancel()

    async def _start_nodes(self, nursery: trio.Nursery) -> None:
        for name in self._job.nodes:
            node = self._nodes[name] = Node(name, self._host)
            try:
                await nursery.start(node.run)
            except OSError as error:  # somebody took its port since the coordinator looked
                await self._syncer.report("failed", [name, error.strerror])
                await trio.sleep_forever()  # the coordinator ends all of us

    def _changed(self, keys: list[Key]) -> None:
        self._host.changed(keys)

    # -- what the coordinator asks ------------------------------------------------------------------------------------

    async def _handle(self, method: str, params: Any) -> object:
        match method, params:
            case "start", _:
                for node in self._nodes.values():
                    node.start_bgp()
                return None
            case "add_pods", [int(count)]:
                return await self._add_pods(count)
            case "judge", [int(revision), facts]:
                return [self._judge.judge(revision, facts).to_wire(), self._progress().to_wire()]
            case "birdc", [str(name), str(command)]:
                return self._birdc(self._node(name), command)
            case "node_status", [str(name)]:
                return peer_rows(self._inspect(self._node(name)).status())
            case "ip_route", [str(name)]:
                return route_rows(self._node(name).fib.routes)
        raise Invalid(f"no such call: {method[:40]} with these parameters")

    def _node(self, name: str) -> Node:
        node = self._nodes.get(name)
        if node is None:
            raise NotFound(f"node {name} has not started yet")
        return node

    async def _add_pods(self, count: int) -> list[str]:
        """Returns what did not work, in words."""
        failures: list[str] = []

        async def add(node: Node) -> None:
            for pod in pod_names(node.name, count):
                try:
                    await node.add_pod(pod)
                except (IPAMError, DatastoreError) as error:
                    failures.append(f"{node.name}: {pod}: {error}")

        async with trio.open_nursery() as nursery:
            for node in self._nodes.values():
                nursery.start_soon(add, node)
        return sorted(failures)

    def _birdc(self, node: Node, command: str) -> str:
        inspector = self._inspect(node)
        return birdc.answer(command, inspector.status(), inspector.routes, node.fib.routes)

    def _inspect(self, node: Node) -> Inspector:
        speaker = node.speakers.get(IPV4)
        if speaker is None:
            raise NotFound(f"BIRD is not running on {node.name}: the node has no IPv4 address")
        return Inspector(speaker, node.fib, now=trio.current_time(), wall=time.time())

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
        nodes = self._nodes.values()
        return Progress(
            nodes=len(nodes),
            session_ends=sum(node.established for node in nodes),
            routes=sum(len(node.fib.routes) for node in nodes),
            version=sum(node.fib.version for node in nodes),
        )
