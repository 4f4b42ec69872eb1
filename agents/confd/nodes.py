"""What BGP reads of a Node, for one address family.

Owns ``NodeFacts``. A Node without an address of the family has facts all the same: its BIRD runs, has blocks and
filters in its files, and no session.

An address that is written without a prefix length is in no known subnet: to BIRD's filters, which compare with
it, it is one of its own, as in Calico.

Follows libcalico-go's bgpnodeprocessor.
"""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from agents.confd.prefixes import masked
from agents.confd.services import EXCLUDE_LABEL
from protocol.prefix import IPV4, Address, Prefix, format_address, parse_address
from protocol.v3.node import Node

NO_ADDRESS = Address(b"")


@attrs.frozen(kw_only=True)
class NodeFacts:
    name: str
    address: Address
    text: str  # the address as BIRD's configuration has it; compared as text to find the passive side
    subnet: Prefix | None  # None: not known
    ipv4: Address  # in the facts of both families: a router ID has four octets
    homeless: bool  # no address of either family
    as_number: int | None
    cluster_id: Address | None
    wireguard: bool
    labels: Mapping[str, str]

    @property
    def excluded(self) -> bool:
        """From announcing Services."""
        return self.labels.get(EXCLUDE_LABEL) == "true"


def node_facts(node: Node, family: int) -> NodeFacts:
    bgp, wireguard = node.spec.bgp, node.spec.wireguard
    written = ("", "") if bgp is None else (bgp.ipv4_address, bgp.ipv6_address)
    ipv4, ipv6 = (parse_address(text.partition("/")[0]) if text else NO_ADDRESS for text in written)
    address, text = (ipv4, written[0]) if family == IPV4 else (ipv6, written[1])
    if wireguard is None:
        has_wireguard = False
    elif family == IPV4:
        has_wireguard = bool(wireguard.interface_ipv4_address)
    else:
        has_wireguard = bool(wireguard.interface_ipv6_address)
    return NodeFacts(
        name=node.metadata.name,
        address=address,
        text=format_address(address) if address else "",
        subnet=masked(text) if "/" in text else None,
        ipv4=ipv4,
        homeless=not ipv4 and not ipv6,
        as_number=None if bgp is None else bgp.as_number,
        cluster_id=parse_address(bgp.route_reflector_cluster_id)
        if bgp is not None and bgp.route_reflector_cluster_id
        else None,
        wireguard=has_wireguard,
        labels=node.metadata.labels,
    )
