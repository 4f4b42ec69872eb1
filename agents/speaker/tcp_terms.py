"""On what terms a node connects: what each neighbour's ``LinkOptions`` ask of its sockets, and whether that can be had.

Owns ``Terms``: the options of one node, the keys that its listener's kernel knows, and who is refused, with the reason. A
neighbour whose options cannot be had is not dialled, and not listened to.

Left out: how the kernel is asked (``tcp_options``).
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable, Mapping

from agents.speaker.links import PLAIN, LinkOptions, Network
from agents.speaker.tcp_options import after_handshake, before_handshake, set_key
from protocol.prefix import Address

Endpoint = tuple[str, int]


class Terms:
    """See the module. ``endpoints`` grow while it is in use."""

    def __init__(
        self, network: Network, endpoints: Mapping[Address, Endpoint], listener: socket.socket
    ) -> None:
        self._network = network
        self._endpoints = endpoints
        self._listener = listener
        self._options: Mapping[Address, LinkOptions] = {}
        self._keys: dict[Address, str] = {}
        """What the listener's kernel knows: whose password is what."""
        self._refused: dict[Address, str] = {}
        """Neighbours whose options cannot be had, and why."""

    def expect(self, options: Mapping[Address, LinkOptions]) -> None:
        """All of them, anew."""
        self._options = options
        self._refused = {
            address: why for address, each in options.items() if (why := self._network.lacks(each))
        }
        self.sign([*options, *self._keys])

    def sign(self, neighbours: Iterable[Address]) -> None:
        """Bring the listener's keys up to date. Who has no endpoint has none yet."""
        for address in neighbours:
            endpoint = self._endpoints.get(address)
            password = self._options.get(address, PLAIN).password or ""
            if endpoint is None or address in self._refused or self._keys.get(address, "") == password:
                continue
            try:
                set_key(self._listener, endpoint[0], password)
            except OSError as error:
                # Keys are kernel memory, of which a socket may have net.core.optmem_max.
                self._refused[address] = f"TCP MD5 signature: {os.strerror(error.errno or 0)}"
                continue
            self._keys.pop(address, None)
            if password:
                self._keys[address] = password

    def refusal(self, neighbour: Address) -> str:
        """Why there is to be no connection; "" when there may be."""
        return self._refused.get(neighbour, "")

    def dials(self, sock: socket.socket, neighbour: Address, host: str) -> None:
        """Before the handshake. Raises OSError."""
        options = self._options.get(neighbour, PLAIN)
        if options is not PLAIN:
            before_handshake(sock, options, host)

    def connected(self, sock: socket.socket, neighbour: Address) -> None:
        """After it, whoever dialled. Raises OSError."""
        options = self._options.get(neighbour, PLAIN)
        if options is not PLAIN:
            after_handshake(sock, options)
