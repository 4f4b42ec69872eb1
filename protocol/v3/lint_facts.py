"""What the checks of ``lint`` know of a whole cluster: its hosts, who is selected, who peers with whom.

Owns ``Cluster``, made once for all checks, and ``Remark``, what they say. Sessions are counted generously (one that
either end asks for stands), so that what is said to be missing is missing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

import attrs

from protocol.v3.bgp import DEFAULT_AS_NUMBER, BGPConfiguration, BGPConfigurationSpec, BGPPeer
from protocol.v3.fields import Address, as_interface_address, split_peer_address
from protocol.v3.lab import Router
from protocol.v3.metadata import Resource
from protocol.v3.node import Node
from protocol.v3.rules import Path
from protocol.v3.selector import parse

R = TypeVar("R", bound=Resource)


@attrs.frozen
class Remark:
    """Something valid but surely wrong. ``index`` says with which of the resources."""

    index: int
    path: Path
    message: str


@attrs.frozen(kw_only=True, eq=False)
class Host:
    """A Node or a Router. ``as_number`` is the effective one, ``own_as`` what it says itself."""

    index: int
    name: str
    labels: Mapping[str, str]
    addresses: frozenset[Address]
    as_number: int
    own_as: int | None
    cluster_id: str


@attrs.frozen(kw_only=True, eq=False)
class Peering:
    """One BGPPeer: the nodes that it is for, and whom they peer with. ``address`` is a peerIP's."""

    index: int
    peer: BGPPeer
    local: frozenset[str]
    remote: frozenset[str]
    address: Address | None
    port: int | None

    @property
    def members(self) -> frozenset[str]:
        """The nodes that it gives a session. A peerIP may be anybody's."""
        return self.local | self.remote if self.remote or self.address is not None else frozenset()


class Cluster:
    def __init__(self, resources: Sequence[Resource]) -> None:
        self._resources = resources
        self._selected: dict[str, tuple[Host, ...]] = {}
        configurations = [
            (i, each) for i, each in self.of(BGPConfiguration) if each.metadata.name == "default"
        ]
        self.configuration_index: int | None = configurations[0][0] if configurations else None
        self.configuration = configurations[0][1].spec if configurations else BGPConfigurationSpec()
        self.mesh = self.configuration.node_to_node_mesh_enabled is not False
        self.as_number = self.configuration.as_number or DEFAULT_AS_NUMBER
        self.nodes = tuple(self._node(index, node) for index, node in self.of(Node))
        self.routers = tuple(
            Host(
                index=index,
                name=router.metadata.name,
                labels=router.metadata.labels,
                addresses=frozenset(map(as_interface_address, router.spec.addresses)),
                as_number=router.spec.as_number,
                own_as=router.spec.as_number,
                cluster_id=router.spec.route_reflector_cluster_id,
            )
            for index, router in self.of(Router)
        )
        self.node_names = frozenset(node.name for node in self.nodes)
        self.by_address: Mapping[Address, Host] = {
            address: host for host in (*self.nodes, *self.routers) for address in host.addresses
        }
        self.reflectors = tuple(node for node in self.nodes if node.cluster_id)
        self.meshes = tuple(
            frozenset(
                node.name
                for node in self.nodes
                if not node.cluster_id and any(address.version == version for address in node.addresses)
            )
            for version in (4, 6)
        )
        """Who is in the node-to-node mesh, if there is one, of IPv4 and of IPv6."""
        self.peerings = tuple(self._peering(index, peer) for index, peer in self.of(BGPPeer))

    def of(self, cls: type[R]) -> list[tuple[int, R]]:
        return [(index, each) for index, each in enumerate(self._resources) if isinstance(each, cls)]

    def selected(self, selector: str) -> tuple[Host, ...]:
        """The nodes that a selector matches."""
        if selector not in self._selected:
            matches = parse(selector).matches
            self._selected[selector] = tuple(node for node in self.nodes if matches(node.labels))
        return self._selected[selector]

    def nobody(self, selector: str) -> bool:
        """Whether a selector surely is for no node. One that a node without labels would match is for whoever comes."""
        return bool(self.nodes) and not self.selected(selector) and not parse(selector).matches({})

    def neighbors(self, name: str) -> frozenset[str]:
        """The nodes with which BGPPeers give a node sessions."""
        found: set[str] = set()
        for peering in self.peerings:
            if name in peering.local:
                found |= peering.remote
            if name in peering.remote:
                found |= peering.local
        return frozenset(found - {name})

    def _node(self, index: int, node: Node) -> Host:
        bgp = node.spec.bgp
        texts = () if bgp is None else (bgp.ipv4_address, bgp.ipv6_address)
        own_as = None if bgp is None else bgp.as_number
        return Host(
            index=index,
            name=node.metadata.name,
            labels=node.metadata.labels,
            addresses=frozenset(as_interface_address(text) for text in texts if text),
            as_number=own_as or self.as_number,
            own_as=own_as,
            cluster_id="" if bgp is None else bgp.route_reflector_cluster_id,
        )

    def _peering(self, index: int, peer: BGPPeer) -> Peering:
        spec = peer.spec
        address, port = split_peer_address(spec.peer_ip) if spec.peer_ip else (None, None)
        if spec.node:
            local = self.node_names & {spec.node}
        elif spec.node_selector:
            local = _names(self.selected(spec.node_selector))
        else:
            local = self.node_names
        remote: frozenset[str] = frozenset()
        if spec.peer_selector:
            remote = _names(self.selected(spec.peer_selector))
        elif address is not None and address in self.by_address:
            remote = self.node_names & {self.by_address[address].name}
        return Peering(index=index, peer=peer, local=local, remote=remote, address=address, port=port)


def _names(hosts: Iterable[Host]) -> frozenset[str]:
    return frozenset(host.name for host in hosts)


def some(names: Iterable[str], shown: int = 3) -> str:
    """``"a, b, c and 17 more"``."""
    listed = sorted(names)
    more = f" and {len(listed) - shown:,} more" if len(listed) > shown else ""
    return ", ".join(listed[:shown]) + more
