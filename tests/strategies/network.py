"""Loopback endpoints that nobody else uses."""

from __future__ import annotations

import itertools
import os
import socket
from collections.abc import Iterable

from agents.speaker.tcp_terms import Endpoint
from protocol.prefix import Address

# Not those that the system gives to whoever asks for none: each connection, to whatever on this computer, has one of
# these, and may take it between the look and the use. Nor those of benches. Every process begins elsewhere, since tests
# run in several.
_FIRST = 20_000 + os.getpid() % 120 * 100
_PORTS = itertools.cycle(range(_FIRST, _FIRST + 90))


def free_ports(count: int) -> list[int]:
    """Different ones, free on all addresses; the next few behind each are nobody else's either."""
    return list(itertools.islice((port for port in _PORTS if _is_free(port)), count))


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("", port))
        except OSError:
            return False
    return True


def loopback_endpoints(addresses: Iterable[Address], *, one_address: bool = False) -> dict[Address, Endpoint]:
    """Every node on its own loopback address and one port, or all on 127.0.0.1 with a port each."""
    addresses = list(addresses)
    if one_address:
        ports = free_ports(len(addresses))
        return {address: ("127.0.0.1", port) for address, port in zip(addresses, ports, strict=True)}
    [port] = free_ports(1)
    return {address: (f"127.77.{200 + address[2]}.{address[3]}", port) for address in addresses}
