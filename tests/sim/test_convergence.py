"""The cluster always converges: any sequence of changes and faults ends with every FIB as the datastore asks for."""

from __future__ import annotations

from typing import Any

import trio
import trio.testing
from hypothesis import HealthCheck, example, given, note, settings
from hypothesis import strategies as st

from cluster.rehearsal.clock import run_virtual
from cluster.rehearsal.virtual import Virtual
from tests.strategies.clusters import (
    Document,
    bgp_configuration,
    bgp_peer,
    document,
    node,
    pool,
)

SIZE = 6
LONGER_THAN_HOLD_AND_RETRY = 400.0
"""Virtual seconds: a silent cut is noticed after the hold time of 90, then 30 of error wait, and a healed one redialled."""
BORDER = "border"

nodes = st.integers(1, SIZE)
pairs = st.tuples(nodes, nodes).filter(lambda pair: pair[0] < pair[1])
steps = st.one_of(
    st.tuples(
        st.sampled_from(("add", "remove", "pod", "unpod", "crash", "stop", "freeze", "thaw", "move", "dual")),
        nodes,
    ),
    st.tuples(st.sampled_from(("cut", "heal")), pairs),
    st.tuples(st.just("as"), st.tuples(nodes, st.sampled_from((64512, 64513)))),
    st.tuples(st.just("wait"), st.sampled_from((0.0, 0.001, 0.01, 1.0, 7.0, 95.0))),
)
topologies = st.one_of(
    st.tuples(st.sampled_from(("reflector", "client")), nodes),
    st.tuples(st.just("mesh"), st.booleans()),
)
policies = st.one_of(
    st.tuples(st.just("pool"), st.sampled_from(("Never", "Always", "CrossSubnet", "VXLAN", "quiet"))),
    st.tuples(st.just("filter"), st.sampled_from(("none", "in", "out", "prefer"))),
    st.tuples(st.just("service"), nodes),
    st.tuples(st.just("border"), st.booleans()),
    st.tuples(st.just("priority"), st.sampled_from((1024, 2000))),
)  # fmt: skip
Script = list[tuple[str, Any]]


def name_of(index: int) -> str:
    return f"node-{index:03}"


class History:
    """A cluster and what its resources say by now."""

    def __init__(self, nursery: trio.Nursery, seed: int, *, mesh: bool) -> None:
        self.cluster = Virtual(nursery, seed, fragment=True)
        self.configuration: dict[str, Any] = {
            "asNumber": 64512,
            "nodeToNodeMeshEnabled": mesh,
            "serviceExternalIPs": [{"cidr": "198.51.100.7/32"}],
        }
        self.nodes: dict[int, dict[str, Any]] = {}
        # Filters do nothing in a mesh, so everybody is everybody's peer then.
        self.peer = {"nodeSelector": "all()", "peerSelector": "has(route-reflector)" if mesh else "all()"}
        for text in (
            pool("default", "192.168.0.0/16", blockSize=26),
            pool("six", "fd00:10::/64", blockSize=122),
            bgp_configuration(**self.configuration),
            bgp_peer("peering", **self.peer),
        ):
            self.cluster.apply(text)

    def set_node(self, index: int, **changes: Any) -> None:
        known = self.nodes.setdefault(
            index, {"address": f"10.77.0.{index}/16", "asn": None, "cluster": "", "six": False}
        )
        known.update(changes)
        text = node(
            name_of(index),
            known["address"],
            asn=known["asn"],
            cluster=known["cluster"],
            labels={"route-reflector": "true"} if known["cluster"] else {},
        )
        if known["six"]:
            text["spec"]["bgp"]["ipv6Address"] = f"fd77::{index}/64"
        self.cluster.apply(text)

    def configure(self, **changes: Any) -> None:
        self.configuration.update(changes)
        self.cluster.apply(bgp_configuration(**self.configuration))

    async def take(self, verb: str, what: Any) -> None:
        cluster = self.cluster
        match verb:
            case "wait":
                await trio.sleep(what)
            case "mesh":
                self.configure(nodeToNodeMeshEnabled=what)
            case "priority":
                self.configure(ipv4NormalRoutePriority=what)
            case "cut" | "heal":
                one, other = map(name_of, what)
                if {one, other} <= {*cluster.members()}:
                    await (cluster.cut if verb == "cut" else cluster.heal)(one, other)
            case "pool":
                cluster.apply(pool("default", "192.168.0.0/16", blockSize=26, **_POOLS[what]))
            case "filter":
                cluster.apply(document("BGPFilter", "policy", _FILTERS[what]))
                filters = [] if what == "none" else ["policy"]
                cluster.apply(bgp_peer("peering", **self.peer, filters=filters))
            case "service":
                for text in _service(name_of(what)):
                    cluster.apply(text)
            case "border":
                await self._border(what)
            case "as":
                if what[0] in self.nodes:
                    self.set_node(what[0], asn=what[1])
            case _:
                await self._with_node(verb, what)

    async def _with_node(self, verb: str, index: int) -> None:
        cluster, name = self.cluster, name_of(index)
        running, known = cluster.is_running(name), index in self.nodes
        match verb:
            case "add" if not running:
                if not known:
                    self.set_node(index)
                await cluster.start(name)
            case "remove" if running:
                await self._remove(name)
                del self.nodes[index]
            case "crash" if running:
                await cluster.power_off(name)
            case "stop" if running:
                await cluster.stop(name)
            case "freeze" | "thaw" if known:
                await (cluster.freeze if verb == "freeze" else cluster.thaw)(name)
            case "pod" if running:
                await cluster.add_pods(name, 1)  # or not: of a family that no pool has
            case "unpod" if running and name not in cluster.weather.frozen:
                await cluster.delete_pods(name, 1)
            case "reflector" | "client" if known:
                self.set_node(index, cluster=f"244.0.0.{index % 2}" if verb == "reflector" else "")
            case "move" if known:
                self.set_node(index, address=f"10.77.1.{index}/16")
            case "dual" if known:
                self.set_node(index, six=not self.nodes[index]["six"])

    async def _remove(self, name: str) -> None:
        """What ``calicoctl delete node`` does: its endpoints, addresses, blocks and the resource go."""
        cluster = self.cluster
        owner = cluster.node(name)
        await cluster.delete_pods(name, 1000)
        await owner.allocator.release_host(name)
        await cluster.power_off(name)
        cluster.store.delete("Node", name)

    async def _border(self, there: bool) -> None:
        """A router that every node is told to peer with, present or not."""
        self.cluster.apply(bgp_peer("border", peerIP="10.77.9.9", asNumber=65000))
        spec = {
            "addresses": ["10.77.9.9/16"],
            "asNumber": 65000,
            "announce": ["0.0.0.0/0"],
            "neighbors": [{"nodeSelector": "all()"}],
        }
        self.cluster.apply({**document("Router", BORDER, spec), "apiVersion": "lab.tortie/v1"})
        if there and not self.cluster.is_running(BORDER):
            await self.cluster.start(BORDER)
        elif not there and self.cluster.is_running(BORDER):
            await self.cluster.power_off(BORDER)


_POOLS: dict[str, dict[str, Any]] = {
    "Never": {},
    "Always": {"ipipMode": "Always"},
    "CrossSubnet": {"ipipMode": "CrossSubnet"},
    "VXLAN": {"vxlanMode": "Always"},
    "quiet": {"disableBGPExport": True},
}
_INSIDE = {"cidr": "192.168.0.0/16", "matchOperator": "In"}
_FILTERS: dict[str, dict[str, Any]] = {
    "none": {},
    "in": {"importV4": [{**_INSIDE, "action": "Reject"}]},
    "out": {"exportV4": [{**_INSIDE, "action": "Reject"}]},
    "prefer": {
        "importV4": [{**_INSIDE, "action": "Accept", "operations": [{"setPriority": {"value": 512}}]}]
    },
}


def _service(where: str) -> list[Document]:
    """One address that only the node with the endpoint announces."""
    spec = {
        "type": "ClusterIP",
        "clusterIP": "10.96.0.1",
        "ipFamilies": ["IPv4"],
        "externalTrafficPolicy": "Local",
        "externalIPs": ["198.51.100.7"],
        "ports": [{"port": 80}],
    }
    labels = {"kubernetes.io/service-name": "web"}
    return [
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "web", "namespace": "default"},
            "spec": spec,
        },
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {"name": "web-1", "namespace": "default", "labels": labels},
            "addressType": "IPv4",
            "endpoints": [{"addresses": ["192.168.0.9"], "nodeName": where, "conditions": {"ready": True}}],
            "ports": [{"port": 80}],
        },
    ]


TWO_PATHS_GO_ONE_BY_ONE: Script = [
    *(("reflector", 1), ("reflector", 2), ("mesh", False), ("add", 4), ("pod", 3), ("wait", 95.0)),
    *(("crash", 2), ("wait", 95.0), ("wait", 95.0), ("remove", 3)),
]
"""Of two reflectors of two clusters one goes, then the node whose block both reflected."""


def run(seed: int, script: Script, *, mesh: bool = True) -> list[str]:
    async def main() -> list[str]:
        async with trio.open_nursery() as nursery:
            history = History(nursery, seed, mesh=mesh)
            cluster = history.cluster
            for index in (1, 2, 3):
                history.set_node(index)
                await cluster.start(name_of(index))
                await cluster.add_pods(name_of(index), 1)
            for verb, what in script:
                await history.take(verb, what)
            left = [*(await cluster.settle(LONGER_THAN_HOLD_AND_RETRY)).differences]
            if not left:
                # And it stays so.
                await trio.sleep(100)
                left = cluster.differences()
            addresses = [
                each
                for document in cluster.store.list("WorkloadEndpoint")
                for each in document["spec"]["ipNetworks"]
            ]
            assert len(addresses) == len(set(addresses))
            nursery.cancel_scope.cancel()
        return left

    return run_virtual(main, seed)


@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(seed=st.integers(0, 2**32), script=st.lists(st.one_of(steps, topologies), max_size=12))
@example(seed=1, script=TWO_PATHS_GO_ONE_BY_ONE)
def test_any_history_converges(seed: int, script: Script) -> None:
    note(f"seed {seed}, script {script}")
    assert run(seed, script) == []


@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(seed=st.integers(0, 2**32), script=st.lists(st.one_of(policies, steps), max_size=14))
def test_so_does_any_history_with_policies(seed: int, script: Script) -> None:
    note(f"seed {seed}, script {script}")
    assert run(seed, script, mesh=False) == []


def test_same_seed_same_run() -> None:
    script: Script = [
        ("reflector", 2),
        ("mesh", False),
        ("crash", 1),
        ("wait", 95.0),
        ("add", 1),
    ]
    assert run(7, script) == run(7, script) == []
