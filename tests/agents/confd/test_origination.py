"""Blocks by the state of their affinity, and pools by what they say of BGP."""

from __future__ import annotations

import pytest

from agents.confd.origination import local_blocks, pool_rules
from protocol.prefix import Prefix, format_prefix
from protocol.v3.ipam import AffinityState
from tests.strategies.confd import affinity, pool


def text(prefixes: tuple[Prefix, ...]) -> list[str]:
    return list(map(format_prefix, prefixes))


@pytest.mark.parametrize(
    ("state", "announced", "blackhole"),
    [
        ("", True, True),
        ("confirmed", True, True),
        ("pending", False, False),
        ("pendingDeletion", False, True),
    ],
)
def test_what_a_state_means(state: AffinityState, announced: bool, blackhole: bool) -> None:
    blocks = local_blocks([affinity("one", "192.168.4.64/26", state)])
    assert text(blocks.announced) == ["192.168.4.64/26"] * announced
    assert text(blocks.blackholes) == ["192.168.4.64/26"] * blackhole


def test_a_block_of_one_address_is_announced_without_a_blackhole() -> None:
    blocks = local_blocks([affinity("one", "192.168.4.7/32")])
    assert text(blocks.announced) == ["192.168.4.7/32"]
    assert text(blocks.blackholes) == []


def test_deleted_virtual_and_ipv6_affinities_are_nothing_here() -> None:
    blocks = local_blocks(
        [
            affinity("one", "192.168.4.0/26", deleted=True),
            affinity("one", "192.168.4.64/26", type="virtual"),
            affinity("one", "fd00:4::/122"),
        ]
    )
    assert blocks.announced == blocks.blackholes == ()


def test_blocks_are_listed_in_the_order_of_their_text() -> None:
    cidrs = ("192.168.9.0/26", "192.168.10.0/26", "10.0.0.0/30")
    blocks = local_blocks(affinity("one", cidr) for cidr in cidrs)
    assert (
        text(blocks.announced)
        == text(blocks.blackholes)
        == ["10.0.0.0/30", "192.168.10.0/26", "192.168.9.0/26"]
    )


def test_pools_are_exported_unless_they_say_no_whatever_else_they_say() -> None:
    rules = pool_rules(
        [
            pool("plain", "192.168.0.0/16"),
            pool("disabled", "172.16.0.0/16", disabled=True),
            pool("vxlan", "10.1.0.0/16", vxlan_mode="Always"),
            pool("kept", "10.2.0.0/16", disable_bgp_export=True),
            pool("six", "fd00:4::/64"),
        ]
    )
    assert text(rules.exported) == ["10.1.0.0/16", "172.16.0.0/16", "192.168.0.0/16"]
    assert text(rules.export_disabled) == ["10.2.0.0/16"]
