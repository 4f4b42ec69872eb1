"""One node: a Felix, a confd, a BIRD and a CNI plugin around one forwarding table.

Owns ``Host``, what the nodes of one process share, and ``Node``, one of them. A node is one task and one event loop:

    datastore ─ View ─┬─ confd ─► SpeakerConfig ─► Speaker ◄──► Links ◄──► other nodes
                      └─ Felix ─► device routes ─► Fib ◄── Loc-RIB of the Speaker

Whatever changed, ``_reconcile`` takes the configuration and the workloads as they are now; what that means is found
by difference, so the order in which changes came plays no part.

A cancelled node is a power cut: connections break, nothing is said, nothing is cleaned up in the datastore. A node that
has no address (or no Node resource) has a Felix and no BIRD until it has one; one whose address changes moves there
with all its sessions.

Left out: who starts nodes (``cluster``), what a node is asked (``agents.speaker.inspect``).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from typing import cast

import attrs
import trio

from agents.confd.derive import Confd
from agents.dataplane.fib import Fib, FibRoute, Routes
from agents.felix.routes import device_routes, learned
from agents.ipam.allocator import Allocator
from agents.ipam.cni import Cni
from agents.speaker import agent
from agents.speaker.links import Links, Network
from agents.speaker.speaker import Speaker
from agents.syncer import Datastore, View
from protocol.bgp.wire import Codec
from protocol.prefix import Address, Prefix, network_address, parse_prefix
from protocol.sync.messages import NODE_KINDS
from protocol.v3.metadata import Key
from protocol.v3.workload import WorkloadEndpoint


@attrs.define(kw_only=True)
class Host:
    """What the nodes of one process share. ``wall`` is Unix time, for what people and the datastore are told."""

    view: View
    datastore: Datastore
    network: Network
    confd: Confd
    wall: Callable[[], float]
    seed: int = 0
    codec: Codec = attrs.field(factory=Codec)
    routes: Routes = attrs.field(factory=Routes)
    nodes: dict[str, Node] = attrs.field(factory=dict)

    def changed(self, keys: Iterable[Key]) -> None:
        """The View is different: wake the nodes that this concerns."""
        concerned = self.view.take_touched()
        if any(key[0] not in NODE_KINDS for key in keys):
            concerned = self.nodes
        for name in concerned:
            node = self.nodes.get(name)
            if node is not None:
                node.wake()


class Node:
    """See the module. ``speaker`` and ``links`` are None while the node has no address."""

    def __init__(self, name: str, host: Host) -> None:
        self.name = name
        self.host = host
        self.fib = Fib()
        self.speaker: Speaker | None = None
        self.links: Links | None = None
        self._bgp_wanted = False
        self._bgp_started = False
        self._changed = trio.Event()
        self._dirty = True
        self._rng = random.Random(f"{host.seed}/{name}")
        self._allocator = Allocator(node=name, view=host.view, datastore=host.datastore, wall=host.wall)
        self._cni = Cni(node=name, allocator=self._allocator, datastore=host.datastore, rng=self._rng)

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Live until cancelled. Started when neighbours can connect. Raises OSError when the endpoint is taken."""
        started = False
        while True:
            config = self.host.confd.derive(self.name)
            self.fib = Fib()  # what BIRD learned goes with it
            if config is not None:
                self.links = self.host.network.attach(config.address)
                self.speaker = Speaker(
                    config,
                    fib=self.fib,
                    routes=self.host.routes,
                    codec=self.host.codec,
                    rng=self._rng,
                    now=trio.current_time(),
                )
                self._dirty = True
                self._bgp_started = False
            if not started:
                started = True
                task_status.started()
            if self.speaker is not None and self.links is not None:
                try:
                    await agent.run(self.speaker, self.links, self._reconcile)
                finally:
                    self.links.shut()
                    self.speaker = self.links = None
            else:
                self.fib.set_felix(self._workloads())
                self._changed = trio.Event()
                await self._changed.wait()

    def wake(self) -> None:
        """Something in the View concerns this node."""
        self._dirty = True
        self._changed.set()
        if self.links is not None:
            self.links.wake()

    def start_bgp(self) -> None:
        """Dial and accept from now on. Until then a node listens, so that neighbours that start first find it."""
        self._bgp_wanted = True
        self.wake()

    async def add_pod(self, name: str, namespace: str = "default") -> Address:
        """CNI ADD. Raises IPAMError or DatastoreError."""
        endpoint = await self._cni.add(name, namespace)
        return network_address(parse_prefix(endpoint.spec.ip_networks[0]))

    async def delete_pod(self, name: str, namespace: str = "default") -> None:
        """CNI DEL. Raises NotFound."""
        await self._cni.delete(name, namespace)

    @property
    def allocator(self) -> Allocator:
        """The node's IPAM, for claiming and releasing blocks by hand."""
        return self._allocator

    def _reconcile(self) -> bool:
        """Bring speaker and FIB to what the View says now; False when the node has moved or is no more."""
        if not self._dirty:
            return True
        self._dirty = False
        speaker = self.speaker
        assert speaker is not None
        config = self.host.confd.derive(self.name)
        if config is None or config.address != speaker.config.address:
            return False
        now = trio.current_time()
        routes = self._workloads()
        self.fib.set_felix(routes)
        speaker.configure(config, now)
        speaker.set_workloads(learned(routes), now)
        if self._bgp_wanted and not self._bgp_started:
            self._bgp_started = True
            speaker.start(now)
        return True

    def _workloads(self) -> dict[Prefix, FibRoute]:
        endpoints = self.host.view.of_node(WorkloadEndpoint.kind, self.name).values()
        return device_routes(cast("Iterable[WorkloadEndpoint]", endpoints))
