"""What nodes are given before they start."""

from __future__ import annotations

from agents.ipam.blocks import new_block
from cluster.workloads import claimed_blocks, pod_names
from protocol.prefix import parse_prefix
from protocol.v3.codec import decode
from protocol.v3.ipam import BlockAffinity, IPAMBlock
from protocol.v3.ippool import IPPool, IPPoolSpec
from protocol.v3.metadata import Metadata
from protocol.v3.node import Node

NOW = 1_800_000_000.0


def pool(name: str, cidr: str, selector: str = "all()") -> IPPool:
    return IPPool(Metadata(name), IPPoolSpec(cidr=cidr, node_selector=selector))


def claims(nodes: list[Node], pools: list[IPPool], per_node: int) -> list[tuple[str, str]]:
    """(node, block) of the affinities; each has its block."""
    resources = [decode(document) for document in claimed_blocks(nodes, pools, per_node, now=NOW)]
    affinities = [each for each in resources if isinstance(each, BlockAffinity)]
    blocks = [each for each in resources if isinstance(each, IPAMBlock)]
    for affinity, block in zip(affinities, blocks, strict=True):
        node, cidr = affinity.spec.node, affinity.spec.cidr
        assert block == new_block(parse_prefix(cidr), node, NOW), "as IPAM would have made it"
        assert affinity.spec.state == "confirmed"
        assert affinity.metadata.name == f"{node}-{block.metadata.name}"
    return [(each.spec.node, each.spec.cidr) for each in affinities]


def test_every_node_gets_blocks_of_its_own() -> None:
    nodes = [Node(Metadata("a")), Node(Metadata("b"))]
    assert claims(nodes, [pool("p", "10.0.0.0/24")], 2) == [
        ("a", "10.0.0.0/26"),
        ("a", "10.0.0.64/26"),
        ("b", "10.0.0.128/26"),
        ("b", "10.0.0.192/26"),
    ]


def test_pools_are_taken_by_name_and_only_where_they_select() -> None:
    nodes = [Node(Metadata("a", labels={"zone": "1"})), Node(Metadata("b"))]
    pools = [pool("y", "10.1.0.0/24"), pool("x", "10.0.0.0/26", "zone == '1'")]
    assert claims(nodes, pools, 2) == [
        ("a", "10.0.0.0/26"),
        ("a", "10.1.0.0/26"),
        ("b", "10.1.0.64/26"),
        ("b", "10.1.0.128/26"),
    ]


def test_pod_names_are_unique_in_the_cluster() -> None:
    assert pod_names("node-001", 2) == ["node-001-pod-1", "node-001-pod-2"]
    assert not set(pod_names("a", 3)) & set(pod_names("b", 3))
