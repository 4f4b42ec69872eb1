"""One node: a Felix, a confd, a BIRD for each address family and a CNI plugin around one forwarding table.

Owns ``Host``, what the nodes of one process share, and ``Node``, one of them. A node is one task and one event loop for
each family; bird and bird6 know nothing of each other:

    datastore ─ View ─┬─ confd ─► SpeakerConfig ─► Speaker ◄──► Links ◄──► other nodes     IPv4, and the same for IPv6
                      └─ Felix ─► its routes ────► Fib ◄── Loc-RIB of the Speakers

Whatever changed, ``_reconcile`` takes the configuration and the workloads as they are now; what that means is found
by difference, so the order in which changes came plays no part.

A cancelled node is one whose daemons are gone: connections break, nothing is said, nothing is cleaned up in the datastore,
and its kernel goes on with the Fib as it is. Who starts it again on that kernel gives the Fib to the new Node; a machine
without power is one whose Fib is dropped. A node that has no address of a family (or no resource) has no BIRD of it until
it has one; one whose address or port changes moves there with its sessions of that family. A node that cannot listen where
it should is down, all of it, as one is that calico-node's startup finds in conflict; it tries again.

A Router of the lab is a node too: confd derives its configuration, and it has no workloads.

Left out: who starts nodes (``cluster``), what a node is asked (``agents.speaker.inspect``).
"""

from __future__ import annotations

import errno
import random
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import cast

import attrs
import trio

from agents.confd.derive import Confd
from agents.dataplane.fib import Fib, FibRoute, Routes
from agents.felix.l3routes import L3Routes
from agents.felix.routes import device_routes, learned
from agents.ipam.allocator import Allocator
from agents.ipam.cni import Cni
from agents.ipam.tunnels import Tunnels
from agents.journal import Event, Journal
from agents.speaker import agent
from agents.speaker.config import DEFAULT_PORT, PeerKind, SpeakerConfig
from agents.speaker.links import Links, Network, NoEndpoint, options_of
from agents.speaker.speaker import Speaker
from agents.syncer import Datastore, View
from protocol.bgp.wire import Codec
from protocol.prefix import (
    IPV4,
    IPV6,
    Address,
    Prefix,
    family_of,
    format_address,
    network_address,
    parse_address,
    parse_prefix,
)
from protocol.sync.messages import NODE_KINDS
from protocol.v3.ippool import IPPool
from protocol.v3.lab import Router
from protocol.v3.metadata import Key
from protocol.v3.node import Node as NodeResource
from protocol.v3.workload import WorkloadEndpoint

FAMILIES = (IPV4, IPV6)

RETRY = 5.0
"""Seconds after which a node that could not listen tries again."""


@attrs.define(kw_only=True)
class Host:
    """What the nodes of one process share. ``wall`` is Unix time, for what people and the datastore are told.

    ``health`` is called when a node goes down or comes back: its name, and why, or "". ``reader`` is told every event of every
    node's journal.
    """

    view: View
    datastore: Datastore
    network: Network
    confd: Confd
    wall: Callable[[], float]
    health: Callable[[str, str], None] = lambda name, reason: None
    reader: Callable[[str, Event], None] | None = None
    seed: int = 0
    codec: Codec = attrs.field(factory=Codec)
    routes: Routes = attrs.field(factory=Routes)
    nodes: dict[str, Node] = attrs.field(factory=dict)
    l3routes: L3Routes = attrs.field(init=False)
    _lives: dict[str, int] = attrs.field(factory=dict)

    def __attrs_post_init__(self) -> None:
        self.l3routes = L3Routes(self.view, self.routes)

    def rng(self, name: str) -> random.Random:
        """For a new life of the node. Each has another: an ID of a container that came twice would be two pods' handle."""
        life = self._lives[name] = self._lives.get(name, 0) + 1
        return random.Random(f"{self.seed}/{name}" if life == 1 else f"{self.seed}/{name}/{life}")

    def changed(self, keys: Iterable[Key]) -> None:
        """The View is different: wake the nodes that this concerns."""
        concerned = self.view.take_touched()
        if any(key[0] not in NODE_KINDS for key in keys):
            concerned = self.nodes
        for name in concerned:
            node = self.nodes.get(name)
            if node is not None:
                node.wake()
        if self.l3routes.wanted:
            for node in self.nodes.values():
                node.look_around()


class Node:
    """See the module. ``speakers`` and ``links`` have the families of which a BIRD works."""

    def __init__(self, name: str, host: Host, fib: Fib | None = None, *, joins: bool = False) -> None:
        """``fib`` is the table of a machine whose kernel has outlived its daemons; None is a machine that boots, and ``joins``
        others that run: its BIRD starts as ``bird -R`` too, as calico-node's always do.
        """
        self.name = name
        self.host = host
        self.fib = Fib() if fib is None else fib
        self._recovers = fib is not None or (joins and host.view.get(Router.kind, name) is None)
        self.journal = Journal(host.wall, None if host.reader is None else partial(host.reader, name))
        self.speakers: dict[int, Speaker] = {}
        self.links: dict[int, Links] = {}
        self.down: dict[int, str] = {}
        """Families whose address cannot be listened on, and why; while there is one nothing of the node works."""
        self._ill = False  # and that has been told
        self._bgp_wanted = False
        self._bgp_started: set[int] = set()
        self._changed = {family: trio.Event() for family in FAMILIES}
        self._dirty = {*FAMILIES}
        self._left = trio.Event()
        self._felix_dirty = True
        self._elsewhere = trio.Event()
        self._to_others: Mapping[Prefix, FibRoute] = {}
        self.felix_routes: dict[Prefix, FibRoute] = {}
        self._notes: dict[int, tuple[str, ...]] = {}
        self._rng = host.rng(name)
        self._allocator = Allocator(node=name, view=host.view, datastore=host.datastore, wall=host.wall)
        self._tunnels = Tunnels(
            node=name,
            view=host.view,
            allocator=self._allocator,
            datastore=host.datastore,
            complain=lambda reason: self.journal.add([Event("NoTunnelAddress", reason, warning=True)]),
        )

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Live until cancelled. Started when neighbours can connect, or it is known that they cannot (``down``)."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._tunnels.run)
            nursery.start_soon(self._follow_others)
            for family in FAMILIES:
                await nursery.start(self._run_bird, family)
            task_status.started()

    def wake(self) -> None:
        """Something in the View concerns this node."""
        self._tunnels.look()
        self._felix_dirty = True
        for family in FAMILIES:
            self._wake_bird(family)

    def look_around(self) -> None:
        """Something in the View concerns other nodes, and Felix routes to them."""
        self._elsewhere.set()

    def start_bgp(self) -> None:
        """Dial and accept from now on. Until then a node listens, so that neighbours that start first find it."""
        self._bgp_wanted = True
        self.wake()

    async def fall_silent(self) -> None:
        """Until no BIRD works: those whose node is no more tell their neighbours, and end."""
        while self.speakers:
            await self._left.wait()
            self._left = trio.Event()

    async def add_pod(self, name: str, namespace: str = "default") -> Address:
        """CNI ADD; the first of the pod's addresses. Raises IPAMError or DatastoreError."""
        endpoint = await self._cni(self._pod_families()).add(name, namespace)
        return network_address(parse_prefix(endpoint.spec.ip_networks[0]))

    async def delete_pod(self, name: str, namespace: str = "default") -> None:
        """CNI DEL. Raises NotFound."""
        await self._cni(FAMILIES).delete(name, namespace)

    @property
    def allocator(self) -> Allocator:
        """The node's IPAM, for claiming and releasing blocks by hand."""
        return self._allocator

    @property
    def established(self) -> int:
        return sum(speaker.established for speaker in self.speakers.values())

    @property
    def unmet(self) -> int:
        """Peers that it is configured to have, and has no session with. Workloads here speak no BGP, and do not count."""
        peers = (peer for speaker in self.speakers.values() for peer in speaker.peers.values())
        return sum(not peer.up and peer.config.kind is not PeerKind.LOCAL_WORKLOAD for peer in peers)

    @property
    def notes(self) -> tuple[str, ...]:
        """What is wrong with the node, or with what it was told."""
        found = dict.fromkeys(self.down.values())
        for family in FAMILIES:
            config = self._config(family)
            if config is not None:
                found.update(dict.fromkeys(config.notes))
                found.update(dict.fromkeys(self._refusals(config)))
        return tuple(found)

    # --- a BIRD -----------------------------------------------------------------------------------------------------

    async def _run_bird(
        self, family: int, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        last = Address(b"")
        recovering = self._recovers
        while True:
            self._changed[family] = trio.Event()
            self._felix()
            config = self._config(family)
            wanted = config if config is not None and config.enabled else None
            if wanted is None:
                self._is_up(family)  # what nobody asks for any more is not wrong either
                if recovering:  # there is nobody to wait for
                    recovering = False
                    self.fib.forget(family)
            works = wanted is not None and self._listen(family, wanted)
            task_status.started()
            task_status = trio.TASK_STATUS_IGNORED
            if wanted is None or not works:
                with trio.move_on_after(RETRY if family in self.down else float("inf")):
                    await self._changed[family].wait()
                continue
            if last and last != wanted.address:
                moved = f"from {format_address(last)} to {format_address(wanted.address)}"
                self.journal.add([Event("AddressMoved", moved)])
            last = wanted.address
            speaker, links = self._start_speaker(wanted, recovering=recovering), self.links[family]
            recovering = False
            try:
                await agent.run(speaker, links, self.journal, partial(self._reconcile, speaker))
            finally:
                links.shut()
                del self.speakers[family], self.links[family]
                self._left.set()
            self.fib.forget(family)

    def _listen(self, family: int, config: SpeakerConfig) -> bool:
        """Whether the BIRD of the family can work: it can have its endpoint, and nothing else is wrong."""
        try:
            links = self.host.network.attach(config.address, config.listen_port or DEFAULT_PORT)
        except NoEndpoint:
            self._set_down(family, f"{format_address(config.address)} has no endpoint yet")
            return False
        except OSError as error:
            self._is_down(family, self._why_down(config, error))
            return False
        self._is_up(family)
        if self.down:
            links.shut()
            return False
        self.links[family] = links
        return True

    def _start_speaker(self, config: SpeakerConfig, *, recovering: bool) -> Speaker:
        speaker = self.speakers[config.family] = Speaker(
            config,
            fib=self.fib,
            routes=self.host.routes,
            codec=self.host.codec,
            rng=self._rng,
            now=trio.current_time(),
            recovering=recovering,
        )
        self._dirty.add(config.family)
        self._bgp_started.discard(config.family)
        return speaker

    def _reconcile(self, speaker: Speaker) -> bool:
        """Bring speaker and FIB to what the View says now; False when this BIRD's time here is over."""
        family = speaker.config.family
        if family not in self._dirty:
            return True
        self._dirty.discard(family)
        config = self._config(family)
        if self.down or config is None or _endpoint(config) != _endpoint(speaker.config):
            return False
        now = trio.current_time()
        self._felix()
        speaker.configure(config, now)
        speaker.set_kernel(learned(self.felix_routes, family), now)
        if self._bgp_wanted and family not in self._bgp_started:
            self._bgp_started.add(family)
            speaker.start(now)
        return True

    def _wake_bird(self, family: int) -> None:
        self._dirty.add(family)
        self._changed[family].set()
        if family in self.links:
            self.links[family].wake()

    # --- up and down ------------------------------------------------------------------------------------------------

    def _is_down(self, family: int, reason: str) -> None:
        if self.down.get(family) != reason:
            self._ill = True
            self.journal.add([Event("NodeDown", reason, warning=True)])
            self._set_down(family, reason)
            self.host.health(self.name, reason)

    def _is_up(self, family: int) -> None:
        if self.down.pop(family, None) is None:
            return
        self._health_changed(family)
        if self._ill and not self.down:
            self._ill = False
            self.journal.add([Event("NodeUp", "listening")])
            self.host.health(self.name, "")

    def _set_down(self, family: int, reason: str) -> None:
        self.down[family] = reason
        self._health_changed(family)

    def _health_changed(self, family: int) -> None:
        self._felix_dirty = True
        self._felix()
        for other in FAMILIES:
            if other != family:
                self._wake_bird(other)

    def _why_down(self, config: SpeakerConfig, error: OSError) -> str:
        address = format_address(config.address)
        if error.errno == errno.EADDRINUSE:
            for other in _owners(self.host.view, config.address):
                if other != self.name:
                    version = 4 if config.family == IPV4 else 6
                    return f"Calico node '{other}' is already using the IPv{version} address {address}."
        where = f" ({error.filename})" if error.filename else ""
        return f"cannot listen on {address}{where}: {error.strerror}"

    # --- configuration ----------------------------------------------------------------------------------------------

    def _config(self, family: int) -> SpeakerConfig | None:
        config = self.host.confd.derive(self.name, family)
        notes = config.notes if config is not None else ()
        before = self._notes.get(family, ())
        if notes is not before:
            self._notes[family] = notes
            self.journal.add(
                Event("ConfigIgnored", note, warning=True) for note in notes if note not in before
            )
        return config

    def _refusals(self, config: SpeakerConfig) -> Iterable[str]:
        for peer in config.peers:
            why = self.host.network.lacks(options_of(peer))
            if why:
                yield f"{peer.name}: {why}"

    # --- Felix and pods ---------------------------------------------------------------------------------------------

    def _felix(self) -> None:
        """Program what Felix would, if anything has changed. A node that is down has no Felix."""
        if self._felix_dirty:
            self._felix_dirty = False
            self.felix_routes = {} if self.down else self._workloads()
            self.fib.set_felix(self.felix_routes)

    async def _follow_others(self) -> None:
        """Felix's routes to other nodes, as often as Felix looks at them."""
        l3routes = self.host.l3routes
        while True:
            pause = l3routes.refresh(trio.current_time())
            if pause > 0:
                await trio.sleep(pause)
                continue
            routes = l3routes.of(self.name)
            if routes is not self._to_others:
                self._felix_dirty = True
                for family in {family_of(prefix) for prefix, _ in routes.items() ^ self._to_others.items()}:
                    self._wake_bird(family)
            await self._elsewhere.wait()
            self._elsewhere = trio.Event()

    def _workloads(self) -> dict[Prefix, FibRoute]:
        endpoints = self.host.view.of_node(WorkloadEndpoint.kind, self.name).values()
        self._to_others = self.host.l3routes.of(self.name)
        return {
            **self._to_others,
            **device_routes(cast("Iterable[WorkloadEndpoint]", endpoints)),
        }

    def _pod_families(self) -> tuple[int, ...]:
        """Those that the node has an address of and somebody a pool; IPAM says it best when there is none."""
        pools = cast("Iterable[IPPool]", self.host.view.all(IPPool.kind).values())
        with_pools = {family_of(parse_prefix(pool.spec.cidr)) for pool in pools}
        return tuple(family for family in FAMILIES if family in self.speakers and family in with_pools) or (
            IPV4,
        )

    def _cni(self, families: tuple[int, ...]) -> Cni:
        return Cni(
            node=self.name,
            allocator=self._allocator,
            datastore=self.host.datastore,
            rng=self._rng,
            families=families,
        )


def _owners(view: View, address: Address) -> Iterable[str]:
    """The Nodes and Routers that have the address."""
    for node in cast("Iterable[NodeResource]", view.all(NodeResource.kind).values()):
        bgp = node.spec.bgp
        if bgp is not None and address in _parsed((bgp.ipv4_address, bgp.ipv6_address)):
            yield node.metadata.name
    for router in cast("Iterable[Router]", view.all(Router.kind).values()):
        if address in _parsed(router.spec.addresses):
            yield router.metadata.name


def _parsed(texts: Iterable[str]) -> list[Address]:
    return [parse_address(text.partition("/")[0]) for text in texts if text]


def _endpoint(config: SpeakerConfig) -> tuple[Address, int]:
    return config.address, config.listen_port or DEFAULT_PORT
