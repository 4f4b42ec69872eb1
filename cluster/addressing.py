"""Where on this computer a node's address is reached.

Owns the mapping from node addresses to loopback endpoints. A node of the cluster believes that it is
10.77.1.5 on a network of its own; on this computer it listens on 127.77.1.5. A node address of 10.77.0.0/16 keeps
its last two octets, any other (a manifest's) takes the next free pair in the order of the nodes, so that the same
nodes always get the same endpoints.

Linux gives every process the whole of 127.0.0.0/8. Where a system has only 127.0.0.1 (macOS, some containers),
``has_wide_loopback`` says so and every node gets its own port on 127.0.0.1 instead.

Flow: ``cluster.launch`` probes once, makes the mapping, and asks ``find_busy`` before anything is started; the shards
hand the mapping to ``agents.speaker.tcp``.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterable, Mapping, Sequence

from protocol.prefix import Address

Endpoint = tuple[str, int]

NODE_NETWORK = bytes((10, 77))
LOOPBACK_NETWORK = "127.77"
NARROW_HOST = "127.0.0.1"
_PAIRS = 65536


class AddressingError(Exception):
    """The cluster cannot have the endpoints it needs; the text is one line for the user."""


def generated_address(index: int) -> str:
    """The address of the ``index``-th generated node (from 1): 10.77.0.1, … 10.77.1.0, …"""
    high, low = divmod(index, 256)
    return f"10.77.{high}.{low}"


def has_wide_loopback() -> bool:
    """Whether 127.77.0.1 can be bound here, as on Linux."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        try:
            probe.bind((f"{LOOPBACK_NETWORK}.0.1", 0))
        except OSError:
            return False
    return True


def endpoints(addresses: Sequence[Address], port: int, *, wide: bool) -> dict[Address, Endpoint]:
    """One distinct loopback endpoint for every node address.

    Raises:
        AddressingError: more nodes than there are ports or pairs of octets.
    """
    if not wide:
        if port + len(addresses) > 65536:
            raise AddressingError(
                f"this system has no loopback address but 127.0.0.1, so that {len(addresses)} nodes need the ports "
                f"{port} to {port + len(addresses) - 1}, and the last port is 65535: give a lower --bgp-port"
            )
        return {address: (NARROW_HOST, port + index) for index, address in enumerate(addresses)}
    if len(addresses) >= _PAIRS:
        raise AddressingError(
            f"{len(addresses)} nodes are more than the addresses of {LOOPBACK_NETWORK}.0.0/16"
        )
    pairs = {address: int.from_bytes(address[2:], "big") for address in addresses if _is_generated(address)}
    taken = set(pairs.values())
    free = (pair for pair in range(1, _PAIRS) if pair not in taken)
    result: dict[Address, Endpoint] = {}
    for address in addresses:
        high, low = divmod(pairs[address] if address in pairs else next(free), 256)
        result[address] = (f"{LOOPBACK_NETWORK}.{high}.{low}", port)
    return result


def _is_generated(address: Address) -> bool:
    return len(address) == 4 and address[:2] == NODE_NETWORK


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


def busy_message(endpoint: Endpoint, nodes: Mapping[str, Endpoint]) -> str:
    """The one line for a port that is taken: which address and port, which node wanted it, what to do."""
    host, port = endpoint
    node = next((name for name, where in nodes.items() if where == endpoint), None)
    whose = f" (for {node})" if node else ""
    return (
        f"{host}:{port}{whose} is in use by another program, perhaps another cluster of yours: "
        f"stop it or choose another --bgp-port"
    )
