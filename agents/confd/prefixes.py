"""Prefixes as confd reads and lists them: ``masked`` takes host bits away, ``in_text_order`` sorts as its keys sort."""

from __future__ import annotations

from collections.abc import Iterable

from protocol.prefix import Prefix, format_prefix
from protocol.v3.fields import as_network


def masked(cidr: str) -> Prefix:
    """The network of a CIDR that may have host bits, as many fields of Calico's take it."""
    network = as_network(cidr)
    return Prefix(bytes((network.prefixlen,)) + network.network_address.packed)


def in_text_order(prefixes: Iterable[Prefix]) -> tuple[Prefix, ...]:
    """The order in which confd's files list them."""
    return tuple(sorted(prefixes, key=format_prefix))
