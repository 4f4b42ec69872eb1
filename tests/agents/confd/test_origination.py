"""Blocks by the state of their affinity, and pools by what they say of BGP."""

from __future__ import annotations

import pytest

from agents.confd.origination import LocalBlocks, local_blocks, pool_rules
from protocol.prefix import IPV4, IPV6, Prefix, format_prefix
from protocol.v3.ipam import AffinityState
from tests.strategies.confd import affinity, pool


def text(prefixes: tuple[Prefix, ...]) -> list[str]:
    return list(map(format_prefix, prefixes))


def blackholes(blocks: LocalBlocks) -> list[str]:
    assert all(route.via is None for route in blocks.blackholes)
    return [format_prefix(route.prefix) for route in blocks.blackholes]


def listed(blocks: LocalBlocks) -> list[str]:
    return [format_prefix(block.cidr) for block in blocks.blocks]


@pytest.mark.parametrize(
    ("state", "is_block", "announced", "blackhole"),
    [
        ("", True, True, True),
        ("confirmed", True, True, True),
        ("pending", False, False, False),
        ("pendingDeletion", True, False, True),
    ],
)
def test_what_a_state_means(state: AffinityState, is_block: bool, announced: bool, blackhole: bool) -> None:
    blocks = local_blocks([affinity("one", "192.168.4.64/26", state)], IPV4)
    assert [block.state for block in blocks.blocks] == [state] * is_block
    assert [block.confirmed for block in blocks.blocks] == [announced] * is_block
    assert blackholes(blocks) == ["192.168.4.64/26"] * blackhole


@pytest.mark.parametrize(("cidr", "family"), [("192.168.4.7/32", IPV4), ("fd00:4::7/128", IPV6)])
def test_a_block_of_one_address_is_announced_without_a_blackhole(cidr: str, family: int) -> None:
    blocks = local_blocks([affinity("one", cidr)], family)
    assert listed(blocks) == [cidr]
    assert blackholes(blocks) == []


def test_a_short_ipv6_prefix_is_no_single_address() -> None:
    assert blackholes(local_blocks([affinity("one", "fd00::/32")], IPV6)) == ["fd00::/32"]


def test_deleted_and_virtual_affinities_are_nothing_here_nor_are_those_of_the_other_family() -> None:
    affinities = [
        affinity("one", "192.168.4.0/26", deleted=True),
        affinity("one", "192.168.4.64/26", type="virtual"),
        affinity("one", "fd00:4::/122"),
    ]
    assert local_blocks(affinities, IPV4) == LocalBlocks(blocks=(), blackholes=())
    assert listed(local_blocks(affinities, IPV6)) == ["fd00:4::/122"]


def test_blocks_are_listed_in_the_order_of_their_text() -> None:
    cidrs = ("192.168.9.0/26", "192.168.10.0/26", "10.0.0.0/30")
    blocks = local_blocks((affinity("one", cidr) for cidr in cidrs), IPV4)
    assert listed(blocks) == blackholes(blocks) == ["10.0.0.0/30", "192.168.10.0/26", "192.168.9.0/26"]


def test_pools_are_exported_unless_they_say_no_whatever_else_they_say() -> None:
    pools = [
        pool("plain", "192.168.0.0/16"),
        pool("disabled", "172.16.0.0/16", disabled=True),
        pool("vxlan", "10.1.0.0/16", vxlan_mode="Always"),
        pool("services", "10.3.0.0/16", allowed_uses=("LoadBalancer",)),
        pool("kept", "10.2.0.0/16", disable_bgp_export=True),
        pool("six", "fd00:4::/64"),
        pool("six-kept", "fd00:5::/64", disable_bgp_export=True),
    ]
    four, six = pool_rules(pools, IPV4), pool_rules(pools, IPV6)
    assert text(four.exported) == ["10.1.0.0/16", "10.3.0.0/16", "172.16.0.0/16", "192.168.0.0/16"]
    assert text(four.export_disabled) == ["10.2.0.0/16"]
    assert text(six.exported) == ["fd00:4::/64"]
    assert text(six.export_disabled) == ["fd00:5::/64"]
