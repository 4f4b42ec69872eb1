"""What an account learns from the datastore, as it is and as it changes."""

from __future__ import annotations

from typing import Any

from agents.dataplane.fib import BLACKHOLE, device, via
from cluster.datastore.memory import MemoryStore
from cluster.loss.account import Account
from cluster.loss.feed import follow
from protocol.prefix import parse_address, parse_prefix

V3 = "projectcalico.org/v3"


def node(name: str, spec: dict[str, Any]) -> dict[str, Any]:
    return {"apiVersion": V3, "kind": "Node", "metadata": {"name": name}, "spec": spec}


def pod(name: str, on: str, address: str, interface: str = "cali1") -> dict[str, Any]:
    spec = {"node": on, "ipNetworks": [address], **({"interfaceName": interface} if interface else {})}
    return {"apiVersion": V3, "kind": "WorkloadEndpoint", "metadata": {"name": name, "namespace": "default"}, "spec": spec}  # fmt: skip


class Cluster:
    """ant has a pod; bee's packets go to whatever ``gateway`` is."""

    def __init__(self) -> None:
        self.time = 0.0
        self.store = MemoryStore(wall=lambda: self.time)
        self.store.create(
            node("ant", {"bgp": {"ipv4Address": "10.77.0.1/24"}, "ipv4VXLANTunnelAddr": "192.168.9.1"})
        )
        self.store.create(node("bee", {"bgp": {"ipv4Address": "10.77.0.2/24"}}))
        router = {"addresses": ["10.77.0.9/24"], "asNumber": 65000}
        self.store.create(
            {"apiVersion": "lab.tortie/v1", "kind": "Router", "metadata": {"name": "rtr"}, "spec": router}
        )
        self.store.create(pod("one", "ant", "192.168.0.1/32"))
        self.account = Account()
        self.end = follow(self.account, self.store, lambda: self.time)
        block = parse_prefix("192.168.0.0/26")
        ant = {parse_prefix("192.168.0.1/32"): device("cali1"), block: BLACKHOLE}
        self.account.set_table(0.0, "ant", ant)
        self.account.set_table(0.0, "rtr", {block: via((parse_address("10.77.0.1"),))})

    def fails(self, gateway: str = "10.77.0.1") -> str:
        """Why bee's packets do not reach ant's pods."""
        self.time += 1
        route = via((parse_address(gateway),))
        self.account.set_table(self.time, "bee", {parse_prefix("192.168.0.0/26"): route})
        return self.account.failing(self.time).get(("bee", "ant"), "")


def test_a_gateway_is_whoever_has_the_address() -> None:
    cluster = Cluster()
    assert cluster.fails("10.77.0.1") == ""
    assert cluster.fails("192.168.9.1") == ""
    assert cluster.fails("10.77.0.9") == ""
    assert cluster.fails("10.77.0.7") == "bee sends 192.168.0.0/26 via 10.77.0.7, which nobody has"
    assert ("rtr", "ant") not in cluster.account.failing(cluster.time)
    assert cluster.account.report(cluster.time).counted == 1  # bee to ant


def test_addresses_move_with_their_resources() -> None:
    cluster = Cluster()
    ant = cluster.store.get("Node", "ant")
    cluster.store.update({**ant, "spec": {"bgp": {"ipv4Address": "10.77.0.7/24"}}})
    assert cluster.fails("10.77.0.7") == ""
    assert cluster.fails("10.77.0.1").endswith("which nobody has")
    cluster.store.delete("Router", "rtr")
    assert cluster.fails("10.77.0.9").endswith("which nobody has")


def test_pods_come_and_go_and_are_somewhere_once_they_have_an_interface() -> None:
    cluster = Cluster()
    cluster.store.create(pod("two", "ant", "192.168.0.2/32", interface=""))
    assert cluster.fails() == ""
    two = cluster.store.get("WorkloadEndpoint", "two", "default")
    cluster.store.update({**two, "spec": {**two["spec"], "interfaceName": "cali2"}})
    assert cluster.fails() == "ant has 192.168.0.0/26 as blackhole"
    cluster.store.delete("WorkloadEndpoint", "two", "default")
    assert cluster.fails() == ""


def test_a_node_that_is_deleted_sends_nothing_and_is_reached_by_nobody() -> None:
    cluster = Cluster()
    cluster.fails("10.77.0.7")
    cluster.store.delete("Node", "bee")
    assert cluster.account.failing(cluster.time) == {}


def test_what_is_not_followed_any_more_is_not_heard() -> None:
    cluster = Cluster()
    cluster.end()
    cluster.store.delete("Node", "ant")
    assert cluster.fails() == ""
