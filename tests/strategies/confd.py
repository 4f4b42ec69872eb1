"""Clusters as confd meets them: resources by short calls, and small random ones in which everything collides."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import attrs
from hypothesis import strategies as st

from agents.confd.derive import derive
from agents.speaker.config import PeerConfig, SpeakerConfig, Timers
from agents.syncer import View
from protocol.prefix import format_address
from protocol.sync.messages import Deltas, Document, InSync, Snapshot
from protocol.v3.bgp import BGPConfiguration, BGPConfigurationSpec, BGPPeer, BGPPeerSpec
from protocol.v3.codec import encode
from protocol.v3.ipam import AffinityState, BlockAffinity, BlockAffinitySpec, affinity_name
from protocol.v3.ippool import IPPool, IPPoolSpec
from protocol.v3.metadata import Metadata, Resource
from protocol.v3.node import Node, NodeBGPSpec, NodeSpec

GLOBAL_AS = 64512


def node(
    name: str, address: str, *, cluster_id: str = "", as_number: int | None = None, **labels: str
) -> Node:
    bgp = NodeBGPSpec(ipv4_address=address, as_number=as_number, route_reflector_cluster_id=cluster_id)
    return Node(Metadata(name, labels=labels), NodeSpec(bgp=bgp))


def bgp_peer(name: str, **spec: Any) -> BGPPeer:
    return BGPPeer(Metadata(name), BGPPeerSpec(**spec))


def bgp_configuration(name: str = "default", **spec: Any) -> BGPConfiguration:
    return BGPConfiguration(Metadata(name), BGPConfigurationSpec(**spec))


def pool(name: str, cidr: str, **spec: Any) -> IPPool:
    return IPPool(Metadata(name), IPPoolSpec(cidr=cidr, **spec))


def affinity(node_name: str, cidr: str, state: AffinityState = "confirmed", **spec: Any) -> BlockAffinity:
    return BlockAffinity(
        Metadata(affinity_name(node_name, cidr)),
        BlockAffinitySpec(state=state, node=node_name, cidr=cidr, **spec),
    )


class Writer:
    """A real View and what writes to it: every resource gets the next revision."""

    def __init__(self, *resources: Resource) -> None:
        self.view = View()
        self.revision = 0
        self.view.apply(Snapshot(0, tuple(map(self._stamp, resources))))
        self.view.apply(InSync(self.revision))

    def _stamp(self, resource: Resource) -> Document:
        self.revision += 1
        metadata = attrs.evolve(resource.metadata, resource_version=str(self.revision))
        return encode(attrs.evolve(resource, metadata=metadata))

    def write(self, *resources: Resource) -> None:
        documents = tuple(map(self._stamp, resources))
        self.view.apply(Deltas(self.revision, documents, ()))

    def delete(self, *resources: Resource) -> None:
        self.revision += 1
        self.view.apply(Deltas(self.revision, (), tuple(resource.key for resource in resources)))


def config_of(node_name: str, *resources: Resource) -> SpeakerConfig:
    config = derive(Writer(*resources).view, node_name, Timers())
    assert config is not None
    return config


def stanza(peer: PeerConfig) -> str:
    """``"Global_10_77_0_2_port_150 as 64512 port 150 passive"``: what a reader of bird.cfg looks at."""
    words = [peer.name, "as", str(peer.peer_as)]
    if peer.port is not None:
        words += ["port", str(peer.port)]
    if peer.passive:
        words.append("passive")
    if peer.rr_client:
        words += ["client of", "?" if peer.cluster_id is None else format_address(peer.cluster_id)]
    return " ".join(words)


def stanzas(node_name: str, *resources: Resource) -> list[str]:
    return [stanza(peer) for peer in config_of(node_name, *resources).peers]


def nodes() -> st.SearchStrategy[list[Node]]:
    """Up to six, with addresses whose order as text is not their order as numbers."""

    @st.composite
    def one(draw: st.DrawFn, host: int) -> Node:
        return node(
            f"node-{host:03}",
            f"10.77.0.{host}/16",
            cluster_id=draw(st.sampled_from(("", "", "244.0.0.1", "244.0.0.2"))),
            as_number=draw(st.sampled_from((None, None, GLOBAL_AS, 64600))),
            **draw(st.dictionaries(st.sampled_from(("rr", "rack")), st.sampled_from(("a", "b")))),
        )

    hosts = st.lists(st.integers(8, 13), min_size=1, max_size=6, unique=True)
    return hosts.flatmap(lambda chosen: st.tuples(*map(one, chosen))).map(list)


SELECTORS = ("all()", "has(rr)", "!has(rr)", "rack == 'a'", "rack == ")


@st.composite
def bgp_peers(
    draw: st.DrawFn, *, reverse: tuple[str | None, ...] = (None, "Auto", "Manual")
) -> list[BGPPeer]:
    peers = []
    for name in draw(st.lists(st.sampled_from("abcd"), unique=True)):
        spec: dict[str, Any] = {"reverse_peering": draw(st.sampled_from(reverse))}
        match draw(st.sampled_from(("global", "node", "selector"))):
            case "node":
                spec["node"] = f"node-{draw(st.integers(8, 13)):03}"
            case "selector":
                spec["node_selector"] = draw(st.sampled_from(SELECTORS))
        if draw(st.booleans()):
            spec["peer_selector"] = draw(st.sampled_from(SELECTORS))
        else:
            port = draw(st.sampled_from(("", "", ":150", ":151")))
            spec["peer_ip"] = f"10.77.0.{draw(st.integers(8, 14))}{port}"
            spec["as_number"] = draw(st.sampled_from((None, GLOBAL_AS, 64600)))
        peers.append(bgp_peer(name, **spec))
    return peers


@st.composite
def bgp_configurations(draw: st.DrawFn) -> list[BGPConfiguration]:
    ports = st.sampled_from((None, 150, 151))
    configurations = (
        [bgp_configuration("node.node-009", listen_port=draw(ports))] if draw(st.booleans()) else []
    )
    if draw(st.booleans()):
        mesh = draw(st.sampled_from((None, True, False)))
        configurations.append(bgp_configuration(node_to_node_mesh_enabled=mesh, listen_port=draw(ports)))
    return configurations


def affinities() -> st.SearchStrategy[list[BlockAffinity]]:
    states: tuple[AffinityState, ...] = ("", "confirmed", "pending", "pendingDeletion")
    one = st.builds(
        lambda host, block, state: affinity(f"node-{host:03}", f"192.168.{block}.0/26", state),
        st.integers(8, 10),
        st.integers(8, 12),
        st.sampled_from(states),
    )
    return st.lists(one, max_size=4, unique_by=lambda it: it.metadata.name)


def pools() -> st.SearchStrategy[list[IPPool]]:
    one = st.builds(
        lambda number, off: pool(f"pool-{number}", f"192.{number}.0.0/16", disable_bgp_export=off),
        st.integers(168, 170),
        st.booleans(),
    )
    return st.lists(one, max_size=2, unique_by=lambda it: it.metadata.name)


def clusters() -> st.SearchStrategy[list[Resource]]:
    parts: Iterable[st.SearchStrategy[list[Any]]] = (
        nodes(),
        bgp_peers(),
        bgp_configurations(),
        affinities(),
        pools(),
    )
    return st.tuples(*parts).map(lambda kinds: [resource for kind in kinds for resource in kind])
