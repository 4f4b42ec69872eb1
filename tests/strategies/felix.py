"""A few nodes, pools, blocks and workloads, in any encapsulation: what Felix's routes to other nodes follow from."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from protocol.v3.felix import FelixConfiguration, FelixConfigurationSpec
from protocol.v3.ipam import BlockAffinity, BlockAffinitySpec, affinity_name
from protocol.v3.ippool import IPPool, IPPoolSpec
from protocol.v3.metadata import Metadata, Resource
from protocol.v3.node import Node, NodeBGPSpec, NodeSpec
from protocol.v3.workload import WorkloadEndpoint, WorkloadEndpointSpec

NAMES = ("ant", "bee", "cat", "dog")


def pool(cidr: str, **facts: Any) -> IPPool:
    return IPPool(Metadata(name=f"pool-{cidr[0:3].strip('.')}"), spec=IPPoolSpec(cidr=cidr, **facts))


def node(name: str, number: int, *, subnet: int = 0, tunnels: bool = True, dual: bool = False) -> Node:
    """At 10.<subnet>.0.<number>/24, its tunnels at 192.168.<number>.1."""
    return Node(
        Metadata(name=name),
        spec=NodeSpec(
            bgp=NodeBGPSpec(
                ipv4_address=f"10.{subnet}.0.{number}/24",
                ipv6_address=f"fd10:{subnet}::{number}/64" if dual else "",
            ),
            ipv4_vxlan_tunnel_addr=f"192.168.{number}.1" if tunnels else "",
            ipv6_vxlan_tunnel_addr=f"fd00::{number}:1" if tunnels and dual else "",
        ),
    )


def affinity(name: str, cidr: str, state: Any = "confirmed") -> BlockAffinity:
    return BlockAffinity(
        Metadata(name=affinity_name(name, cidr)), spec=BlockAffinitySpec(state=state, node=name, cidr=cidr)
    )


def endpoint(name: str, on: str, *networks: str) -> WorkloadEndpoint:
    return WorkloadEndpoint(
        Metadata(name, "default"),
        WorkloadEndpointSpec(node=on, pod=name, ip_networks=networks, interface_name=f"cali{name}"),
    )


def felix(name: str = "default", **facts: Any) -> FelixConfiguration:
    return FelixConfiguration(Metadata(name=name), spec=FelixConfigurationSpec(**facts))


@st.composite
def clusters(draw: st.DrawFn) -> list[Resource]:
    """Small enough that blocks are borrowed from and claimed twice."""
    mode = st.sampled_from(("Never", "Always", "CrossSubnet"))
    found: list[Resource] = [
        pool("192.168.0.0/16", ipip_mode=draw(mode)),
        pool("172.16.0.0/16", vxlan_mode=draw(mode)),
    ]
    found += [
        node(name, number, subnet=draw(st.integers(0, 1)), tunnels=draw(st.booleans()))
        for number, name in enumerate(NAMES, 1)
        if draw(st.booleans()) or number == 1
    ]
    blocks = st.tuples(st.sampled_from(("192.168", "172.16")), st.integers(1, 4))
    for prefix, number in draw(st.lists(blocks, unique=True, max_size=6)):
        for name in draw(st.lists(st.sampled_from(NAMES), min_size=1, max_size=2, unique=True)):
            state = draw(st.sampled_from(("confirmed", "confirmed", "pending", "pendingDeletion")))
            found.append(affinity(name, f"{prefix}.{number}.0/26", state))
    addresses = st.tuples(st.sampled_from(("192.168", "172.16")), st.integers(1, 5), st.integers(0, 3))
    for number, (prefix, block, host) in enumerate(draw(st.lists(addresses, max_size=6))):
        found.append(endpoint(f"w{number}", draw(st.sampled_from(NAMES)), f"{prefix}.{block}.{host}/32"))
    programs = st.sampled_from((None, "Enabled", "Disabled", "EnabledIPIPOnly", "EnabledNoEncapOnly"))
    if draw(st.booleans()):
        found.append(felix(program_cluster_routes=draw(programs)))
    if draw(st.booleans()):
        found.append(
            felix(
                "node.ant",
                program_cluster_routes=draw(programs),
                vxlan_enabled=draw(st.sampled_from((None, False))),
            )
        )
    return found
