"""Clusters as confd meets them: resources by short calls, and small random ones in which everything collides."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

import attrs
from hypothesis import strategies as st

from agents.confd.derive import derive
from agents.speaker.config import PeerConfig, SpeakerConfig, Timers
from agents.syncer import View
from protocol.prefix import IPV4, format_address
from protocol.sync.messages import Deltas, Document, InSync, Snapshot
from protocol.v3.bgp import (
    BGPConfiguration,
    BGPConfigurationSpec,
    BGPFilter,
    BGPFilterSpec,
    BGPPassword,
    BGPPeer,
    BGPPeerSpec,
    FilterRuleV4,
    FilterRuleV6,
    NamedCommunity,
    PrefixAdvertisement,
    SecretKeySelector,
    ServiceIPBlock,
)
from protocol.v3.codec import encode
from protocol.v3.core import (
    SERVICE_NAME,
    Endpoint,
    EndpointConditions,
    EndpointSlice,
    LoadBalancerIngress,
    LoadBalancerStatus,
    Secret,
    Service,
    ServiceSpec,
    ServiceStatus,
)
from protocol.v3.ipam import AffinityState, BlockAffinity, BlockAffinitySpec, affinity_name
from protocol.v3.ippool import IPPool, IPPoolSpec
from protocol.v3.lab import Router, RouterNeighbor, RouterSpec
from protocol.v3.metadata import Metadata, Resource
from protocol.v3.node import Node, NodeBGPSpec, NodeSpec
from protocol.v3.workload import WorkloadEndpoint, WorkloadEndpointSpec

GLOBAL_AS = 64512


def node(
    name: str,
    address: str = "",
    *,
    ipv6: str = "",
    cluster_id: str = "",
    as_number: int | None = None,
    **labels: str,
) -> Node:
    bgp = NodeBGPSpec(
        ipv4_address=address, ipv6_address=ipv6, as_number=as_number, route_reflector_cluster_id=cluster_id
    )
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


def bgp_filter(name: str, **spec: Any) -> BGPFilter:
    return BGPFilter(Metadata(name), BGPFilterSpec(**spec))


def secret(name: str, namespace: str = "calico-system", **values: str) -> Secret:
    return Secret(Metadata(name, namespace), string_data=values)


def password(name: str, key: str = "word") -> BGPPassword:
    return BGPPassword(secret_key_ref=SecretKeySelector(name=name, key=key))


def service(name: str, *, ingress: Iterable[str] = (), **spec: Any) -> Service:
    """Of type LoadBalancer unless the spec says something else."""
    status = ServiceStatus(
        load_balancer=LoadBalancerStatus(ingress=tuple(LoadBalancerIngress(ip=ip) for ip in ingress))
    )
    spec.setdefault("type", "LoadBalancer")
    return Service(Metadata(name, "default"), ServiceSpec(**spec), status)


def endpoints(
    of: str,
    *nodes_: str,
    ready: bool | None = None,
    family: Literal["IPv4", "IPv6"] = "IPv4",
    number: int = 1,
) -> EndpointSlice:
    """One endpoint of the Service on each of the nodes."""
    return EndpointSlice(
        Metadata(f"{of}-{number}", "default", labels={SERVICE_NAME: of}),
        address_type=family,
        endpoints=tuple(
            Endpoint(addresses=("192.0.2.1",), node_name=name, conditions=EndpointConditions(ready=ready))
            for name in nodes_
        ),
    )


def cidrs(*texts: str) -> tuple[ServiceIPBlock, ...]:
    return tuple(ServiceIPBlock(cidr=text) for text in texts)


def lab_router(name: str, *addresses: str, as_number: int = 65000, **spec: Any) -> Router:
    labels = spec.pop("labels", {})
    return Router(Metadata(name, labels=labels), RouterSpec(addresses=addresses, as_number=as_number, **spec))


def workload(name: str, on: str, *networks: str, **labels: str) -> WorkloadEndpoint:
    return WorkloadEndpoint(
        Metadata(name, "default", labels=labels), WorkloadEndpointSpec(node=on, ip_networks=networks)
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


def config_of(
    node_name: str, *resources: Resource, family: int = IPV4, env: Mapping[str, str] | None = None
) -> SpeakerConfig:
    config = derive(Writer(*resources).view, node_name, Timers(), family, env or {})
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


def stanzas(node_name: str, *resources: Resource, family: int = IPV4) -> list[str]:
    return [stanza(peer) for peer in config_of(node_name, *resources, family=family).peers]


def nodes() -> st.SearchStrategy[list[Node]]:
    """Up to six, with addresses whose order as text is not their order as numbers."""

    @st.composite
    def one(draw: st.DrawFn, host: int) -> Node:
        return node(
            f"node-{host:03}",
            f"10.77.0.{host}/16",
            ipv6=draw(st.sampled_from(("", f"fd00:77::{host:x}/64"))),
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
        spec["filters"] = tuple(draw(st.lists(st.sampled_from(("in", "out", "none")), max_size=2)))
        spec["max_restart_time"] = draw(st.sampled_from(("", "90s")))
        spec["password"] = draw(st.sampled_from((None, password("bgp"), password("gone"))))
        if draw(st.booleans()):
            spec["peer_selector"] = draw(st.sampled_from(SELECTORS))
        else:
            port = draw(st.sampled_from(("", "", ":150", ":151")))
            spec["peer_ip"] = draw(st.sampled_from((f"10.77.0.{{}}{port}", "fd00:77::{:x}"))).format(
                draw(st.integers(8, 14))
            )
            spec["as_number"] = draw(st.sampled_from((None, GLOBAL_AS, 64600)))
            spec["local_as_number"] = draw(st.sampled_from((None, None, 64700)))
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
        communities = draw(st.sampled_from((("first",), ("65000:1", "nobody"), ())))
        configurations.append(
            bgp_configuration(
                node_to_node_mesh_enabled=mesh,
                listen_port=draw(ports),
                communities=(NamedCommunity(name="first", value="65000:7"),),
                prefix_advertisements=(
                    PrefixAdvertisement(cidr="192.168.0.0/16", communities=communities),
                    PrefixAdvertisement(cidr="fd00::/16", communities=communities),
                ),
                service_cluster_ips=draw(st.sampled_from(((), cidrs("10.96.0.0/12", "fd00:96::/112")))),
                service_load_balancer_ips=draw(st.sampled_from(((), cidrs("10.8.0.0/16", "10.9.0.1/32")))),
                service_load_balancer_aggregation=draw(st.sampled_from(("Enabled", "Disabled"))),
                program_cluster_routes=draw(st.sampled_from((None, "Enabled", "Disabled"))),
            )
        )
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


def filters() -> st.SearchStrategy[list[BGPFilter]]:
    """Some of those that ``bgp_peers`` name."""
    accept4 = FilterRuleV4(action="Accept", cidr="192.168.0.0/16", match_operator="In")
    known = [
        bgp_filter("in", import_v4=(accept4,), import_v6=(FilterRuleV6(action="Reject"),)),
        bgp_filter("out", export_v4=(FilterRuleV4(action="Reject"),)),
    ]
    return st.lists(st.sampled_from(known), unique_by=lambda it: it.metadata.name)


@st.composite
def services(draw: st.DrawFn) -> list[Resource]:
    """Services of every kind, and their endpoints on the nodes of ``nodes``."""
    found: list[Resource] = [secret("bgp", word="sesame")] if draw(st.booleans()) else []
    for number in draw(st.lists(st.integers(1, 3), unique=True)):
        name = f"svc-{number}"
        found.append(
            service(
                name,
                type=draw(st.sampled_from(("ClusterIP", "NodePort", "LoadBalancer", "ExternalName"))),
                cluster_ips=draw(
                    st.sampled_from(
                        ((f"10.96.0.{number}",), (f"10.96.0.{number}", f"fd00:96::{number}"), ("None",))
                    )
                ),
                external_traffic_policy=draw(st.sampled_from(("Cluster", "Local"))),
                ingress=draw(st.sampled_from(((), ("10.9.0.1",), (f"10.8.0.{number}",)))),
            )
        )
        hosts = draw(st.lists(st.integers(8, 14), max_size=2))
        found.append(
            endpoints(name, *(f"node-{host:03}" for host in hosts), ready=draw(st.none() | st.booleans()))
        )
    return found


@st.composite
def routers(draw: st.DrawFn) -> list[Router]:
    """Up to two, which name nodes and each other in every way."""
    ways = (
        RouterNeighbor(node_selector="all()"),
        RouterNeighbor(node_selector="has(rr)", route_reflector_client=True, as_number=GLOBAL_AS),
        RouterNeighbor(router_selector="all()", passive=True),
        RouterNeighbor(peer_ip="10.77.0.9", next_hop_self=True),
        RouterNeighbor(peer_ip="10.99.0.9"),
    )
    return [
        lab_router(
            f"router-{host}",
            f"10.77.0.{host}/16",
            f"fd00:77::{host:x}/64",
            as_number=draw(st.sampled_from((GLOBAL_AS, 65000))),
            announce=("0.0.0.0/0", "fd00:99::/64"),
            neighbors=tuple(draw(st.lists(st.sampled_from(ways), max_size=3))),
        )
        for host in draw(st.lists(st.integers(14, 15), unique=True))
    ]


def clusters() -> st.SearchStrategy[list[Resource]]:
    parts: Iterable[st.SearchStrategy[list[Any]]] = (
        nodes(),
        bgp_peers(),
        bgp_configurations(),
        affinities(),
        pools(),
        filters(),
        services(),
        routers(),
    )
    return st.tuples(*parts).map(lambda kinds: [resource for kind in kinds for resource in kind])
