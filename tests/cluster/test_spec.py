"""What is launched: defaults, manifests, and what is wrong with them together."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.spec import Spec, SpecError, World, build
from cluster.topology import derive
from protocol.prefix import parse_address
from protocol.v3.bgp import BGPConfiguration, BGPConfigurationSpec, BGPPeer
from protocol.v3.ipam import IPAMConfiguration, IPAMConfigurationSpec
from protocol.v3.ippool import IPPool, IPPoolSpec
from protocol.v3.lab import Router, RouterSpec
from protocol.v3.metadata import Metadata, Resource
from protocol.v3.node import Node, NodeBGPSpec, NodeSpec


def node(name: str, address: str = "", **labels: str) -> Node:
    return Node(
        Metadata(name, labels=labels), NodeSpec(bgp=NodeBGPSpec(ipv4_address=address) if address else None)
    )


def pool(
    name: str, cidr: str, selector: str = "all()", block_size: int = 26, disabled: bool = False
) -> IPPool:
    return IPPool(
        Metadata(name),
        IPPoolSpec(cidr=cidr, block_size=block_size, node_selector=selector, disabled=disabled),
    )


def pools(world: World) -> list[str]:
    return [f"{each.metadata.name} {each.spec.cidr}/{each.spec.block_size}" for each in world.of_kind(IPPool)]


def problems(spec: Spec, *manifest: Resource) -> list[str]:
    with pytest.raises(SpecError) as caught:
        build(spec, manifest)
    return list(caught.value.problems)


def test_without_manifests_it_is_a_fresh_calico() -> None:
    world = build(Spec(nodes=3))
    assert [each.metadata.name for each in world.nodes] == ["node-001", "node-002", "node-003"]
    assert [each.spec.bgp and each.spec.bgp.ipv4_address for each in world.nodes] == [
        "10.77.0.1/16",
        "10.77.0.2/16",
        "10.77.0.3/16",
    ]
    assert pools(world) == ["default-ipv4-ippool 192.168.0.0/16/26"]
    assert world.bgp_configuration is not None
    assert world.bgp_configuration.spec.as_number == 64512
    assert world.bgp_configuration.spec.node_to_node_mesh_enabled is True
    assert world.resources[-3:] == world.nodes


@pytest.mark.parametrize(
    ("nodes", "blocks", "cidr"),
    [
        (512, 1, "192.168.0.0/16"),
        (513, 1, "172.16.0.0/12"),
        (50, 1000, "10.128.0.0/9"),
        (50, 160, "172.16.0.0/12"),
    ],
)
def test_the_default_pool_is_at_most_half_used(nodes: int, blocks: int, cidr: str) -> None:
    assert [each.spec.cidr for each in build(Spec(nodes=nodes, blocks_per_node=blocks)).of_kind(IPPool)] == [
        cidr
    ]


def test_the_default_pool_is_not_where_the_nodes_live() -> None:
    assert pools(build(Spec(), [node("a", "192.168.1.2/24")])) == ["default-ipv4-ippool 172.16.0.0/12/26"]


def test_numbers_have_as_many_digits_as_needed() -> None:
    assert build(Spec(nodes=1000)).nodes[6].metadata.name == "node-0007"


def test_manifest_nodes_are_launched_as_they_are_and_the_rest_is_generated_around_them() -> None:
    own = [node("edge", "172.18.0.9/16"), node("node-001", "172.18.0.1"), node("x", "10.77.0.2/24")]
    world = build(Spec(nodes=5), own)
    assert [each.metadata.name for each in world.nodes] == ["edge", "node-001", "x", "node-003", "node-004"]
    assert world.generated == 2
    assert len(set(world.addresses().values())) == 5


def test_manifest_nodes_alone_need_no_number() -> None:
    assert [each.metadata.name for each in build(Spec(), [node("only", "10.0.0.1")]).nodes] == ["only"]
    assert problems(Spec(nodes=1), node("a", "10.0.0.1"), node("b", "10.0.0.2")) == [
        "--nodes 1: the manifests alone have 2 nodes"
    ]


def test_manifest_pools_and_configuration_replace_the_defaults() -> None:
    configuration = BGPConfiguration(Metadata("default"), BGPConfigurationSpec(as_number=65001))
    world = build(Spec(nodes=2), [pool("mine", "10.9.0.0/24"), configuration])
    assert pools(world) == ["mine 10.9.0.0/24/26"]
    assert world.bgp_configuration is configuration


def test_route_reflectors_are_the_documented_pattern() -> None:
    world = build(Spec(nodes=10, route_reflectors=2))
    reflectors = [each for each in world.nodes if each.metadata.labels.get("route-reflector") == "true"]
    assert [each.metadata.name for each in reflectors] == ["node-001", "node-002"]
    assert {each.spec.bgp and each.spec.bgp.route_reflector_cluster_id for each in reflectors} == {
        "244.0.0.1"
    }
    assert world.bgp_configuration is not None
    assert world.bgp_configuration.spec.node_to_node_mesh_enabled is False
    topology = derive(world.nodes, world.bgp_configuration, world.of_kind(BGPPeer))
    assert topology.name == "2 route reflectors"
    assert topology.sessions["node-001"] == 9
    assert topology.sessions["node-003"] == 2
    assert topology.total == 8 * 2 + 1


def test_route_reflectors_and_a_manifest_that_wants_the_mesh_contradict_each_other() -> None:
    configuration = BGPConfiguration(
        Metadata("default"), BGPConfigurationSpec(node_to_node_mesh_enabled=True, as_number=65001)
    )
    assert (
        "BGPConfiguration/default has nodeToNodeMeshEnabled: true"
        in problems(Spec(nodes=4, route_reflectors=1), configuration)[0]
    )
    silent = BGPConfiguration(Metadata("default"), BGPConfigurationSpec(as_number=65001))
    made = build(Spec(nodes=4, route_reflectors=1), [silent]).bgp_configuration
    assert made is not None
    assert (made.spec.as_number, made.spec.node_to_node_mesh_enabled) == (65001, False)


def test_everything_wrong_with_the_nodes_is_said_at_once() -> None:
    three = node("a", "10.0.0.1/24"), node("b", "10.0.0.1"), node("c", "10.0.0.1/16")
    assert problems(Spec(), *three) == [
        "Node/b: spec.bgp.ipv4Address: 10.0.0.1 is Node/a's already",
        "Node/c: spec.bgp.ipv4Address: 10.0.0.1 is Node/a's already",
    ]


def test_a_node_without_an_address_is_launched_like_any_other() -> None:
    world = build(Spec(), [node("a"), node("b", "10.0.0.1/24")])
    assert [each.metadata.name for each in world.nodes] == ["a", "b"]
    assert world.addresses()["a"] == ()


def test_a_pool_too_small_for_its_nodes_is_refused_with_the_sum() -> None:
    rack = [node(f"r{i}", f"10.0.0.{i}", rack="1") for i in range(1, 6)]
    text = problems(Spec(), *rack, pool("small", "10.9.0.0/24"))
    assert text == [
        "IPPool/small (10.9.0.0/24, blocks /26): 4 blocks are too few for the 5 nodes selected, "
        "which need 5 (1 each)"
    ]
    build(Spec(), [*rack, pool("small", "10.9.0.0/24"), pool("more", "10.10.0.0/26")])
    build(Spec(nodes=4), [pool("exactly", "10.9.0.0/24")])


def test_pods_may_borrow_unless_affinity_is_strict() -> None:
    tight = pool("tight", "10.9.0.0/24")
    build(Spec(nodes=3, pods_per_node=85), [tight])
    assert problems(Spec(nodes=3, pods_per_node=86), tight) == [
        "IPPool/tight (10.9.0.0/24, blocks /26): 256 addresses are too few for the 3 nodes selected, "
        "which need 258 (86 each)"
    ]
    strict = IPAMConfiguration(Metadata("default"), IPAMConfigurationSpec(strict_affinity=True))
    assert problems(Spec(nodes=3, pods_per_node=85), tight, strict) == [
        "IPPool/tight (10.9.0.0/24, blocks /26): 4 blocks are too few for the 3 nodes selected, which need 6 (2 each)"
    ]
    build(Spec(nodes=3, pods_per_node=64), [tight, strict])


def test_a_selective_pool_is_held_against_the_nodes_that_have_no_other() -> None:
    rack = [node(f"r{i}", f"10.0.0.{i}", rack="1") for i in range(1, 4)]
    tight = pool("tight", "10.9.0.0/25", "rack == '1'")
    assert (
        "3 nodes selected"
        in problems(Spec(nodes=6), *rack, tight, pool("off", "10.8.0.0/16", "!has(rack)"))[0]
    )
    build(Spec(nodes=6), [*rack, tight, pool("all", "10.8.0.0/16")])


def test_a_node_that_no_pool_serves_is_named() -> None:
    only = pool("only", "10.9.0.0/16", "zone == 'a'")
    assert problems(Spec(), node("a", "10.0.0.1", zone="a"), node("b", "10.0.0.2"), only) == [
        "Node/b: no enabled IPv4 IPPool for workloads selects it"
    ]
    assert problems(Spec(nodes=1), pool("off", "10.9.0.0/16", disabled=True))
    build(Spec(pods_per_node=0), [node("b", "10.0.0.2"), only])
    for namespace, serves in (("default", True), ("shop", False)):
        selector = f"kubernetes.io/metadata.name == '{namespace}'"
        chosen = IPPool(Metadata("p"), IPPoolSpec(cidr="10.9.0.0/16", namespace_selector=selector))
        if serves:
            build(Spec(nodes=1), [chosen])
        else:
            assert problems(Spec(nodes=1), chosen)


def test_a_generated_name_must_be_free() -> None:
    peer = BGPPeer(Metadata("route-reflectors"))
    assert problems(Spec(nodes=4, route_reflectors=1), peer) == [
        "BGPPeer/route-reflectors: the name is taken by a resource that this command line generates"
    ]


# --- families and routers -------------------------------------------------------------------------------------------


def dual(name: str, ipv4: str, ipv6: str) -> Node:
    return Node(Metadata(name), NodeSpec(bgp=NodeBGPSpec(ipv4_address=ipv4, ipv6_address=ipv6)))


def router(name: str, *addresses: str, listen_port: int | None = None) -> Router:
    return Router(Metadata(name), RouterSpec(addresses=addresses, as_number=65001, listen_port=listen_port))


@pytest.mark.parametrize(
    ("family", "addresses", "default_pools"),
    [
        ("ipv4", ("10.77.0.17/16", ""), ["default-ipv4-ippool 192.168.0.0/16/26"]),
        ("ipv6", ("", "fd00:77::11/112"), ["default-ipv6-ippool fd00:192:168::/48/122"]),
        (
            "dual",
            ("10.77.0.17/16", "fd00:77::11/112"),
            ["default-ipv4-ippool 192.168.0.0/16/26", "default-ipv6-ippool fd00:192:168::/48/122"],
        ),
    ],
)
def test_generated_nodes_have_the_families_asked_for_and_pools_of_them(
    family: str, addresses: tuple[str, str], default_pools: list[str]
) -> None:
    world = build(Spec(ip_family=family, nodes=17))
    bgp = world.nodes[16].spec.bgp
    assert bgp is not None
    assert (bgp.ipv4_address, bgp.ipv6_address) == addresses
    assert pools(world) == default_pools


def test_a_node_with_ipv6_alone_is_a_node() -> None:
    world = build(Spec(), [dual("a", "", "2001:db8::1/64")])
    assert world.addresses() == {"a": (parse_address("2001:db8::1"),)}
    assert problems(Spec(), dual("a", "", "2001:db8::1/64"), pool("four", "10.9.0.0/16")) == [
        "Node/a: there is no IPPool of IPv6, of which it has an address"
    ]


def test_routers_are_launched_with_the_nodes() -> None:
    configuration = BGPConfiguration(Metadata("default"), BGPConfigurationSpec(listen_port=1179))
    own = BGPConfiguration(Metadata("node.b"), BGPConfigurationSpec(listen_port=2179))
    world = build(
        Spec(),
        [
            router("tor", "10.0.0.254/24", "fd00::fe/64"),
            router("spine", "10.0.1.254/24", listen_port=1790),
            node("a", "10.0.0.1/24"),
            node("b", "10.0.0.2/24"),
            configuration,
            own,
        ],
    )
    assert [each.metadata.name for each in world.nodes] == ["a", "b"]
    assert list(world.addresses()) == ["a", "b", "tor", "spine"]
    assert world.addresses()["tor"] == (parse_address("10.0.0.254"), parse_address("fd00::fe"))
    assert world.listen_ports() == {"a": 1179, "b": 2179, "tor": 179, "spine": 1790}


def test_routers_and_nodes_share_names_and_addresses() -> None:
    assert problems(Spec(), router("x", "10.0.0.1/24"), node("a", "10.0.0.1/24")) == [
        "Router/x: spec.addresses: 10.0.0.1 is Node/a's already"
    ]
    assert problems(Spec(nodes=2), node("a", "10.0.0.1/24"), router("a", "10.0.0.2/24")) == [
        "Router/a: there is a Node of that name, and whoever asks for 'a' must mean one of them"
    ]
    generated = build(Spec(nodes=2), [router("node-001", "10.77.0.2/16")]).nodes
    assert [each.metadata.name for each in generated] == ["node-003", "node-004"]


@pytest.mark.parametrize(
    ("spec", "option"),
    [
        (Spec(nodes=0), "--nodes 0"),
        (Spec(nodes=1234567), "--nodes 1234567"),
        (Spec(nodes=2, pods_per_node=-1), "--pods-per-node -1"),
        (Spec(nodes=2, route_reflectors=3), "--route-reflectors 3"),
        (Spec(nodes=2, hold_time=2), "--hold-time 2"),
        (Spec(nodes=2, bgp_port=70000), "--bgp-port 70000"),
        (Spec(nodes=2, shards=0), "--shards 0"),
        (Spec(nodes=2, timeout=0), "--timeout 0"),
    ],
)
def test_numbers_out_of_range_are_named_by_their_option(spec: Spec, option: str) -> None:
    (problem,) = problems(spec)
    assert problem.startswith(f"{option}:")


@given(
    numbers=st.sets(st.integers(1, 40), max_size=10),
    addresses=st.sets(st.integers(1, 40), max_size=10),
    extra=st.integers(1, 30),
)
def test_generated_nodes_never_clash_with_manifest_nodes(
    numbers: set[int], addresses: set[int], extra: int
) -> None:
    own = [node(f"node-{i:03}", f"172.16.0.{i}") for i in numbers]
    own += [node(f"own-{i}", f"10.77.0.{i}/16") for i in addresses]
    world = build(Spec(nodes=len(own) + extra), own)
    names = [each.metadata.name for each in world.nodes]
    assert len(set(names)) == len(names) == len(own) + extra
    assert len(set(world.addresses().values())) == len(names)
