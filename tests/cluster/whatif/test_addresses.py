"""IPAM before and after."""

from __future__ import annotations

from typing import Any

from cluster.whatif.addresses import Ipam, compare_ipam, ipam_lines, ipam_of
from tests.strategies.clusters import Listing, document, pool


def block(cidr: str, node: str, *pods: int) -> dict[str, Any]:
    spec = {
        "cidr": cidr,
        "allocations": [0 if ordinal in pods else None for ordinal in range(4)],
        "unallocated": [ordinal for ordinal in range(4) if ordinal not in pods],
    }
    return document("IPAMBlock", cidr, {**spec, **({"affinity": f"host:{node}"} if node else {})})


def pod(name: str, node: str, *addresses: str) -> dict[str, Any]:
    spec = {"node": node, "pod": name, "ipNetworks": [*addresses]}
    return document("WorkloadEndpoint", f"{node}-{name}", spec, namespace="shop")


def ipam(*documents: dict[str, Any]) -> Ipam:
    return ipam_of(Listing(documents))


BEFORE = (
    pool("old", "10.1.0.0/28", blockSize=30),
    pool("six", "fd00::/64", blockSize=122),
    block("10.1.0.0/30", "a", 0, 1),
    block("10.1.0.4/30", "b"),
    block("10.1.0.8/30", "c"),
    pod("web", "a", "10.1.0.0/32"),
    pod("db", "a", "10.1.0.1/32"),
    pod("gone", "b", "10.1.0.4/32"),
)


def test_what_there_is() -> None:
    found = ipam(*BEFORE)
    assert (found.pools["old"].blocks, found.pools["old"].claimed) == (4, 3)
    assert found.pools["six"].blocks == 1 << 58
    assert {cidr: (each.owner, each.used) for cidr, each in found.blocks.items()} == {
        "10.1.0.0/30": ("a", 2), "10.1.0.4/30": ("b", 0), "10.1.0.8/30": ("c", 0),
    }  # fmt: skip
    assert [*found.pods] == ["shop/db", "shop/web", "shop/gone"]
    assert not any(each.stray for each in found.pods.values())


def test_nothing_changes() -> None:
    change = compare_ipam(ipam(*BEFORE), ipam(*BEFORE))
    assert not change
    assert [*ipam_lines(change)] == []


def test_a_pool_goes_and_another_comes() -> None:
    after = ipam(
        pool("new", "10.2.0.0/24", blockSize=30),
        pool("six", "fd00::/64", blockSize=122, disabled=True),
        block("10.1.0.0/30", "", 0, 1),
        block("10.1.0.8/30", "b"),
        block("10.2.0.0/30", "b", 0),
        pod("web", "a", "10.1.0.0/32"),
        pod("db", "a", "10.2.0.0/32"),
        pod("fresh", "b", "fd00::1/128"),
    )
    change = compare_ipam(ipam(*BEFORE), after)
    assert [*ipam_lines(change)] == [
        "IPPool new (10.2.0.0/24) is new: 1 block of 64 claimed",
        "IPPool old (10.1.0.0/28) is gone",
        "IPPool six (fd00::/64) is disabled: no pod gets an address of it",
        "1 block nobody's any more, with addresses in use: 10.1.0.0/30",
        "1 block deleted: 10.1.0.4/30",
        "1 block b's now, before c's: 10.1.0.8/30",
        "1 block claimed: 10.2.0.0/30",
        "1 pod of another address: shop/db",
        "1 pod new: shop/fresh",
        "1 pod gone: shop/gone",
        "1 pod left with an address that no enabled pool has: shop/web",
    ]
    rows = change.to_json()
    assert rows["blocks"][0] == {
        "block": "10.1.0.0/30", "from": {"owner": "a", "used": 2}, "to": {"owner": "", "used": 2},
    }  # fmt: skip
    assert [row["pod"] for row in rows["pods"]] == ["shop/db", "shop/fresh", "shop/gone", "shop/web"]
