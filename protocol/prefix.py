"""Addresses and prefixes as small immutable bytes.

Owns: the two value types every other room passes around, and their text form at the edges.

- ``Address``: the 4 or 16 network-order octets of an IPv4 or IPv6 address. A BGP identifier and a cluster ID
  are 4 octets too.
- ``Prefix``: one length octet and the 4 or 16 network octets, host bits zero. The address family is the size
  of the value; two equal prefixes are equal bytes.

Why bytes and not ``(int, int)`` or ``ipaddress``: a bytes object remembers its hash, so a dict look-up costs 22 ns against
212 for ``IPv4Network``; it takes half the memory of a tuple of ints; and it is what stands in a frame, so that decoding an
UPDATE makes nothing new.

Sorting ``Prefix`` values sorts by length first. For people use ``sort_key``.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable
from typing import NewType

Address = NewType("Address", bytes)
Prefix = NewType("Prefix", bytes)

IPV4 = 4
IPV6 = 6

_BITS = {5: 32, 17: 128}


def parse_address(text: str) -> Address:
    """``"10.0.0.1"`` or ``"fd00::1"`` to octets. Raises ValueError with the text in it."""
    try:
        if "%" in text:  # a zone belongs to one computer's interfaces; bytes would lose it
            raise ValueError
        return Address(ipaddress.ip_address(text).packed)
    except ValueError:
        raise ValueError(f"{text!r} is not an IP address") from None


def format_address(address: Address) -> str:
    """Octets to text, IPv6 as RFC 5952 writes it."""
    if len(address) == 4:
        return f"{address[0]}.{address[1]}.{address[2]}.{address[3]}"
    return socket.inet_ntop(socket.AF_INET6, address)


def parse_prefix(text: str) -> Prefix:
    """``"10.0.0.0/26"`` to a Prefix; a bare address is its /32 or /128.

    Raises ValueError when the text is no prefix or has host bits set.
    """
    length = text.partition("/")[2]
    if "%" in text or (length and not length.isdecimal()):  # zones and netmasks, which ipaddress would take
        raise ValueError(f"{text!r} is not a CIDR")
    try:
        network = ipaddress.ip_network(text)
    except ValueError:
        try:
            proper = ipaddress.ip_network(text, strict=False)
        except ValueError:
            raise ValueError(f"{text!r} is not a CIDR") from None
        raise ValueError(f"{text!r} has host bits set: {proper} is the network") from None
    return Prefix(bytes((network.prefixlen,)) + network.network_address.packed)


def format_prefix(prefix: Prefix) -> str:
    return f"{format_address(Address(prefix[1:]))}/{prefix[0]}"


def make_prefix(network: int, length: int, family: int) -> Prefix:
    """A Prefix from an integer network address; host bits are masked away."""
    bits = 32 if family == IPV4 else 128
    shift = bits - length
    return Prefix(bytes((length,)) + ((network >> shift) << shift).to_bytes(bits >> 3, "big"))


def host_prefix(address: Address) -> Prefix:
    """The /32 or /128 of an address."""
    return Prefix(bytes((len(address) << 3,)) + address)


def family_of(value: Prefix) -> int:
    """IPV4 or IPV6."""
    return IPV4 if len(value) == 5 else IPV6


def address_family(address: Address) -> int:
    return IPV4 if len(address) == 4 else IPV6


def network_int(prefix: Prefix) -> int:
    return int.from_bytes(prefix[1:], "big")


def network_address(prefix: Prefix) -> Address:
    return Address(prefix[1:])


def is_valid(prefix: bytes) -> bool:
    """Whether bytes from a stranger are a Prefix: known size, length in range, host bits zero."""
    bits = _BITS.get(len(prefix))
    if bits is None or prefix[0] > bits:
        return False
    return int.from_bytes(prefix[1:], "big") & ((1 << (bits - prefix[0])) - 1) == 0


def contains(outer: Prefix, inner: Prefix) -> bool:
    """Whether ``inner`` is ``outer`` or lies inside it (BIRD's ``net ~ outer``)."""
    if len(outer) != len(inner) or inner[0] < outer[0]:
        return False
    shift = ((len(outer) - 1) << 3) - outer[0]
    return int.from_bytes(outer[1:], "big") >> shift == int.from_bytes(inner[1:], "big") >> shift


class Cover:
    """A list of prefixes, asked for the first of them that contains another. That takes one look-up for each length that
    the list has, however long it is: a node may have a thousand blocks, and asks about the routes of every other's.
    """

    def __init__(self, prefixes: Iterable[Prefix]) -> None:
        self._place: dict[Prefix, int] = {}
        for place, prefix in enumerate(prefixes):
            self._place.setdefault(prefix, place)
        self._lengths = sorted({prefix[0] for prefix in self._place})

    def first(self, prefix: Prefix) -> Prefix | None:
        network, family = network_int(prefix), family_of(prefix)
        wider = (make_prefix(network, length, family) for length in self._lengths if length <= prefix[0])
        found = [outer for outer in wider if outer in self._place]
        return min(found, key=self._place.__getitem__, default=None)


def overlaps(one: Prefix, other: Prefix) -> bool:
    return contains(one, other) or contains(other, one)


def sort_key(prefix: Prefix) -> tuple[int, bytes, int]:
    """Order for people: family, network, length."""
    return len(prefix), prefix[1:], prefix[0]
