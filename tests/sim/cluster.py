"""Whole nodes in virtual time: the same agents as shipped, over in-memory links, in one trio.run.

Owns ``SimCluster``: a datastore, a breakable network and any number of nodes and routers that are started, killed, cut off and
changed while the clock of the run (a MockClock) jumps from timer to timer. ``differences`` holds every FIB against the oracle.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from typing import Any

import trio

from agents.confd.derive import Confd
from agents.node import Host, Node
from agents.speaker.config import Timers
from agents.speaker.memory import MemoryNetwork
from agents.syncer import View
from cluster.datastore.local import LocalDatastore, follow
from cluster.datastore.memory import MemoryStore
from cluster.oracle import Expected, Oracle, first_differences, snapshot
from protocol.prefix import Address, format_prefix, parse_address

HOSTED = "Node", "Router"
AddressPairs = set[tuple[Address, Address]]


class SimCluster:
    """Made inside trio.run. ``names`` are the nodes and routers that there may be; each is to be started."""

    def __init__(
        self,
        nursery: trio.Nursery,
        seed: int,
        names: Iterable[str],
        *,
        env: Mapping[str, str] | None = None,
        fragment: bool = True,
    ) -> None:
        self.store = MemoryStore(wall=self._wall)
        self.network = MemoryNetwork(random.Random(seed), fragment=fragment)
        self.cuts: dict[tuple[str, str], AddressPairs] = {}
        self.ill: dict[str, str] = {}
        """Nodes that cannot listen, and why."""
        view = View()
        self.host = Host(
            view=view,
            datastore=LocalDatastore(self.store),
            network=self.network,
            confd=Confd(view, Timers(), env=env or {}),
            wall=self._wall,
            health=self._health,
            seed=seed,
        )
        self._oracle = Oracle(env)
        self._nursery = nursery
        self._running: dict[str, trio.CancelScope] = {}
        self._pods = 0
        follow(self.store, view, [*names], self.host.changed)

    @staticmethod
    def _wall() -> float:
        return 1_700_000_000 + trio.current_time()

    def _health(self, name: str, reason: str) -> None:
        if reason:
            self.ill[name] = reason
        else:
            self.ill.pop(name, None)

    # --- resources --------------------------------------------------------------------------------------------------

    def apply(self, document: Mapping[str, Any]) -> None:
        """Create or replace."""
        metadata = document["metadata"]
        known = self.store.find((document["kind"], metadata.get("namespace", ""), metadata["name"]))
        if known is None:
            self.store.create(dict(document))
        else:
            stamped = {**known["metadata"], **metadata}
            self.store.update({**document, "metadata": stamped})
        if document["kind"] in HOSTED:
            self._cut_anew()

    def delete(self, document: Mapping[str, Any]) -> None:
        """If it is there."""
        metadata = document["metadata"]
        key = document["kind"], metadata.get("namespace", ""), metadata["name"]
        if self.store.find(key) is not None:
            self.store.delete(key[0], key[2], key[1])

    # --- life and death ---------------------------------------------------------------------------------------------

    def is_running(self, name: str) -> bool:
        return name in self._running

    def node(self, name: str) -> Node:
        return self.host.nodes[name]

    async def start(self, name: str) -> None:
        """Power on; it begins to dial at once."""
        scope = self._running[name] = trio.CancelScope()
        fresh = self.host.nodes[name] = Node(name, self.host)

        async def live(task_status: trio.TaskStatus[None]) -> None:
            with scope:
                await fresh.run(task_status)

        await self._nursery.start(live)
        fresh.start_bgp()

    async def crash(self, name: str) -> None:
        """Power cut."""
        self._running.pop(name).cancel()
        del self.host.nodes[name]
        self.ill.pop(name, None)
        await trio.testing.wait_all_tasks_blocked()

    async def remove(self, name: str) -> None:
        """What ``calicoctl delete node`` does: its endpoints, addresses, blocks and the resource go."""
        owner = self.node(name)
        for _, namespace, endpoint in list(self.host.view.of_node("WorkloadEndpoint", name)):
            pod = self.store.get("WorkloadEndpoint", endpoint, namespace)["spec"]["pod"]
            await owner.delete_pod(pod, namespace)
        await owner.allocator.release_host(name)
        await self.crash(name)
        self.store.delete("Node", name)

    async def add_pod(self, name: str) -> None:
        self._pods += 1
        await self.node(name).add_pod(f"pod-{self._pods}")

    async def delete_pod(self, name: str) -> None:
        """The first of the node's pods, if it has one."""
        for _, namespace, endpoint in sorted(self.host.view.of_node("WorkloadEndpoint", name)):
            pod = self.store.get("WorkloadEndpoint", endpoint, namespace)["spec"]["pod"]
            await self.node(name).delete_pod(pod, namespace)
            return

    def cut(self, one: str, other: str) -> None:
        self.cuts.setdefault((one, other), set())
        self._cut_anew()

    def heal(self, one: str, other: str) -> None:
        for pair in self.cuts.pop((one, other), ()):
            self.network.heal(*pair)

    def _cut_anew(self) -> None:
        """Whatever addresses they have by now."""
        for (one, other), pairs in self.cuts.items():
            wanted = {
                (left, right)
                for left in self._addresses(one)
                for right in self._addresses(other)
                if len(left) == len(right)
            }
            for pair in pairs - wanted:
                self.network.heal(*pair)
            for pair in wanted - pairs:
                self.network.cut(*pair)
            pairs.clear()
            pairs.update(wanted)

    def _addresses(self, name: str) -> list[Address]:
        found = self.store.find(("Node", "", name))
        bgp = found["spec"].get("bgp") or {} if found else {}
        texts = [bgp.get("ipv4Address"), bgp.get("ipv6Address")]
        return [parse_address(text.partition("/")[0]) for text in texts if text]

    # --- judgement --------------------------------------------------------------------------------------------------

    def expected(self) -> Expected:
        known = {document["metadata"]["name"] for kind in HOSTED for document in self.store.list(kind)}
        return self._oracle.expect(
            snapshot(self.store.list), down=known - self._running.keys() | self.ill.keys(), cut=[*self.cuts]
        )

    def differences(self) -> list[str]:
        """What is not as the datastore asks for, in words; empty when every FIB is exact."""
        oracle = self.expected()
        found: list[str] = []
        for name, expected in oracle.solve(self.host.nodes.keys(), self.host.routes.via):
            table = self.host.nodes[name].fib.routes
            if oracle.unsettled:
                table = {prefix: route for prefix, route in table.items() if prefix not in oracle.unsettled}
            if table != expected:
                found += [
                    f"{each.node}: {format_prefix(each.prefix)}: {each.expected} but {each.found}: {each.why}"
                    for each in first_differences(oracle, name, expected, table, limit=3)
                ]
        return found

    async def converged(self, within: float) -> list[str]:
        """Waits until every FIB is exact; what is still different after ``within`` virtual seconds."""
        deadline = trio.current_time() + within
        step = 0.05
        while (found := self.differences()) and trio.current_time() < deadline:
            await trio.sleep(step)
            step = min(step * 1.5, 10)
        return found
