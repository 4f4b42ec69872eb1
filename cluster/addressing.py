"""Where on this computer a node's address is reached.

Owns ``Endpoints``, the mapping from node addresses to loopback endpoints, for as long as a cluster runs. A node of the
cluster believes that it is 10.77.1.5, or fd00:77::105, on a network of its own; on this computer it listens on 127.77.1.5
and 127.78.1.5: an endpoint is IPv4 whatever it stands for. An address of 10.77.0.0/16 or fd00:77::/112 keeps its last
two octets when nobody has them yet, any other takes the next free pair, in the order in which nodes come. What an address
once got it keeps.

Linux gives every process the whole of 127.0.0.0/8. Where a system has only 127.0.0.1 (macOS, some containers),
``has_wide_loopback`` says so and every address gets its own port on 127.0.0.1 instead.

The port of an endpoint stands for BGP's 179 (``agents.speaker.tcp_options.real_port`` has the others).

Flow: ``cluster.launch`` probes once, makes the mapping, and asks ``find_busy`` before anything is started; the shards
hand the mapping to ``agents.speaker.tcp``. Nodes that come or move later are the coordinator's, who adds them and tells.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterable, Iterator, Mapping

from agents.speaker.tcp_options import real_port
from protocol.prefix import IPV4, IPV6, Address, address_family, contains, host_prefix, parse_prefix

Endpoint = tuple[str, int]

GENERATED = {IPV4: parse_prefix("10.77.0.0/16"), IPV6: parse_prefix("fd00:77::/112")}
LOOPBACK_NETWORKS = {IPV4: "127.77", IPV6: "127.78"}
NARROW_HOST = "127.0.0.1"
_PAIRS = 65536


class AddressingError(Exception):
    """The cluster cannot have the endpoints it needs; the text is one line for the user."""


def generated_address(index: int, family: int = IPV4) -> str:
    """The address of the ``index``-th generated node (from 1): 10.77.0.1, … 10.77.1.0, …; fd00:77::1, …"""
    high, low = divmod(index, 256)
    return f"10.77.{high}.{low}" if family == IPV4 else f"fd00:77::{index:x}"


def has_wide_loopback() -> bool:
    """Whether 127.77.0.1 can be bound here, as on Linux."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        try:
            probe.bind((f"{LOOPBACK_NETWORKS[IPV4]}.0.1", 0))
        except OSError:
            return False
    return True


class Endpoints:
    """``table`` is to be read, not written. ``port`` is the cluster's --bgp-port."""

    def __init__(self, port: int, *, wide: bool) -> None:
        self.port = port
        self.wide = wide
        self.table: dict[Address, Endpoint] = {}
        self._free = {family: self._unused(family) for family in LOOPBACK_NETWORKS}
        self._taken: dict[int, set[int]] = {family: set() for family in LOOPBACK_NETWORKS}

    def add(self, addresses: Iterable[Address]) -> dict[Address, Endpoint]:
        """The endpoints of all these addresses, those that were known and those that were not.

        Raises:
            AddressingError: more addresses than there are ports or pairs of octets.
        """
        wanted = dict.fromkeys(addresses)
        fresh = [address for address in wanted if address not in self.table]
        if not self.wide:
            self._check_ports(len(fresh))
            for address in fresh:
                self.table[address] = NARROW_HOST, self.port + len(self.table)
        else:
            # Who keeps its octets comes first, or another might have taken them.
            for address in sorted(fresh, key=lambda address: not _is_generated(address)):
                self.table[address] = self._pair(address), self.port
        return {address: self.table[address] for address in wanted}

    def _check_ports(self, more: int) -> None:
        count = len(self.table) + more
        if self.port + count > 65536:
            raise AddressingError(
                f"this system has no loopback address but 127.0.0.1, so that {count} addresses need the ports "
                f"{self.port} to {self.port + count - 1}, and the last port is 65535: give a lower --bgp-port"
            )

    def _pair(self, address: Address) -> str:
        family = address_family(address)
        taken = self._taken[family]
        pair = int.from_bytes(address[-2:], "big")
        if not _is_generated(address) or pair in taken:
            try:
                pair = next(self._free[family])
            except StopIteration:
                raise AddressingError(
                    f"the cluster has more nodes than {LOOPBACK_NETWORKS[family]}.0.0/16 has addresses"
                ) from None
        taken.add(pair)
        return f"{LOOPBACK_NETWORKS[family]}.{pair >> 8}.{pair & 255}"

    def _unused(self, family: int) -> Iterator[int]:
        return (pair for pair in range(1, _PAIRS) if pair not in self._taken[family])


def _is_generated(address: Address) -> bool:
    return contains(GENERATED[address_family(address)], host_prefix(address))


def listeners(
    endpoints: Endpoints, addresses: Mapping[str, Iterable[Address]], ports: Mapping[str, int]
) -> dict[str, list[Endpoint]]:
    """Where everybody listens on this computer. ``ports``: those that they listen on by their resources."""
    table = endpoints.table
    return {
        name: [
            (table[address][0], real_port(table[address][1], ports[name]))
            if endpoints.wide
            else table[address]
            for address in several
        ]
        for name, several in addresses.items()
    }


def find_busy(wanted: Iterable[Endpoint]) -> Endpoint | None:
    """The first endpoint that somebody else listens on, or None.

    A bind without a listen: 20 µs an endpoint. Somebody may still take a port between this look and the nodes'
    own listen; the shard then reports the same error, only later.

    Raises:
        AddressingError: the system refuses an endpoint for another reason (a privileged port).
    """
    for host, port in wanted:
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            # As the nodes' listeners do: sessions of an earlier run in TIME_WAIT are no obstacle.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError as error:
                if error.errno == errno.EADDRINUSE:
                    return host, port
                raise AddressingError(f"cannot listen on {host}:{port}: {error.strerror}") from None
    return None


def busy_message(endpoint: Endpoint, nodes: Mapping[str, Iterable[Endpoint]]) -> str:
    """The one line for a port that is taken: which address and port, which node wanted it, what to do."""
    host, port = endpoint
    node = next((name for name, where in nodes.items() if endpoint in where), None)
    whose = f" (for {node})" if node else ""
    return (
        f"{host}:{port}{whose} is in use by another program, perhaps another cluster of yours: "
        f"stop it or choose another --bgp-port"
    )
