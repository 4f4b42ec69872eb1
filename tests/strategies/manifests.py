"""Whole clusters as documents, with everything that decides a route drawn at random and little of each, so that it collides.

Owns ``manifests``. What is drawn is valid: the loader takes it. One Ethernet, nodes of either family or both, and sometimes
a router that is none of Calico's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import yaml
from hypothesis import strategies as st

from tests.strategies.clusters import Document, document

GLOBAL_AS = 64512
HOSTS = (2, 3, 9, 10, 11, 100, 101)
"""Their order as text is not their order as numbers."""
ROUTER = 250
POOLS = {4: ("10.128.0.0/24", "10.129.0.0/24", "10.130.0.0/24"), 6: ("fd80:1::/120", "fd80:2::/120")}
BLOCK_SIZE = {4: 28, 6: 124}
SERVICES = {4: "10.96.0.0/24", 6: "fd96::/120"}
EXTERNAL = {4: "198.51.100.0/28", 6: "fd51::/124"}
BALANCER = {4: "203.0.113.0/28", 6: "fd52::/124"}
COMMUNITIES = ("64512:7", "64512:8", "64512:7:9")
SECRET: Document = {
    "apiVersion": "v1",
    "kind": "Secret",
    "metadata": {"name": "bgp", "namespace": "kube-system"},
    "stringData": {"password": "open sesame"},
}
RACKS = {"a": 65001, "b": 65002}


@attrs.frozen
class Drawn:
    """``env`` is calico-node's."""

    documents: tuple[Document, ...]
    env: Mapping[str, str]

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text(repr(self))

    def __repr__(self) -> str:
        return f"env: {dict(self.env)}\n---\n{yaml.safe_dump_all(self.documents, sort_keys=False)}"


@attrs.define
class _Cluster:
    """What later draws refer to."""

    families: tuple[int, ...]
    nodes: list[Document] = attrs.field(factory=list)
    addresses: dict[str, dict[int, str]] = attrs.field(factory=dict)
    cidrs: dict[int, list[str]] = attrs.field(factory=lambda: {4: [], 6: []})
    filters: list[str] = attrs.field(factory=list)


def address(family: int, host: int) -> str:
    return f"10.77.0.{host}/24" if family == 4 else f"fd77::{host}/64"


def block(family: int, pool: str, index: int) -> str:
    """The block of a pool with this index, from 0."""
    network = pool.partition("/")[0]
    last = index << (4)
    text = (
        f"{network.rpartition('.')[0]}.{last}" if family == 4 else f"{network}{last:x}" if last else network
    )
    return f"{text}/{BLOCK_SIZE[family]}"


def host_of(family: int, cidr: str, offset: int) -> str:
    """An address in a block, as a prefix."""
    network = cidr.partition("/")[0]
    if family == 4:
        head, _, last = network.rpartition(".")
        return f"{head}.{int(last) + offset}/32"
    head, _, last = network.rpartition(":")
    return f"{head}:{int(last or '0', 16) + offset:x}/128"


@st.composite
def manifests(draw: st.DrawFn) -> Drawn:
    families = draw(st.sampled_from(((4,), (4,), (4, 6), (6,))))
    cluster = _Cluster(families)
    documents: list[Document] = []
    configuration: dict[str, Any] = {}
    shape = draw(st.sampled_from(("mesh", "reflectors", "racks", "free")))
    hosts = draw(st.lists(st.sampled_from(HOSTS), min_size=2, max_size=6, unique=True))
    for number, host in enumerate(hosts):
        cluster.nodes.append(_node(draw, cluster, shape, number, host))
    documents += cluster.nodes
    documents += _pools(draw, cluster)
    documents += _blocks_and_workloads(draw, cluster)
    if draw(st.booleans()):
        documents += _services(draw, cluster, configuration)
    if draw(st.booleans()):
        configuration["prefixAdvertisements"] = draw(_advertisements(cluster))
        configuration["communities"] = [{"name": "named", "value": "64512:99"}]
    documents += _filters(draw, cluster)
    documents += _peers(draw, cluster, shape)
    if draw(st.integers(0, 2)) == 0:
        documents += _router(draw, cluster)
    # Reflectors are not in the mesh; any other BGPPeer would be a second stanza for a neighbour, which never settles.
    configuration["nodeToNodeMeshEnabled"] = shape == "mesh" or (
        shape == "reflectors" and draw(st.booleans())
    )
    if draw(st.integers(0, 4)) == 0:
        configuration["ipv4NormalRoutePriority"] = 2000
    if draw(st.integers(0, 4)) == 0:
        configuration["listenPort"] = 1790
    if draw(st.integers(0, 4)) == 0:
        configuration["bindMode"] = "NodeIP"
    if draw(st.integers(0, 4)) == 0:
        configuration["programClusterRoutes"] = draw(st.sampled_from(("Disabled", "EnabledNoEncapOnly")))
    documents.append(document("BGPConfiguration", "default", configuration))
    documents.append(SECRET)
    if draw(st.integers(0, 4)) == 0:
        name = draw(st.sampled_from([each["metadata"]["name"] for each in cluster.nodes]))
        own: dict[str, Any] = draw(st.sampled_from(({"listenPort": 1791}, {})))
        if not own:
            own["prefixAdvertisements"] = draw(_advertisements(cluster, ("64512:1", "64512:1:1")))
        documents.append(document("BGPConfiguration", f"node.{name}", own))
    env = {"CALICO_ROUTER_ID": "hash"} if 4 not in families or draw(st.integers(0, 5)) == 0 else {}
    return Drawn(tuple(documents), env)


# -- nodes and addresses ------------------------------------------------------------------------------------------


def _node(draw: st.DrawFn, cluster: _Cluster, shape: str, number: int, host: int) -> Document:
    name = f"node-{number + 1}"
    own = cluster.families
    if len(own) == 2 and draw(st.integers(0, 4)) == 0:
        own = (4,)
    cluster.addresses[name] = {family: address(family, host) for family in own}
    bgp: dict[str, Any] = {f"ipv{family}Address": address(family, host) for family in own}
    labels: dict[str, str] = {}
    if shape == "reflectors" and number < draw(st.integers(1, 2)):
        bgp["routeReflectorClusterID"] = draw(st.sampled_from(("244.0.0.1", "244.0.0.2")))
        labels["reflector"] = "true"
    if shape != "reflectors":
        labels["rack"] = draw(st.sampled_from(sorted(RACKS)))
    if draw(st.integers(0, 5)) == 0:
        labels["node.kubernetes.io/exclude-from-external-load-balancers"] = "true"
    if shape == "racks":
        bgp["asNumber"] = RACKS[labels["rack"]]
    elif shape == "mesh" and draw(st.integers(0, 3)) == 0:
        bgp["asNumber"] = RACKS[labels["rack"]]  # of which nodes without one know nothing
    elif draw(st.integers(0, 7)) == 0:
        bgp["asNumber"] = draw(st.sampled_from((GLOBAL_AS, 64600)))
    return document("Node", name, {"bgp": bgp}, labels=labels)


def _pools(draw: st.DrawFn, cluster: _Cluster) -> list[Document]:
    pools = []
    for family in cluster.families:
        for number, cidr in enumerate(POOLS[family]):
            if number and draw(st.booleans()):
                continue
            cluster.cidrs[family].append(cidr)
            spec: dict[str, Any] = {"cidr": cidr, "blockSize": BLOCK_SIZE[family]}
            if draw(st.integers(0, 4)) == 0:
                spec["disableBGPExport"] = True
            modes = ["vxlanMode"] if family == 6 else ["vxlanMode", "ipipMode"]
            if draw(st.integers(0, 3)) == 0:
                spec[draw(st.sampled_from(modes))] = draw(st.sampled_from(("Always", "CrossSubnet")))
            pools.append(document("IPPool", f"pool-{family}-{number}", spec))
    return pools


def _blocks_and_workloads(draw: st.DrawFn, cluster: _Cluster) -> list[Document]:
    """A block has one owner; an address may have several, as while it moves."""
    documents = []
    blocks = {
        family: [block(family, cidr, index) for cidr in POOLS[family] for index in range(3)]
        for family in cluster.families
    }
    owners = st.sampled_from([each["metadata"]["name"] for each in cluster.nodes])
    for family in cluster.families:
        for cidr in blocks[family]:
            if draw(st.booleans()):
                state = draw(
                    st.sampled_from(("confirmed", "confirmed", "confirmed", "", "pending", "pendingDeletion"))
                )
                documents.append(_affinity(draw(owners), cidr, state))
        chosen = st.tuples(owners, st.sampled_from(blocks[family]), st.integers(1, 3))
        for number, (owner, cidr, offset) in enumerate(draw(st.lists(chosen, max_size=4, unique=True))):
            documents.append(_workload(owner, host_of(family, cidr, offset), f"cali{family}{number}"))
    return documents


def _affinity(node: str, cidr: str, state: str) -> Document:
    name = f"{node}-{cidr.translate(str.maketrans('.:/', '---'))}"
    return document(
        "BlockAffinity", name, {"state": state, "node": node, "type": "host", "cidr": cidr, "deleted": False}
    )


def _workload(node: str, network: str, interface: str) -> Document:
    spec = {
        "orchestrator": "k8s",
        "workload": "",
        "node": node,
        "pod": interface,
        "endpoint": "eth0",
        "ipNetworks": [network],
        "interfaceName": interface,
    }
    del spec["workload"]
    name = f"{node.replace('-', '--')}-k8s-{interface}-eth0"
    return document("WorkloadEndpoint", name, spec, namespace="default")


# -- what is announced --------------------------------------------------------------------------------------------


def _services(draw: st.DrawFn, cluster: _Cluster, configuration: dict[str, Any]) -> list[Document]:
    for field, cidrs in (
        ("serviceClusterIPs", SERVICES),
        ("serviceExternalIPs", EXTERNAL),
        ("serviceLoadBalancerIPs", BALANCER),
    ):
        if draw(st.booleans()):
            configuration[field] = [{"cidr": cidrs[family]} for family in cluster.families]
            for family in cluster.families:
                cluster.cidrs[family].append(cidrs[family])
    if draw(st.booleans()):
        configuration["serviceLoadBalancerAggregation"] = draw(st.sampled_from(("Enabled", "Disabled")))
    documents: list[Document] = []
    names = [each["metadata"]["name"] for each in cluster.nodes]
    for number in range(draw(st.integers(0, 2))):
        family = draw(st.sampled_from(cluster.families))
        version = f"IPv{family}"
        spec = {
            "type": draw(st.sampled_from(("ClusterIP", "LoadBalancer"))),
            "clusterIP": _member(SERVICES[family], number + 1),
            "ipFamilies": [version],
            "externalTrafficPolicy": draw(st.sampled_from(("Local", "Cluster"))),
            "externalIPs": [_member(EXTERNAL[family], number + 1)],
            "ports": [{"port": 80}],
        }
        service: Document = {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": f"service-{number}", "namespace": "default"},
            "spec": spec,
            "status": {"loadBalancer": {"ingress": [{"ip": _member(BALANCER[family], number + 1)}]}},
        }
        endpoints = [
            {
                "addresses": [_member(POOLS[family][0], 9)],
                "nodeName": name,
                "conditions": {"ready": draw(st.booleans())},
            }
            for name in draw(st.lists(st.sampled_from(names), unique=True, max_size=2))
        ]
        slice_: Document = {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "name": f"service-{number}-x",
                "namespace": "default",
                "labels": {"kubernetes.io/service-name": f"service-{number}"},
            },
            "addressType": version,
            "endpoints": endpoints,
            "ports": [{"port": 80}],
        }
        documents += [service, slice_]
    return documents


def _member(cidr: str, offset: int) -> str:
    family = 6 if ":" in cidr else 4
    return host_of(family, cidr, offset).partition("/")[0]


def _advertisements(
    cluster: _Cluster, communities: Sequence[str] = (*COMMUNITIES, "named")
) -> st.SearchStrategy[list[dict[str, Any]]]:
    cidrs = [cidr for family in cluster.families for cidr in cluster.cidrs[family]]
    values = st.lists(st.sampled_from(communities), min_size=1, max_size=3)
    one = st.fixed_dictionaries({"cidr": st.sampled_from(cidrs), "communities": values})
    return st.lists(one, min_size=1, max_size=2, unique_by=lambda each: each["cidr"])


# -- filters ------------------------------------------------------------------------------------------------------


def _filters(draw: st.DrawFn, cluster: _Cluster) -> list[Document]:
    documents = []
    for number in range(draw(st.integers(0, 2))):
        spec = {
            f"{direction}V{family}": draw(st.lists(_rule(cluster, family), min_size=1, max_size=3))
            for direction in ("import", "export")
            for family in cluster.families
            if draw(st.booleans())
        }
        name = f"filter-{number}"
        cluster.filters.append(name)
        documents.append(document("BGPFilter", name, spec))
    return documents


@st.composite
def _rule(draw: st.DrawFn, cluster: _Cluster, family: int) -> dict[str, Any]:
    rule: dict[str, Any] = {"action": draw(st.sampled_from(("Accept", "Reject")))}

    def some(odds: int) -> bool:
        return draw(st.integers(0, odds)) == 0

    if some(1):
        cidr = draw(st.sampled_from([*cluster.cidrs[family], block(family, POOLS[family][0], 0)]))
        rule |= {"cidr": cidr, "matchOperator": draw(st.sampled_from(("Equal", "NotEqual", "In", "NotIn")))}
        if some(2):
            bits, mask = (
                (32, int(cidr.partition("/")[2])) if family == 4 else (128, int(cidr.partition("/")[2]))
            )
            low, high = sorted(draw(st.tuples(*[st.integers(mask, bits)] * 2)))
            rule["prefixLength"] = draw(
                st.sampled_from(({"min": low, "max": high}, {"min": low}, {"max": high}))
            )
    if some(5):
        rule["source"] = "RemotePeers"
    if some(5):
        rule["interface"] = draw(st.sampled_from(("eth0", "cali*", "eth*")))
    if some(4):
        rule["peerType"] = draw(st.sampled_from(("eBGP", "iBGP")))
    if some(5):
        rule["communities"] = {"values": [draw(st.sampled_from(COMMUNITIES))]}
    if some(6):
        rule["asPathPrefix"] = draw(st.lists(st.sampled_from((65001, 65002, 65100)), min_size=1, max_size=2))
    if some(6):
        rule["priority"] = draw(st.sampled_from((256, 512, 1024)))
    if rule["action"] == "Accept" and some(2):
        operation = st.sampled_from(
            (
                {"addCommunity": {"value": "64512:7"}},
                {"addCommunity": {"value": "64512:7:9"}},
                {"addCommunity": {"value": "65535:65281"}},  # no-export
                {"prependASPath": {"prefix": [65100]}},
                {"prependASPath": {"prefix": [65100, 65101]}},
                {"setPriority": {"value": 256}},
                {"setPriority": {"value": 5000}},
            )
        )
        rule["operations"] = draw(st.lists(operation, min_size=1, max_size=2))
    return rule


# -- peerings -----------------------------------------------------------------------------------------------------


def _peers(draw: st.DrawFn, cluster: _Cluster, shape: str) -> list[Document]:
    specs: list[dict[str, Any]] = []
    if shape == "reflectors":
        how = draw(st.sampled_from(("selectors", "global", "addresses")))
        if how == "selectors":
            specs.append({"nodeSelector": "!has(reflector)", "peerSelector": "has(reflector)"})
            specs.append({"nodeSelector": "has(reflector)", "peerSelector": "has(reflector)"})
        elif how == "global":
            specs.append({"peerSelector": "has(reflector)"})
        else:
            specs += [
                {"peerIP": text.partition("/")[0], "asNumber": GLOBAL_AS}
                for node in cluster.nodes
                if "reflector" in node["metadata"]["labels"]
                for text in cluster.addresses[node["metadata"]["name"]].values()
            ]
    elif shape == "racks":
        specs += [
            {"nodeSelector": f"rack == '{rack}'", "peerSelector": f"rack == '{rack}'"} for rack in RACKS
        ]
        if draw(st.booleans()):
            specs.append({"nodeSelector": "rack == 'a'", "peerSelector": "rack == 'b'"})
    elif shape == "free":
        specs += draw(st.lists(_free_peer(cluster), min_size=1, max_size=3))
    documents = []
    for number, spec in enumerate(specs):
        documents.append(
            document("BGPPeer", f"peering-{number}", {**spec, **draw(_session_options(cluster, spec))})
        )
    return documents


def _router(draw: st.DrawFn, cluster: _Cluster) -> list[Document]:
    """One outside the cluster, and the BGPPeers of those that know it."""
    as_number = draw(st.sampled_from((65100, GLOBAL_AS)))
    announced = {4: ("0.0.0.0/0", "192.0.2.0/25", POOLS[4][0]), 6: ("::/0", "2001:db8::/64", POOLS[6][0])}
    neighbor: dict[str, Any] = {"nodeSelector": "all()"}
    if draw(st.integers(0, 3)) == 0:
        neighbor["nextHopSelf"] = True
    if as_number == GLOBAL_AS and draw(st.booleans()):
        neighbor["routeReflectorClient"] = True
    spec: dict[str, Any] = {
        "addresses": [address(family, ROUTER) for family in cluster.families],
        "asNumber": as_number,
        "announce": [
            cidr
            for family in cluster.families
            for cidr in draw(st.lists(st.sampled_from(announced[family]), unique=True))
        ],
        "neighbors": [neighbor],
        "addPath": draw(st.booleans()),
    }
    if "routeReflectorClient" in neighbor:
        spec["routeReflectorClusterID"] = "244.0.0.9"
    router: Document = {
        "apiVersion": "lab.tortie/v1",
        "kind": "Router",
        "metadata": {"name": "router"},
        "spec": spec,
    }
    documents = [router]
    whose = draw(st.sampled_from(({}, {"nodeSelector": "all()"}, {"node": "node-1"})))
    for family in cluster.families:
        peer = {"peerIP": address(family, ROUTER).partition("/")[0], "asNumber": as_number, **whose}
        documents.append(
            document("BGPPeer", f"uplink-{family}", {**peer, **draw(_session_options(cluster, peer))})
        )
    return documents


@st.composite
def _free_peer(draw: st.DrawFn, cluster: _Cluster) -> dict[str, Any]:
    spec: dict[str, Any] = {}
    names = [each["metadata"]["name"] for each in cluster.nodes]
    match draw(st.sampled_from(("global", "node", "selector"))):
        case "node":
            spec["node"] = draw(st.sampled_from(names))
        case "selector":
            spec["nodeSelector"] = draw(st.sampled_from(("all()", "rack == 'a'", "rack != 'a'")))
    if draw(st.booleans()):
        spec["peerSelector"] = draw(st.sampled_from(("all()", "rack == 'a'", "rack == 'b'")))
    else:
        family = draw(st.sampled_from(cluster.families))
        texts = [own[family] for own in cluster.addresses.values() if family in own] or ["10.77.0.250/24"]
        spec["peerIP"] = draw(st.sampled_from(texts)).partition("/")[0]
        spec["asNumber"] = draw(st.sampled_from((GLOBAL_AS, GLOBAL_AS, 64600)))
    if draw(st.integers(0, 3)) == 0:
        spec["reversePeering"] = draw(st.sampled_from(("Auto", "Manual")))
    return spec


@st.composite
def _session_options(draw: st.DrawFn, cluster: _Cluster, spec: Mapping[str, Any]) -> dict[str, Any]:
    options: dict[str, Any] = {}

    def some(odds: int) -> bool:
        return draw(st.integers(0, odds)) == 0

    if cluster.filters and some(1):
        options["filters"] = draw(
            st.lists(st.sampled_from(cluster.filters), min_size=1, max_size=2, unique=True)
        )
    if some(3):
        options["nextHopMode"] = draw(st.sampled_from(("Auto", "Self", "Keep")))
    elif some(5):
        options["keepOriginalNextHop"] = True
    if some(7):
        options["sourceAddress"] = "None"
    if some(9):
        options["maxRestartTime"] = "10s"
    if some(9):
        options["keepaliveTime"] = "7s"
    if some(9):
        options["ttlSecurity"] = draw(st.integers(0, 3))
    if some(9):
        options["password"] = {"secretKeyRef": {"name": "bgp", "key": "password"}}
    if "peerIP" in spec:
        if some(5):
            options["reachableBy"] = spec["peerIP"]
        if some(5):
            options["numAllowedLocalASNumbers"] = draw(st.integers(1, 2))
        if some(7):
            options["localASNumber"] = draw(st.sampled_from((GLOBAL_AS, 64700)))
    return options
