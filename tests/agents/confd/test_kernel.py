"""Whose routes BIRD programs, pool by pool, and what it leaves to WireGuard."""

from __future__ import annotations

import attrs
import pytest

from agents.confd.kernel import kernel_pools, ownership
from agents.speaker.config import KernelPolicy, KernelPool, PoolRoutes
from protocol.prefix import IPV4, IPV6, format_prefix, parse_address, parse_prefix
from protocol.v3.metadata import Metadata
from protocol.v3.node import Node, NodeBGPSpec, NodeSpec, NodeWireguardSpec
from tests.strategies.confd import bgp_configuration, config_of, node, pool

POOLS = [
    pool("vxlan", "10.1.0.0/16", vxlan_mode="Always"),
    pool("vxlan-near", "10.2.0.0/16", vxlan_mode="CrossSubnet"),
    pool("ipip", "10.3.0.0/16", ipip_mode="Always"),
    pool("ipip-near", "10.4.0.0/16", ipip_mode="CrossSubnet", disabled=True),
    pool("plain", "10.5.0.0/16", disable_bgp_export=True),
    pool("services", "10.6.0.0/16", allowed_uses=("LoadBalancer",)),
    pool("six", "fd00:5::/64"),
    pool("six-vxlan", "fd00:4::/64", vxlan_mode="Always"),
]
VXLAN, FELIX, DIRECT = PoolRoutes.VXLAN, PoolRoutes.FELIX, PoolRoutes.DIRECT
TUNNEL, CROSS = PoolRoutes.TUNNEL, PoolRoutes.CROSS_SUBNET


@pytest.mark.parametrize(
    ("value", "four", "six", "tunnel_kept"),
    [
        (None, [VXLAN, VXLAN, FELIX, FELIX, DIRECT, DIRECT], [VXLAN], True),
        ("EnabledNoEncapOnly", [VXLAN, VXLAN, FELIX, FELIX, DIRECT, DIRECT], [VXLAN], True),
        ("Enabled", [VXLAN, VXLAN, TUNNEL, CROSS, DIRECT, DIRECT], [VXLAN], False),
        ("EnabledIPIPOnly", [VXLAN, VXLAN, TUNNEL, CROSS, FELIX, FELIX], [VXLAN, FELIX], False),
        ("Disabled", [VXLAN, VXLAN, FELIX, FELIX, FELIX, FELIX], [VXLAN, FELIX], True),
    ],
)
def test_program_cluster_routes(
    value: str | None, four: list[PoolRoutes], six: list[PoolRoutes], tunnel_kept: bool
) -> None:
    resources = (node("one", "10.77.0.1/16", ipv6="fd00:77::1/64"), *POOLS)
    for family, expected in ((IPV4, four), (IPV6, six)):
        config = config_of("one", *resources, bgp_configuration(program_cluster_routes=value), family=family)
        assert config.kernel is not None
        assert config.policy is not None
        assert [pool_.routes for pool_ in config.kernel.pools] == expected
        assert config.policy.tunnel_kept is tunnel_kept
    assert ownership("EnabledForMartians") == ownership(None)


def test_pools_are_in_the_order_of_their_text() -> None:
    pools = [pool("a", "10.9.0.0/16"), pool("b", "10.10.0.0/16"), pool("c", "192.168.0.0/16")]
    assert kernel_pools(pools, ownership(None), IPV4) == tuple(
        KernelPool(cidr=parse_prefix(cidr), routes=DIRECT)
        for cidr in ("10.10.0.0/16", "10.9.0.0/16", "192.168.0.0/16")
    )


def kernel_of(name: str, *nodes: Node, family: int = IPV4) -> KernelPolicy:
    kernel = config_of(name, *nodes, *POOLS, family=family).kernel
    assert kernel is not None
    return kernel


def test_the_subnet_is_that_of_the_address_and_without_one_there_is_no_word_of_ipv4_pools() -> None:
    written, bare, six = (
        node("one", "10.77.0.1/16"),
        node("two", "10.77.0.2"),
        node("six", ipv6="fd00:77::6/64"),
    )
    assert format_prefix(kernel_of("one", written).subnet or parse_prefix("::")) == "10.77.0.0/16"
    assert kernel_of("two", bare).subnet == parse_prefix("10.77.0.2/32")
    assert config_of("two", bare).subnet is None
    assert kernel_of("six", six).subnet is None
    assert kernel_of("six", six).pools == ()
    assert kernel_of("one", written, family=IPV6).pools != ()


def wireguard(name: str, host: int, *, four: str = "", six: str = "") -> Node:
    return Node(
        Metadata(name),
        NodeSpec(
            bgp=NodeBGPSpec(ipv4_address=f"10.77.0.{host}/16", ipv6_address=f"fd00:77::{host:x}/64"),
            wireguard=NodeWireguardSpec(interface_ipv4_address=four, interface_ipv6_address=six),
        ),
    )


def test_routes_between_nodes_with_wireguard_are_wireguard_s() -> None:
    nodes = (
        wireguard("one", 1, four="192.168.9.1"),
        wireguard("nine", 9, four="192.168.9.9", six="fd00:9::9"),
        wireguard("ten", 10, four="192.168.9.10"),
        node("plain", "10.77.0.4/16"),
    )
    for name, others in (
        ("one", ["10.77.0.10", "10.77.0.9"]),
        ("nine", ["10.77.0.1", "10.77.0.10"]),
        ("plain", []),
    ):
        assert kernel_of(name, *nodes).wireguard == tuple(map(parse_address, others))
    assert kernel_of("nine", *nodes, family=IPV6).wireguard == ()


def test_a_node_that_is_no_bgp_speaker_is_nobody_s_next_hop() -> None:
    silent = attrs.evolve(wireguard("two", 2, four="192.168.9.2"))
    silent = attrs.evolve(silent, spec=attrs.evolve(silent.spec, bgp=None))
    assert kernel_of("one", wireguard("one", 1, four="192.168.9.1"), silent).wireguard == ()
