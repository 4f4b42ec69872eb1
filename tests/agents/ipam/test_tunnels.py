"""Tunnel addresses: which a node wants, and that it ends with just these, whatever happens in between."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from agents.ipam.errors import IPAMError
from agents.ipam.tunnels import RETRY, Tunnel, Tunnels, plan
from cluster.datastore.local import LocalDatastore
from cluster.rehearsal.clock import run_virtual
from protocol.prefix import contains, format_address, parse_prefix
from protocol.v3.codec import encode
from protocol.v3.ippool import IPPool, IPPoolSpec
from protocol.v3.metadata import Metadata, Resource
from protocol.v3.node import Node, NodeBGPSpec, NodeSpec
from tests.strategies.ipam import Calls, World


def pool(name: str, cidr: str, **facts: Any) -> IPPool:
    return IPPool(Metadata(name), spec=IPPoolSpec(cidr=cidr, **facts))


def node(name: str = "ant", **labels: str) -> Node:
    return Node(Metadata(name, labels=labels), spec=NodeSpec(bgp=NodeBGPSpec(ipv4_address="10.0.0.1/24")))


def tunnels(world: World, name: str = "ant", complaints: list[str] | None = None) -> Tunnels:
    complain = (lambda reason: None) if complaints is None else complaints.append
    return Tunnels(
        node=name, view=world.view, allocator=world.allocator(name), datastore=world.calls, complain=complain
    )


def stored(world: World, name: str = "ant") -> Node:
    [found] = [one for one in world.all("Node") if one.metadata.name == name]
    assert isinstance(found, Node)
    return found


def put(world: World, resource: IPPool | Node) -> None:
    old = world.store.find(resource.key)
    if old is None:
        world.store.create(encode(resource))
    else:
        document = encode(resource)
        world.store.update({**document, "metadata": {**old["metadata"], **document["metadata"]}})


# --- who wants what -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("facts", "wanted"),
    [
        ({}, set()),
        ({"ipip_mode": "Always"}, {Tunnel.IPIP}),
        ({"ipip_mode": "CrossSubnet"}, {Tunnel.IPIP}),
        ({"vxlan_mode": "CrossSubnet"}, {Tunnel.VXLAN}),
        ({"vxlan_mode": "Always", "disabled": True}, set()),
        ({"vxlan_mode": "Always", "allowed_uses": ("Workload",)}, set()),
        ({"vxlan_mode": "Always", "node_selector": "rack == 'b'"}, set()),
        ({"vxlan_mode": "Always", "node_selector": "rack == 'a'"}, {Tunnel.VXLAN}),
    ],
)
def test_pools_that_count(facts: Any, wanted: set[Tunnel]) -> None:
    found = plan(node(rack="a"), [pool("p", "192.168.0.0/24", **facts)])
    assert {tunnel for tunnel, pools in found.items() if pools} == wanted


def test_ipv6_has_a_tunnel_of_its_own() -> None:
    pools = [pool("six", "fd00::/64", vxlan_mode="Always"), pool("b", "10.1.0.0/24", vxlan_mode="Always")]
    found = plan(node(), [*pools, pool("a", "10.2.0.0/24", vxlan_mode="CrossSubnet")])
    names = {tunnel: [each.metadata.name for each in usable] for tunnel, usable in found.items()}
    assert names == {Tunnel.IPIP: [], Tunnel.VXLAN: ["a", "b"], Tunnel.VXLAN_V6: ["six"]}


# --- what becomes of it -------------------------------------------------------------------------------------------


async def test_each_encapsulation_has_an_address() -> None:
    world = World(
        pool("ipip", "10.1.0.0/24", ipip_mode="Always"),
        pool("vxlan", "10.2.0.0/24", vxlan_mode="Always"),
        pool("six", "fd00::/64", vxlan_mode="Always"),
        node(),
    )
    await tunnels(world).reconcile()
    assert world.handles().keys() == {
        "ipip-tunnel-addr-ant", "vxlan-tunnel-addr-ant", "vxlan-v6-tunnel-addr-ant",
    }  # fmt: skip
    found = stored(world)
    for tunnel, cidr in zip(Tunnel, ("10.1.0.0/24", "10.2.0.0/24", "fd00::/64"), strict=True):
        assert contains(parse_prefix(cidr), parse_prefix(tunnel.address(found)))
    assert found.spec.bgp is not None
    assert found.spec.bgp.ipv4_address == "10.0.0.1/24", "the rest is left alone"
    [attributes] = [
        each for block in world.blocks().values() for each in block.spec.attributes
        if each.handle_id == "ipip-tunnel-addr-ant"
    ]  # fmt: skip
    assert attributes.secondary == {"node": "ant", "type": "ipipTunnelAddress"}
    assert world.audit() == []


async def test_what_stays_right_is_let_be() -> None:
    world = World(pool("ipip", "10.1.0.0/24", ipip_mode="Always"), node())
    at_work = tunnels(world)
    await at_work.reconcile()
    before = stored(world), len(world.calls.made)
    await at_work.reconcile()
    assert (stored(world), len(world.calls.made)) == before, "not even read"
    await tunnels(world).reconcile()  # as after a restart
    assert (stored(world), len(world.owners())) == (before[0], 1)


@pytest.mark.parametrize("change", [{"ipip_mode": "Never"}, {"disabled": True}])
async def test_without_a_pool_there_is_no_address(change: Any) -> None:
    world = World(pool("ipip", "10.1.0.0/24", ipip_mode="Always"), node())
    at_work = tunnels(world)
    await at_work.reconcile()
    put(world, pool("ipip", "10.1.0.0/24", **{"ipip_mode": "Always", **change}))
    await at_work.reconcile()
    assert Tunnel.IPIP.address(stored(world)) == ""
    assert world.owners() == {}


async def test_an_address_of_another_pool_is_changed() -> None:
    world = World(pool("old", "10.1.0.0/24", ipip_mode="Always"), node())
    at_work = tunnels(world)
    await at_work.reconcile()
    put(world, pool("old", "10.1.0.0/24"))
    put(world, pool("new", "10.2.0.0/24", ipip_mode="Always"))
    await at_work.reconcile()
    assert contains(parse_prefix("10.2.0.0/24"), parse_prefix(Tunnel.IPIP.address(stored(world))))
    assert [format_address(address) for address in world.owners()] == [Tunnel.IPIP.address(stored(world))]


async def test_an_address_that_ipam_does_not_know_is_replaced() -> None:
    brought = Tunnel.VXLAN.written(node(), "10.1.0.77")
    world = World(pool("vxlan", "10.1.0.0/24", vxlan_mode="Always"), brought)
    await tunnels(world).reconcile()
    [address] = world.owners()
    assert Tunnel.VXLAN.address(stored(world)) == format_address(address) != "10.1.0.77"


async def test_a_full_pool_is_said_and_tried_again(autojump_clock: trio.testing.MockClock) -> None:
    world = World(pool("ipip", "10.1.0.0/32", ipip_mode="Always", block_size=32), node("ant"), node("bee"))
    complaints: list[str] = []
    await tunnels(world, "bee").reconcile()
    with pytest.raises(IPAMError, match="no tunnel address for ant: Assigned 0 out of 1"):
        await tunnels(world, "ant").reconcile()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(tunnels(world, "ant", complaints).run)
        await trio.sleep(RETRY / 2)
        assert len(complaints) == 1
        await world.allocator("bee").release_by_handle("ipip-tunnel-addr-bee")
        await trio.sleep(RETRY)
        assert Tunnel.IPIP.address(stored(world)) == "10.1.0.0"
        nursery.cancel_scope.cancel()


async def test_it_runs_when_something_has_changed(autojump_clock: trio.testing.MockClock) -> None:
    world = World(node())
    at_work = tunnels(world)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(at_work.run)
        await trio.sleep(1)
        put(world, pool("ipip", "10.1.0.0/24", ipip_mode="Always"))
        at_work.look()
        await trio.sleep(1)
        assert Tunnel.IPIP.address(stored(world))
        calls = len(world.calls.made)
        for _ in range(3):
            at_work.look()
            await trio.sleep(1)
        assert len(world.calls.made) == calls
        nursery.cancel_scope.cancel()


async def test_others_write_the_node_at_the_same_time() -> None:
    world = World(pool("ipip", "10.1.0.0/24", ipip_mode="Always"), node())

    class Meddled(Calls):
        """Somebody writes the Node between our read and our write, once."""

        meddled = False

        async def get(self, kind: str, name: str, namespace: str = "") -> Resource:
            found = await super().get(kind, name, namespace)
            if kind == "Node" and not self.meddled:
                self.meddled = True
                put(world, node(rack="b"))
            return found

    world.calls = Meddled(LocalDatastore(world.store))
    await tunnels(world).reconcile()
    found = stored(world)
    assert (found.metadata.labels, bool(Tunnel.IPIP.address(found))) == ({"rack": "b"}, True)


steps = st.lists(
    st.tuples(
        st.sampled_from(("10.1.0.0/30", "10.2.0.0/26")),
        st.sampled_from(("Never", "Always", "CrossSubnet")),
        st.booleans(),
    ),
    max_size=6,
)


@given(steps)
def test_any_history_of_pools_ends_alike(history: list[tuple[str, Any, bool]]) -> None:
    """One address a wanted encapsulation, of a pool that has it, and nothing left over."""

    async def main() -> None:
        world = World(node())
        at_work = tunnels(world)
        for cidr, mode, vxlan in history:
            modes = {"vxlan_mode": mode} if vxlan else {"ipip_mode": mode}
            put(world, pool(f"p{cidr[3]}", cidr, block_size=30, **modes))
            await at_work.reconcile()
        found = stored(world)
        pools = [each for each in world.all("IPPool") if isinstance(each, IPPool)]
        addresses = []
        for tunnel, usable in plan(found, pools).items():
            address = tunnel.address(found)
            assert bool(address) is bool(usable)
            if address:
                addresses.append(address)
                assert any(contains(parse_prefix(each.spec.cidr), parse_prefix(address)) for each in usable)
        assert sorted(map(format_address, world.owners())) == sorted(addresses)
        assert world.audit() == []

    run_virtual(main, 0)
