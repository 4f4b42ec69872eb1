"""A whole cluster in one process and in virtual time: the same agents as shipped, in one ``trio.run``.

Owns ``Virtual``, a ``stage.Stage``: a datastore, a network with its weather, and the nodes and routers that the
datastore names. The network is in memory, where links are vouched for and a quiet hour costs nothing; or it is real
TCP.

    store ─ a write ─┬─► View ─► Host ─► nodes ◄─► Weather ◄─► MemoryNetwork | TcpNetwork
                     └─► _follow: a Node or Router is new ► start, gone ► end, moved ► the weather moves along

Until ``boot`` nothing follows: whoever wants to say when each node is started writes, and calls ``start``.

Left out: what is done when (``play``), the clock (``clock``), who is told of what moves (``witness``).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import islice
from typing import Any

import attrs
import trio

from agents.confd.derive import Confd
from agents.dataplane.fib import FibRoute
from agents.journal import Event
from agents.node import Host, Node
from agents.speaker.config import Timers
from agents.speaker.links import Network
from agents.speaker.memory import MemoryNetwork
from agents.speaker.tcp import TcpNetwork
from agents.syncer import View
from cluster.addressing import Endpoints
from cluster.cleanup import Cleanup
from cluster.datastore.local import LocalDatastore, follow
from cluster.datastore.memory import Change, MemoryStore
from cluster.judge import route_text
from cluster.lives import Lives
from cluster.loss.account import Account
from cluster.oracle import Expected, Oracle, first_differences, snapshot
from cluster.pods import Pods
from cluster.rehearsal.eventlog import EventLog
from cluster.rehearsal.quiet import Quiet
from cluster.rehearsal.stage import SessionView, Settled
from cluster.rehearsal.weather import Weather
from cluster.rehearsal.witness import Witness
from cluster.spec import HOSTED, addresses_of
from cluster.workloads import pod_names
from protocol.bgp.fsm import STATE_NAMES
from protocol.prefix import Address, Prefix, format_address, format_prefix
from protocol.v3.metadata import Key
from protocol.v3.node import Node as NodeResource
from protocol.v3.workload import WorkloadEndpoint

EPOCH = 1_700_000_000.0
"""Unix time at the start of every run."""
MAX_DIFFERENCES = 3


def timers_in_life(hold: float) -> Timers:
    """Every wait is BIRD's. ``up`` has nodes dial at once, since people wait for it; here waiting costs nothing, and
    what is lost while a session that starts again waits for its first dial is lost.
    """
    timers = Timers(hold=hold)
    return attrs.evolve(timers, start_delay=timers.connect_delay)


class Virtual:
    """Made inside ``run_virtual``. ``tcp``: the endpoints of real sockets; in memory without. ``fill`` puts into the
    store what is there before anybody looks; ``epoch`` is Unix time at the start. ``reader`` is told every event of
    every node's journal.
    """

    def __init__(
        self,
        nursery: trio.Nursery,
        seed: int,
        *,
        env: Mapping[str, str] | None = None,
        timers: Timers | None = None,
        tcp: Endpoints | None = None,
        fragment: bool = False,
        vouches: bool = True,
        log: EventLog | None = None,
        fill: Callable[[MemoryStore], object] = lambda store: None,
        epoch: float = EPOCH,
        reader: Callable[[str, Event], object] = lambda name, event: None,
    ) -> None:
        self._epoch = epoch
        self._reader = reader
        self.store = MemoryStore(wall=self._wall)
        fill(self.store)
        self.network = (
            MemoryNetwork(random.Random(seed), fragment=fragment, vouches=vouches)
            if tcp is None
            else TcpNetwork(tcp.table, introduce=not tcp.wide)
        )
        self.weather = Weather(self.network, self.addresses)
        self.log = log
        self._quiet = Quiet(self._look)
        self._witness = Witness(self._quiet, log, self.now)
        self.ill: dict[str, str] = {}
        """Nodes that cannot listen, and why."""
        self.view = View()
        network: Network = self.weather
        self.host = Host(
            view=self.view,
            datastore=LocalDatastore(self.store),
            network=network,
            confd=Confd(self.view, timers or Timers(), env=env or {}),
            wall=self._wall,
            health=self._health,
            reader=self._happened,
            seed=seed,
        )
        self._lives = Lives(self.host, nursery, self._witness.boots)
        self._oracle = Oracle(env)
        self._asked: tuple[int, set[str], list[tuple[str, str]]] | None = None
        self._expected: Expected | None = None
        """What it said to that."""
        self._nursery = nursery
        self._tcp = tcp
        self._began: float | None = None
        self._follows = False
        self._pending: dict[str, None] = {}
        self._known: dict[str, None] = {}
        """Who was started, or is not to be: whoever is written besides is new."""
        self._news = trio.Event()
        self._unsettled: Mapping[Prefix, str] = {}
        self._pods = Pods(self.host, nursery)
        self._cleanup = Cleanup(self.store, wall=self._wall)
        follow(self.store, self.view, None, self._changed)
        self.store.watch(self._written)

    def _wall(self) -> float:
        return self._epoch + trio.current_time()

    # --- time -------------------------------------------------------------------------------------------------------

    def now(self) -> float:
        return 0.0 if self._began is None else trio.current_time() - self._began

    async def sleep(self, seconds: float) -> None:
        await trio.sleep(seconds)

    # --- resources --------------------------------------------------------------------------------------------------

    def members(self) -> Sequence[str]:
        return sorted({key[2] for kind in HOSTED for key in self.view.all(kind)})

    def addresses(self, name: str) -> tuple[Address, ...]:
        for kind in HOSTED:
            resource = self.view.get(kind, name)
            if resource is not None:
                return tuple(addresses_of(resource).values())
        return ()

    def apply(self, document: Mapping[str, Any]) -> None:
        """Create or replace, without admission: what is given is right."""
        metadata = document["metadata"]
        known = self.store.find((document["kind"], metadata.get("namespace", ""), metadata["name"]))
        if known is None:
            self.store.create(dict(document))
        else:
            self.store.update({**document, "metadata": {**known["metadata"], **metadata}})

    def delete(self, document: Mapping[str, Any]) -> None:
        """If it is there."""
        metadata = document["metadata"]
        key = document["kind"], metadata.get("namespace", ""), metadata["name"]
        if self.store.find(key) is not None:
            self.store.delete(key[0], key[2], key[1])

    def _written(self, change: Change) -> None:
        self._quiet.moved()
        kind, _, name = change.key
        self._witness.note("datastore", f"{kind}/{name} {'deleted' if change.new is None else 'written'}")
        if kind in HOSTED:
            self._learn(name)
            self.weather.moved(name)
            self._pending[name] = None
            self._news.set()

    def _changed(self, keys: list[Key]) -> None:
        self.host.changed(keys)
        self._pods.changed(keys)

    def _learn(self, name: str) -> None:
        """Real sockets need endpoints."""
        if self._tcp is not None and isinstance(self.network, TcpNetwork):
            self.network.learn(self._tcp.add(self.addresses(name)))
            for node in self.host.nodes.values():
                if node.down:
                    node.wake()

    # --- life and death ---------------------------------------------------------------------------------------------

    async def boot(self, pods: int = 0, last: Collection[str] = ()) -> Sequence[str]:
        """Start all that there are and were not powered off: everybody listens, those of ``last`` after the others,
        then pods come, then sessions; and follow the datastore from now on.

        Returns which pods have no address, in words.
        """
        powered = [name for name in self.members() if name not in self.weather.off]
        names = sorted(powered, key=lambda name: name in last)
        for name in names:
            await self._start(name, bgp=False)
        nodes = [name for name in names if self.view.get(NodeResource.kind, name) is not None]
        problems = await self._pods.add({name: self._new_pods(name, pods) for name in nodes})
        for name in names:
            self.host.nodes[name].start_bgp()
        self._follows = True
        self._pending.clear()
        self._nursery.start_soon(self._follow)
        return problems

    async def _follow(self) -> None:
        while True:
            while self._pending:
                name = next(iter(self._pending))
                del self._pending[name]
                if self.addresses(name) or name in self.members():
                    if name not in self._known:
                        await self._start(name)
                else:
                    self._known.pop(name, None)
                    self._pods.forget(name)
                    await self._lives.remove(name)
                    self._forgive(name)
                    self._witness.note(name, "removed")
                    await self._cleanup.sweep(name)
            self._news = trio.Event()
            await self._news.wait()

    def _forgive(self, name: str) -> None:
        """Whatever has befallen it is over: who comes with the same name is somebody else."""
        for pair in [pair for pair in self.weather.cuts if name in pair]:
            self._witness.link(*pair, works=True)
        self._witness.power(name, True)
        self.weather.removed(name)

    def is_running(self, name: str) -> bool:
        return name in self.host.nodes

    def node(self, name: str) -> Node:
        return self.host.nodes[name]

    async def start(self, name: str) -> None:
        if self._follows:  # else it may come to be later
            self._check(name)
        await self._start(name)

    async def _start(self, name: str, *, bgp: bool = True) -> None:
        self._known[name] = None
        if name in self.host.nodes:
            return
        if self._began is None:
            self._began = trio.current_time()
        self._witness.done(name, "starts")
        self.weather.power_on(name)
        self._witness.power(name, True)
        await self._lives.start(name, bgp=bgp, joins=self._follows)
        self._pods.feed_again(name)

    async def stop(self, name: str) -> None:
        self._check(name)
        self._witness.done(name, "stops")
        self.weather.thaw(name)
        await self._lives.stop(name)
        self.ill.pop(name, None)

    async def power_off(self, name: str) -> None:
        self._check(name)
        self._known[name] = None
        self._witness.done(name, "loses its power")
        self.weather.power_off(name)
        self._witness.power(name, False)
        await self._lives.power_off(name)
        self.ill.pop(name, None)

    async def freeze(self, name: str) -> None:
        self._check(name)
        if name in self.host.nodes:
            self._witness.done(name, "freezes")
            self.weather.freeze(name)

    async def thaw(self, name: str) -> None:
        self._check(name)
        self._witness.done(name, "thaws")
        self.weather.thaw(name)

    async def cut(self, one: str, other: str) -> None:
        self._check(one, other)
        self._witness.done(one, f"cut from {other}")
        self.weather.cut(one, other)
        self._witness.link(one, other, works=False)

    async def heal(self, one: str, other: str) -> None:
        self._check(one, other)
        self._witness.done(one, f"joined with {other}")
        self.weather.heal(one, other)
        self._witness.link(one, other, works=True)

    def _check(self, *names: str) -> None:
        for name in names:
            if all(self.view.get(kind, name) is None for kind in HOSTED):
                raise KeyError(name)

    # --- pods -------------------------------------------------------------------------------------------------------

    async def add_pods(self, name: str, count: int) -> Sequence[str]:
        self._check(name)
        if name not in self.host.nodes or name in self.weather.frozen:
            return [f"{name} does not run"]
        return await self._pods.add({name: self._new_pods(name, count)})

    async def delete_pods(self, name: str, count: int) -> int:
        self._check(name)
        if name not in self.host.nodes or name in self.weather.frozen:
            return 0  # there is nobody to do it
        found = sorted(self.view.of_node(WorkloadEndpoint.kind, name).items())[:count]
        return await self._pods.delete(
            name,
            [
                (endpoint.spec.pod, key[1])
                for key, endpoint in found
                if isinstance(endpoint, WorkloadEndpoint)
            ],
        )

    def _new_pods(self, name: str, count: int) -> Sequence[str]:
        """The first names of the node's that nobody has."""
        endpoints = self.view.of_node(WorkloadEndpoint.kind, name).values()
        taken = {endpoint.spec.pod for endpoint in endpoints if isinstance(endpoint, WorkloadEndpoint)}
        taken.update(self._pods.lacking(name))
        free = (pod for pod in pod_names(name, count + len(taken)) if pod not in taken)
        return [*islice(free, count)]

    # --- what there is ----------------------------------------------------------------------------------------------

    async def sessions(self, of: Collection[str] | None = None) -> Sequence[SessionView]:
        names = {address: name for name in self.members() for address in self.addresses(name)}
        return [
            SessionView(
                node=name,
                peer=peer.config.name,
                neighbour=names.get(peer.address) or format_address(peer.address),
                family=family,
                state=STATE_NAMES[peer.session.state],
                error=peer.session.last_error,
            )
            for name in sorted(self.host.nodes if of is None else self.host.nodes.keys() & {*of})
            for family, speaker in sorted(self.host.nodes[name].speakers.items())
            for peer in speaker.peers.values()
        ]

    async def routes(self, name: str) -> Mapping[Prefix, FibRoute]:
        self._check(name)
        fib = self._lives.fibs.get(name)
        return {} if fib is None else fib.routes

    # --- judgement --------------------------------------------------------------------------------------------------

    def expected(self) -> Expected:
        down = {*self.members()} - self.host.nodes.keys() | self.ill.keys() | self.weather.frozen.keys()
        asked = self.store.revision, down, [*self.weather.cuts]
        if self._expected is None or asked != self._asked:
            self._asked = asked
            self._expected = self._oracle.expect(snapshot(self.store.list), down=down, cut=asked[2])
        return self._expected

    def differences(self) -> list[str]:
        """What is not as the datastore asks for, in words; empty when every FIB is exact."""
        oracle = self.expected()
        self._unsettled = oracle.unsettled
        found: list[str] = []
        judged = [name for name in self.host.nodes if name not in self.weather.frozen]
        for name, expected in oracle.solve(dict.fromkeys(judged).keys(), self.host.routes.via):
            table = self.host.nodes[name].fib.routes
            if oracle.unsettled:
                table = {prefix: route for prefix, route in table.items() if prefix not in oracle.unsettled}
            if table != expected:
                found += [
                    f"{each.node}: {format_prefix(each.prefix)}: expected {route_text(each.expected) or 'nothing'}, "
                    f"found {route_text(each.found) or 'nothing'}: {each.why}"
                    for each in first_differences(oracle, name, expected, table, limit=MAX_DIFFERENCES)
                ]
        return found

    @property
    def unsettled(self) -> Mapping[Prefix, str]:
        """What had no stable state, or several, when the oracle was last asked, and why."""
        return self._unsettled

    def _look(self) -> tuple[list[str], Mapping[Prefix, str]]:
        return self.differences(), self._unsettled

    async def settle(self, within: float) -> Settled:
        wrong = await self._quiet.settle(within)
        return Settled(
            differences=tuple(wrong),
            at=self.moved_at - (self._began or 0.0),
            unsettled=tuple(f"{format_prefix(prefix)}: {why}" for prefix, why in self._unsettled.items()),
        )

    @property
    def moved_at(self) -> float:
        """When anything last moved, in seconds of the clock."""
        return self._quiet.moved_at

    # --- loss -------------------------------------------------------------------------------------------------------

    @property
    def account(self) -> Account | None:
        """What is lost, since ``watch_loss``."""
        return self._witness.account

    async def watch_loss(self) -> Account:
        return self._witness.count(self.store, self._lives.fibs, self.weather.off, self.weather.cuts)

    # --- what is told ---------------------------------------------------------------------------------------------

    def _happened(self, name: str, event: Event) -> None:
        self._witness.done(name, f"{event.reason} {event.message}")
        self._reader(name, event)

    def _health(self, name: str, reason: str) -> None:
        self._quiet.moved()
        if reason:
            self.ill[name] = reason
        else:
            self.ill.pop(name, None)
