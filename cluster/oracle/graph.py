"""Which BGP sessions stand, by the configurations of both ends.

Owns ``Daemon`` (one BIRD: a node or router in one address family), ``End`` (one side of a standing session) and
``connect``, which finds them.

A session stands between two living daemons that can reach each other when a stanza of the one meets a stanza of the
other: each names the address of the other, expects the AS that the other says it is in, at least one of them dials
and finds the port that the other listens on, the passwords are equal, and the packets of both arrive with the TTL
that the receiver insists on (RFC 5082: a sender with ``ttl security`` sends 255, any other BIRD 64).

Where a side has several stanzas for the other (the mesh and a BGPPeer) the first by name has the session, also when it is
one that never comes up.

Left out: where configurations come from (``agents.confd``), and what is said on a session (``fixpoint``).
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable, Mapping, Sequence

import attrs

from agents.speaker.config import DEFAULT_PORT, PeerConfig, SpeakerConfig
from protocol.prefix import Address

BIRD_TTL = 64  # of `multihop` without a number
SECURE_TTL = 255


@attrs.define(eq=False)
class Daemon:
    """``alive``: its node runs, and has an address of the family."""

    number: int
    name: str
    config: SpeakerConfig
    alive: bool
    ends: list[End] = attrs.Factory(list)


@attrs.frozen(eq=False)
class End:
    """A session as seen by ``owner``: ``stanza`` is its own, ``there`` is the neighbour and ``theirs`` its stanza.

    Both ends of a session have its ``number``.
    """

    number: int
    owner: Daemon
    stanza: PeerConfig
    there: Daemon
    theirs: PeerConfig

    @property
    def add_path(self) -> bool:
        """Whether all paths are told, and not the best alone (RFC 7911)."""
        return self.owner.config.add_path and self.there.config.add_path


def connect(daemons: Sequence[Daemon], cut: Collection[frozenset[str]] = ()) -> None:
    """Fills in the ``ends`` of all. ``cut`` are pairs of names that cannot reach each other."""
    by_address: dict[Address, list[Daemon]] = {}
    for daemon in daemons:
        if daemon.alive:
            by_address.setdefault(daemon.config.address, []).append(daemon)
    numbers = itertools.count()
    stanzas = {daemon.number: _leading(daemon.config.peers) for daemon in daemons if daemon.alive}
    for one in daemons:
        if not one.alive:
            continue
        for address, mine in stanzas[one.number].items():
            # Of several nodes with one address the first has it.
            for other in by_address.get(address, ())[:1]:
                if other.number <= one.number or frozenset((one.name, other.name)) in cut:
                    continue
                its = stanzas[other.number].get(one.config.address)
                if its is not None and _agree(one.config, mine, other.config, its):
                    number = next(numbers)
                    one.ends.append(End(number, one, mine, other, its))
                    other.ends.append(End(number, other, its, one, mine))


def _leading(stanzas: Iterable[PeerConfig]) -> Mapping[Address, PeerConfig]:
    """By neighbour."""
    found: dict[Address, PeerConfig] = {}
    for stanza in stanzas:
        if stanza.address not in found or stanza.name < found[stanza.address].name:
            found[stanza.address] = stanza
    return found


def _agree(one: SpeakerConfig, mine: PeerConfig, other: SpeakerConfig, its: PeerConfig) -> bool:
    return (
        mine.peer_as == its.local_as
        and its.peer_as == mine.local_as
        and mine.password == its.password
        and _arrives(mine, its)
        and _arrives(its, mine)
        and (_finds(mine, other) or _finds(its, one))
    )


def _arrives(sender: PeerConfig, receiver: PeerConfig) -> bool:
    sent = BIRD_TTL if sender.ttl_security is None else SECURE_TTL
    return receiver.ttl_security is None or sent >= SECURE_TTL + 1 - receiver.ttl_security


def _finds(dialler: PeerConfig, listener: SpeakerConfig) -> bool:
    """Whether a dial ends where the other listens."""
    return not dialler.passive and (dialler.port or DEFAULT_PORT) == (listener.listen_port or DEFAULT_PORT)
