"""The configuration of a lab Router: what its own resource says, and what others say of themselves.

Owns ``RouterFacts``, what is read of a Router for one address family, ``Surroundings``, which all Routers share, and
``derive_router``. A neighbour's address, AS
and port are its own unless the Router says otherwise: a Node's AS is its own or the global one, its port that of the
BGPConfigurations. What a BGPPeer makes of them for its session (``localASNumber``) the Router is not told: ``asNumber``
says it.

One session for each address: of several neighbours that name it the first in the list counts, so that an exception
stands before a selector. An address that is nobody's needs an AS.

A Router exports all that it announces and learns, to peers and into its table. What it announces lies behind its
uplink, and not nowhere: a next hop may be in there, the moment that somebody announces a default route. Without
cluster ID the router ID is it, as in BIRD.

Left out: that the far end has to name this one too; a session that it does not expect never comes up.
"""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from agents.confd.fabric import label_of
from agents.confd.nodes import NO_ADDRESS, NodeFacts
from agents.confd.passwords import Passwords
from agents.confd.prefixes import in_text_order, masked
from agents.confd.router_id import hashed
from agents.confd.settings import PeeringSettings
from agents.speaker.config import (
    UPLINK,
    NextHop,
    PeerConfig,
    PeerKind,
    SpeakerConfig,
    StaticRoute,
    Timers,
)
from protocol.prefix import (
    IPV4,
    Address,
    Prefix,
    address_family,
    family_of,
    format_address,
    parse_address,
    parse_prefix,
)
from protocol.v3.lab import Router, RouterNeighbor, RouterSpec
from protocol.v3.selector import SelectorError, parse


@attrs.frozen(kw_only=True)
class RouterFacts:
    name: str
    address: Address
    subnet: Prefix | None
    router_id: Address
    labels: Mapping[str, str]
    spec: RouterSpec


@attrs.frozen(kw_only=True)
class _Someone:
    """Whom a Router can have as its neighbour, and what is known of it."""

    address: Address
    labels: Mapping[str, str]
    as_number: int | None = None
    port: int | None = None


class Surroundings:
    """All Nodes and Routers with an address of one family, as a Router sees them."""

    def __init__(
        self, settings: PeeringSettings, nodes: Mapping[str, NodeFacts], routers: Mapping[str, RouterFacts]
    ) -> None:
        self._nodes = [
            _Someone(
                address=node.address,
                labels=node.labels,
                as_number=node.as_number or settings.as_number,
                port=settings.port_of(node.name),
            )
            for _, node in sorted(nodes.items())
            if node.address
        ]
        self._routers = [
            _Someone(
                address=router.address,
                labels=router.labels,
                as_number=router.spec.as_number,
                port=router.spec.listen_port,
            )
            for _, router in sorted(routers.items())
            if router.address
        ]

    def neighbors(self, wanted: RouterNeighbor, family: int) -> list[_Someone]:
        """In the order of names. Raises SelectorError."""
        if wanted.peer_ip:
            address = parse_address(wanted.peer_ip)
            if address_family(address) != family:
                return []
            found = [each for each in (*self._nodes, *self._routers) if each.address == address]
            return found[:1] or [_Someone(address=address, labels={})]
        if wanted.node_selector:
            matches = parse(wanted.node_selector).matches
            return [each for each in self._nodes if matches(each.labels)]
        matches = parse(wanted.router_selector).matches
        return [each for each in self._routers if matches(each.labels)]


def router_facts(router: Router, family: int) -> RouterFacts:
    address, subnet, ipv4 = NO_ADDRESS, None, None
    for text in router.spec.addresses:
        one = parse_address(text.partition("/")[0])
        if address_family(one) == IPV4:
            ipv4 = one
        if address_family(one) == family:
            address, subnet = one, masked(text) if "/" in text else None
    name = router.metadata.name
    return RouterFacts(
        name=name,
        address=address,
        subnet=subnet,
        router_id=ipv4 or hashed(name),
        labels=router.metadata.labels,
        spec=router.spec,
    )


def derive_router(
    own: RouterFacts, around: Surroundings, passwords: Passwords, family: int, timers: Timers
) -> SpeakerConfig:
    whose = f"Router/{own.name}"
    peers: dict[Address, PeerConfig] = {}
    notes: list[str] = []
    for wanted in own.spec.neighbors if own.address else ():
        password, said = passwords.read(wanted.password, whose)
        notes += said
        try:
            found = around.neighbors(wanted, family)
        except SelectorError as error:
            notes.append(f"{whose}: {error}: skipped")
            continue
        for neighbor in found:
            as_number = wanted.as_number or neighbor.as_number
            if neighbor.address == own.address or neighbor.address in peers:
                continue
            if as_number is None:
                notes.append(
                    f"{whose}: neighbour {wanted.peer_ip} is nobody here and has no asNumber: skipped"
                )
                continue
            peers[neighbor.address] = _stanza(own, wanted, neighbor, as_number, password)
    cidrs = (parse_prefix(cidr) for cidr in own.spec.announce)
    return SpeakerConfig(
        node=own.name,
        address=own.address,
        router_id=own.router_id,
        local_as=own.spec.as_number,
        family=family,
        subnet=own.subnet,
        peers=tuple(sorted(peers.values(), key=lambda peer: peer.name)),
        policy=None,
        kernel=None,
        statics=tuple(
            StaticRoute(prefix=cidr, device=UPLINK)
            for cidr in in_text_order({cidr for cidr in cidrs if family_of(cidr) == family})
        ),
        timers=timers,
        add_path=own.spec.add_path,
        listen_port=own.spec.listen_port,
        notes=tuple(dict.fromkeys(notes)),
    )


def _stanza(
    own: RouterFacts, wanted: RouterNeighbor, neighbor: _Someone, as_number: int, password: str | None
) -> PeerConfig:
    cluster_id = own.spec.route_reflector_cluster_id
    client = wanted.route_reflector_client and as_number == own.spec.as_number
    return PeerConfig(
        name=f"{PeerKind.LAB.value}_{label_of(format_address(neighbor.address), None)}",
        kind=PeerKind.LAB,
        address=neighbor.address,
        local_address=own.address,
        local_as=own.spec.as_number,
        peer_as=as_number,
        passive=wanted.passive,
        rr_client=client,
        cluster_id=(parse_address(cluster_id) if cluster_id else own.router_id) if client else None,
        port=wanted.port or neighbor.port,
        next_hop=NextHop.SELF if wanted.next_hop_self else NextHop.AUTO,
        password=password,
    )
