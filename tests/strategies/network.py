"""Loopback endpoints that nobody else uses."""

from __future__ import annotations

import socket
from collections.abc import Iterable

from agents.speaker.tcp_terms import Endpoint
from protocol.prefix import Address


def free_ports(count: int, host: str) -> list[int]:
    """Bound all at once, so that they are different ones."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind((host, 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


def loopback_endpoints(addresses: Iterable[Address], *, one_address: bool = False) -> dict[Address, Endpoint]:
    """Every node on its own loopback address and one port, or all on 127.0.0.1 with a port each."""
    addresses = list(addresses)
    if one_address:
        ports = free_ports(len(addresses), "127.0.0.1")
        return {address: ("127.0.0.1", port) for address, port in zip(addresses, ports, strict=True)}
    [port] = free_ports(1, "127.77.200.200")
    return {address: (f"127.77.{200 + address[2]}.{address[3]}", port) for address in addresses}
