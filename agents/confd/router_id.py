"""The router ID of a node: four octets in both families.

CALICO_ROUTER_ID if it is set, an address or "hash", else the node's IPv4 address. A node with IPv6 alone needs it:
for such a node Calico writes no ID, and BIRD refuses the file. Here it is as if "hash" were set, and said.

Follows confd/pkg/resource/template: HashToIPv4.
"""

from __future__ import annotations

import hashlib

from agents.confd.nodes import NodeFacts
from protocol.prefix import IPV4, Address, address_family, parse_address

_HASH = "hash"
_MULTICAST = 224
"""From here on no host has an address."""


def router_id_of(own: NodeFacts, wanted: str) -> tuple[Address, tuple[str, ...]]:
    """The ID, and what there is to say. ``wanted`` is CALICO_ROUTER_ID."""
    if wanted == _HASH:
        return hashed(own.name), ()
    notes: tuple[str, ...] = ()
    if wanted:
        try:
            address = parse_address(wanted)
        except ValueError:
            address = None
        if address is not None and address_family(address) == IPV4:
            return address, ()
        notes = (f'CALICO_ROUTER_ID: {wanted!r} is neither an IPv4 address nor "hash": not used',)
    if own.ipv4:
        return own.ipv4, notes
    if own.address:
        notes = (
            *notes,
            f"Node/{own.name}: no IPv4 address and no CALICO_ROUTER_ID: the router ID is a hash of the name",
        )
    return hashed(own.name), notes


def hashed(name: str) -> Address:
    first, *others = hashlib.sha256(name.encode()).digest()[:4]
    return Address(bytes((first - 32 if first >= _MULTICAST else first, *others)))
