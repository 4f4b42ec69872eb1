"""One node and its neighbours, whole, in virtual time: from pods and resources to forwarding tables."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from typing import Any

import trio
import trio.testing

from agents.dataplane.fib import BLACKHOLE, FibRoute, RouteKind, device, via
from agents.journal import Event
from agents.node import Node
from agents.speaker.memory import MemoryLinks, MemoryNetwork
from cluster.rehearsal.clock import run_virtual
from cluster.rehearsal.virtual import Virtual
from protocol.prefix import IPV4, IPV6, Address, Prefix, family_of, host_prefix, parse_address
from protocol.v3.workload import interface_name
from tests.strategies.clusters import bgp_configuration, document, node, pool

Story = Callable[[Virtual], Awaitable[None]]


def name_of(index: int) -> str:
    return f"node-{index:03}"


def address_of(index: int) -> Address:
    return parse_address(f"10.77.0.{index}")


def mesh(nursery: trio.Nursery, seed: int) -> Virtual:
    """A place for nodes, of which there is none yet."""
    cluster = Virtual(nursery, seed, fragment=True)
    cluster.apply(pool("default", "192.168.0.0/16", blockSize=26))
    cluster.apply(bgp_configuration(asNumber=64512, nodeToNodeMeshEnabled=True))
    return cluster


def set_node(cluster: Virtual, index: int, *, six: bool = False) -> None:
    spec = {
        "ipv4Address": f"10.77.0.{index}/16",
        **({"ipv6Address": f"fd00:77::{index:x}/112"} if six else {}),
    }
    cluster.apply(document("Node", name_of(index), {"bgp": spec}))


def virtual(size: int) -> Callable[[Story], Callable[[], None]]:
    """Tells a story of some nodes; all of them are on, but no pod is there."""

    def tell(story: Story) -> Callable[[], None]:
        async def main() -> None:
            async with trio.open_nursery() as nursery:
                cluster = mesh(nursery, 1)
                for index in range(1, size + 1):
                    set_node(cluster, index)
                    await cluster.start(name_of(index))
                await story(cluster)
                nursery.cancel_scope.cancel()

        # Not functools.wraps: pytest would look for the story's arguments.
        def test() -> None:
            run_virtual(main, 1)

        test.__doc__ = story.__doc__
        return test

    return tell


def attached(cluster: Virtual) -> dict[Address, MemoryLinks]:
    """Who listens."""
    assert isinstance(cluster.network, MemoryNetwork)
    return cluster.network.nodes


def fib(cluster: Virtual, index: int) -> dict[Prefix, FibRoute]:
    return cluster.node(name_of(index)).fib.routes


async def settled(cluster: Virtual, within: float = 60) -> None:
    assert (await cluster.settle(within)).differences == ()


async def pods(cluster: Virtual, index: int, *names: str) -> list[Prefix]:
    return [host_prefix(await cluster.node(name_of(index)).add_pod(name)) for name in names]


def block_of(address: Prefix) -> Prefix:
    """The /26 around it."""
    return Prefix(bytes((26,)) + address[1:4] + bytes((address[4] & 0xC0,)))


@virtual(2)
async def test_pods_come_and_go(cluster: Virtual) -> None:
    first, second = await pods(cluster, 1, "a", "b")
    await settled(cluster)
    block = block_of(first)
    assert fib(cluster, 1) == {
        block: BLACKHOLE,
        first: device(interface_name("default", "a")),
        second: device(interface_name("default", "b")),
    }
    assert fib(cluster, 2) == {block: via((address_of(1),))}
    await cluster.node(name_of(1)).delete_pod("a")
    await settled(cluster)
    assert fib(cluster, 1) == {block: BLACKHOLE, second: device(interface_name("default", "b"))}
    assert fib(cluster, 2) == {block: via((address_of(1),))}, "a block stays with its node"


@virtual(2)
async def test_a_released_block_is_gone_everywhere(cluster: Virtual) -> None:
    await pods(cluster, 1, "a")
    await settled(cluster)
    await cluster.node(name_of(1)).delete_pod("a")
    await cluster.node(name_of(1)).allocator.release_host(name_of(1))
    await settled(cluster)
    assert fib(cluster, 1) == fib(cluster, 2) == {}


@virtual(2)
async def test_two_nodes_converge_at_once(cluster: Virtual) -> None:
    """Nothing waits for a timer: sockets, OPENs and UPDATEs are a few milliseconds."""
    [one] = await pods(cluster, 1, "a")
    [other] = await pods(cluster, 2, "b")
    await settled(cluster, within=0.5)
    assert fib(cluster, 1)[block_of(other)] == via((address_of(2),))
    assert fib(cluster, 2)[block_of(one)] == via((address_of(1),))


@virtual(1)
async def test_a_node_without_an_address_waits_for_one(cluster: Virtual) -> None:
    cluster.apply(document("Node", name_of(2), {}))
    await cluster.start(name_of(2))  # it is started: nobody has to wait for it
    waiting = cluster.node(name_of(2))
    assert (waiting.speakers, waiting.links) == ({}, {})
    await trio.sleep(100)
    set_node(cluster, 2)
    await pods(cluster, 2, "a")
    await settled(cluster)
    assert waiting.speakers[IPV4].established == 1


@virtual(1)
async def test_a_node_without_a_resource_waits_for_it(cluster: Virtual) -> None:
    await cluster.start(name_of(2))
    await trio.sleep(100)
    assert not cluster.node(name_of(2)).speakers
    set_node(cluster, 2)
    await pods(cluster, 2, "a")
    await settled(cluster)


@virtual(2)
async def test_an_address_change_moves_the_node_with_its_sessions(cluster: Virtual) -> None:
    [pod] = await pods(cluster, 1, "a")
    await settled(cluster)
    cluster.apply(node(name_of(1), "10.77.5.5/16"))
    await settled(cluster)
    assert fib(cluster, 2) == {block_of(pod): via((parse_address("10.77.5.5"),))}
    assert attached(cluster).keys() == {parse_address("10.77.5.5"), address_of(2)}
    speaker = cluster.node(name_of(1)).speakers[IPV4]
    assert (speaker.config.address, speaker.established) == (parse_address("10.77.5.5"), 1)
    assert fib(cluster, 1)[pod].kind is RouteKind.DEVICE, "its pods have moved along"


@virtual(2)
async def test_a_node_whose_address_is_taken_away_listens_no_more(cluster: Virtual) -> None:
    [pod] = await pods(cluster, 1, "a")
    await pods(cluster, 2, "b")
    await settled(cluster)
    cluster.apply(document("Node", name_of(1), {}))
    await trio.sleep(1)
    assert not cluster.node(name_of(1)).speakers
    assert attached(cluster).keys() == {address_of(2)}
    assert len(fib(cluster, 2)) == 2, "its own"
    assert fib(cluster, 1) == {pod: device(interface_name("default", "a"))}, "Felix needs no BGP"
    [another] = await pods(cluster, 1, "c")
    assert fib(cluster, 1).keys() == {pod}
    await trio.testing.wait_all_tasks_blocked()
    assert fib(cluster, 1).keys() == {pod, another}
    set_node(cluster, 1)
    await settled(cluster)
    assert len(fib(cluster, 2)) == 3


@virtual(3)
async def test_a_power_cut_and_back(cluster: Virtual) -> None:
    for index in (1, 2, 3):
        await pods(cluster, index, f"pod-{index}")
    await settled(cluster)
    before = dict(fib(cluster, 1))
    await cluster.power_off(name_of(1))
    await settled(cluster, within=100)
    assert len(fib(cluster, 2)) == 3, "its own block and pod, and the block of one other"
    await cluster.start(name_of(1))
    await settled(cluster)
    assert fib(cluster, 1) == before, "what the datastore knows is what it is again"
    [again] = await pods(cluster, 1, "another")
    assert block_of(again) in before, "and its block is still its own"


@virtual(2)
async def test_a_node_that_stops_says_nothing(cluster: Virtual) -> None:
    await trio.sleep(1)
    await cluster.stop(name_of(1))
    await trio.sleep(0.1)
    speaker = cluster.node(name_of(2)).speakers[IPV4]
    [peer] = speaker.peers.values()
    assert peer.session.last_error == "Socket: Connection reset by peer"


@virtual(2)
async def test_a_node_listens_before_it_dials(cluster: Virtual) -> None:
    """Until ``start_bgp`` it only answers the phone; what came meanwhile is not lost."""
    set_node(cluster, 3)
    silent = cluster.host.nodes[name_of(3)] = Node(name_of(3), cluster.host)
    async with trio.open_nursery() as nursery:
        await nursery.start(silent.run)
        await pods(cluster, 3, "a")
        await trio.sleep(3)
        assert silent.established == 0
        assert cluster.node(name_of(1)).established == 1
        assert {route.kind for route in silent.fib.routes.values()} == {RouteKind.DEVICE, RouteKind.BLACKHOLE}
        silent.start_bgp()
        silent.start_bgp()  # twice is once
        await trio.sleep(0.1)
        assert silent.established == 2
        nursery.cancel_scope.cancel()


@virtual(2)
async def test_what_concerns_others_wakes_nobody(cluster: Virtual) -> None:
    """A pod of node 1 is no business of node 2's; a pool is everybody's."""
    await settled(cluster)
    woken: list[str] = []
    for index in (1, 2):
        there = cluster.node(name_of(index))
        there.wake = functools.partial(woken.append, there.name)  # type: ignore[method-assign]  # listens in
    await pods(cluster, 1, "a")
    assert set(woken) == {name_of(1)}
    woken.clear()
    cluster.apply(bgp_configuration(nodeToNodeMeshEnabled=False))
    assert sorted(woken) == [name_of(1), name_of(2)]


async def test_a_node_whose_endpoint_is_taken_is_down_until_it_is_free(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with trio.open_nursery() as nursery:
        cluster = mesh(nursery, 1)
        set_node(cluster, 1)
        set_node(cluster, 2)
        squatter = cluster.network.attach(address_of(1))
        await cluster.start(name_of(1))
        await cluster.start(name_of(2))
        await pods(cluster, 1, "a")
        blocked = cluster.node(name_of(1))
        assert blocked.notes == ("cannot listen on 10.77.0.1: Address already in use",)
        assert (blocked.speakers, blocked.links, blocked.fib.routes) == ({}, {}, {})
        await trio.sleep(100)
        assert [event.reason for _, event in blocked.journal] == ["NodeDown"], "said once"
        squatter.shut()
        await trio.sleep(10)
        await settled(cluster)
        assert not blocked.notes
        assert [event.reason for _, event in blocked.journal][:2] == ["NodeDown", "NodeUp"]
        assert len(fib(cluster, 2)) == 1
        nursery.cancel_scope.cancel()


@virtual(2)
async def test_of_two_nodes_with_one_address_the_second_is_down(cluster: Virtual) -> None:
    cluster.apply(node(name_of(3), "10.77.0.2/16"))
    await cluster.start(name_of(3))
    await trio.sleep(1)
    assert cluster.node(name_of(3)).notes == (
        "Calico node 'node-002' is already using the IPv4 address 10.77.0.2.",
    )
    assert (cluster.node(name_of(1)).established, cluster.node(name_of(2)).established) == (1, 1)
    set_node(cluster, 3)
    await trio.sleep(10)
    assert not cluster.node(name_of(3)).notes
    assert cluster.node(name_of(3)).established == 2


# --- two families ---------------------------------------------------------------------------------------------------


def six(cluster: Virtual) -> None:
    """All nodes have IPv6 too, and there is a pool for it."""
    cluster.apply(pool("six", "fd00:10::/64", blockSize=122))
    for index in (1, 2):
        set_node(cluster, index, six=True)


def families(cluster: Virtual, index: int) -> list[int]:
    return sorted(family_of(prefix) for prefix in fib(cluster, index))


@virtual(2)
async def test_a_pod_has_an_address_of_each_family_on_one_interface(cluster: Virtual) -> None:
    six(cluster)
    await trio.sleep(1)
    await pods(cluster, 1, "a")
    await settled(cluster)
    own = cluster.node(name_of(1)).fib.routes
    assert sorted(map(family_of, own)) == [IPV4, IPV4, IPV6, IPV6]
    assert [route for route in own.values() if route.kind is RouteKind.DEVICE] == [
        device(interface_name("default", "a"))
    ] * 2
    assert sorted(route.gateways for route in fib(cluster, 2).values()) == [
        (address_of(1),),
        (parse_address("fd00:77::1"),),
    ]
    assert cluster.node(name_of(2)).established == 2


@virtual(2)
async def test_a_pod_has_no_address_of_a_family_without_a_pool(cluster: Virtual) -> None:
    for index in (1, 2):
        set_node(cluster, index, six=True)
    await trio.sleep(1)
    await pods(cluster, 1, "a")
    await settled(cluster)
    assert families(cluster, 1) == [IPV4, IPV4]


@virtual(2)
async def test_one_family_comes_and_goes_and_the_other_does_not_notice(cluster: Virtual) -> None:
    await pods(cluster, 1, "a")
    await settled(cluster)
    there = cluster.node(name_of(1))
    bird = there.speakers[IPV4]
    six(cluster)
    await trio.sleep(1)
    await pods(cluster, 1, "b")
    await settled(cluster)
    assert families(cluster, 2) == [IPV4, IPV6]
    cluster.apply(
        document(
            "Node", name_of(1), {"bgp": {"ipv4Address": "10.77.0.1/16", "ipv6Address": "fd00:77::99/112"}}
        )
    )
    await settled(cluster)
    assert (parse_address("fd00:77::99"),) in [route.gateways for route in fib(cluster, 2).values()]
    assert [event for _, event in there.journal if event.reason == "AddressMoved"] == [
        Event("AddressMoved", "from fd00:77::1 to fd00:77::99")
    ]
    set_node(cluster, 1)
    await settled(cluster)
    assert families(cluster, 2) == [IPV4]
    assert there.speakers == {IPV4: bird}
    assert bird.established == 1


@virtual(1)
async def test_a_node_with_one_endpoint_of_two_is_down_altogether(cluster: Virtual) -> None:
    squatter = cluster.network.attach(parse_address("fd00:77::1"))
    await pods(cluster, 1, "a")
    set_node(cluster, 1, six=True)
    await trio.sleep(1)
    there = cluster.node(name_of(1))
    assert there.notes == ("cannot listen on fd00:77::1: Address already in use",)
    assert (there.speakers, there.links, there.fib.routes) == ({}, {}, {})
    assert cluster.ill.keys() == {name_of(1)}
    squatter.shut()
    await trio.sleep(10)
    assert there.speakers.keys() == {IPV4, IPV6}
    assert not cluster.ill
    assert len(there.fib.routes) == 2


@virtual(1)
async def test_a_node_is_no_longer_down_for_an_address_that_is_taken_from_it(cluster: Virtual) -> None:
    cluster.network.attach(parse_address("fd00:77::1"))
    await pods(cluster, 1, "a")
    set_node(cluster, 1, six=True)
    await trio.sleep(1)
    assert cluster.ill.keys() == {name_of(1)}
    set_node(cluster, 1)
    await trio.sleep(1)
    there = cluster.node(name_of(1))
    assert there.notes == ()
    assert there.speakers.keys() == {IPV4}
    assert len(there.fib.routes) == 2
    assert not cluster.ill


# --- other ----------------------------------------------------------------------------------------------------------


@virtual(1)
async def test_a_port_that_changes_moves_the_node(cluster: Virtual) -> None:
    cluster.apply(bgp_configuration(asNumber=64512, nodeToNodeMeshEnabled=True, listenPort=1790))
    set_node(cluster, 2)
    await cluster.start(name_of(2))
    await pods(cluster, 1, "a")
    await settled(cluster)
    assert {links.port for links in attached(cluster).values()} == {1790}
    assert cluster.node(name_of(2)).established == 1


@virtual(2)
async def test_the_port_that_it_has_anyway_moves_nobody(cluster: Virtual) -> None:
    await trio.sleep(1)
    bird = cluster.node(name_of(1)).speakers[IPV4]
    cluster.apply(
        document("BGPConfiguration", f"node.{name_of(1)}", {"listenPort": 179, "logSeverityScreen": "Info"})
    )
    await trio.sleep(1)
    assert cluster.node(name_of(1)).speakers == {IPV4: bird}


@virtual(2)
async def test_sessions_are_events(cluster: Virtual) -> None:
    await trio.sleep(1)
    await cluster.stop(name_of(2))
    await trio.sleep(1)
    assert [event for _, event in cluster.node(name_of(1)).journal] == [
        Event("SessionUp", "Mesh_10_77_0_2"),
        Event("GracefulRestart", "Mesh_10_77_0_2: routes kept for 120 s at most: 0"),
        Event("SessionDown", "Mesh_10_77_0_2: Socket: Connection reset by peer", warning=True),
    ]


@virtual(2)
async def test_peers_in_vain_are_counted(cluster: Virtual) -> None:
    await trio.sleep(1)
    assert [cluster.node(name_of(number)).unmet for number in (1, 2)] == [0, 0]
    cluster.apply(document("BGPPeer", "ghost", {"node": name_of(1), "peerIP": "10.1.2.3", "asNumber": 65001}))
    await trio.sleep(1)
    assert [cluster.node(name_of(number)).unmet for number in (1, 2)] == [1, 0]


@virtual(1)
async def test_what_is_not_followed_is_noted_and_an_event_once(cluster: Virtual) -> None:
    cluster.apply(
        document("BGPPeer", "ghost", {"peerIP": "10.1.2.3", "asNumber": 65001, "filters": ["nobody"]})
    )
    await trio.sleep(1)
    set_node(cluster, 2)
    await trio.sleep(1)
    there = cluster.node(name_of(1))
    [note] = there.notes
    assert "nobody" in note
    assert [event for _, event in there.journal] == [Event("ConfigIgnored", note, warning=True)]


def test_the_same_seed_is_the_same_run() -> None:
    def run() -> Any:
        found: list[object] = []

        async def main() -> None:
            async with trio.open_nursery() as nursery:
                cluster = mesh(nursery, 5)
                for index in range(1, 5):
                    set_node(cluster, index)
                    await cluster.start(name_of(index))
                    await cluster.add_pods(name_of(index), 1)
                await settled(cluster)
                found.extend(
                    (trio.current_time(), [list(fib(cluster, index).items()) for index in range(1, 5)])
                )
                nursery.cancel_scope.cancel()

        run_virtual(main, 5)
        return found

    assert run() == run()
