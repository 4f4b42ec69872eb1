"""Whose turn it is at an address: of several stanzas for one neighbour one has a session, and the others wait.

BIRD finds whom an incoming connection is for by the neighbour's address, and takes the first protocol of its configuration.
So where a mesh and a BGPPeer both ask for a session with one node, one session comes up. Owns ``Turns``, which keeps
that order: the first by name that is not disabled leads. Calico writes the stanzas in the order of their names.

In nearly every cluster there is one stanza for an address, and that costs one entry of a dict.

Left out: what a turn is (``roster``: dial, accept, and end the session of who led before).
"""

from __future__ import annotations

from agents.speaker.peer import Peer
from protocol.prefix import Address


class Turns:
    """See the module."""

    def __init__(self) -> None:
        self._leaders: dict[Address, Peer] = {}
        self._waiting: dict[Address, list[Peer]] = {}  # of addresses with several: the others, in their order

    def leader(self, address: Address) -> Peer | None:
        """None when nobody knows the address. Disabled only when all are."""
        return self._leaders.get(address)

    def leaders(self) -> list[Peer]:
        return list(self._leaders.values())

    def waiting(self) -> set[str]:
        """The names of those who do not lead."""
        return {peer.config.name for others in self._waiting.values() for peer in others}

    def add(self, peer: Peer) -> Peer | None:
        """Returns whom it takes the lead from."""
        leader = self._leaders.setdefault(peer.address, peer)
        if leader is peer:
            return None
        waiting = self._waiting.setdefault(peer.address, [])
        if _order(leader) < _order(peer):
            waiting.append(peer)
            waiting.sort(key=_order)
            return None
        waiting.insert(0, leader)
        self._leaders[peer.address] = peer
        return leader

    def remove(self, peer: Peer) -> Peer | None:
        """Returns who leads instead."""
        address = peer.address
        waiting = self._waiting.get(address)
        if waiting is None:
            del self._leaders[address]
            return None
        follower = None
        if self._leaders[address] is peer:
            follower = self._leaders[address] = waiting.pop(0)
        else:
            waiting.remove(peer)
        if not waiting:
            del self._waiting[address]
        return follower


def _order(peer: Peer) -> tuple[bool, str]:
    return peer.disabled, peer.config.name
