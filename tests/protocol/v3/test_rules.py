from __future__ import annotations

import ipaddress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.v3.codec import KINDS
from protocol.v3.core import Secret, ServiceSpec
from protocol.v3.ipam import block_name
from protocol.v3.ippool import IPPool, IPPoolSpec
from protocol.v3.lab import Router, RouterSpec
from protocol.v3.metadata import Key, Metadata, Resource
from protocol.v3.node import Node, NodeBGPSpec, NodeSpec
from protocol.v3.rules import conflicts, format_path
from protocol.v3.validate import InvalidResource, resource_of


def faults(kind: str, spec: dict[str, Any], name: str = "default", **metadata: Any) -> list[str]:
    return faults_of(
        {
            "apiVersion": KINDS[kind].api_version,
            "kind": kind,
            "metadata": {"name": name, **metadata},
            "spec": spec,
        }
    )


def faults_of(doc: dict[str, Any]) -> list[str]:
    try:
        resource_of(doc)
    except InvalidResource as error:
        return list(map(str, error.faults))
    return []


POOL = {"cidr": "10.0.0.0/16"}
BALANCER = {**POOL, "allowedUses": ["LoadBalancer"]}
LISTED = {"prefixAdvertisements": [{"cidr": "10.0.0.0/8", "communities": ["a", "1:2", "1:2:4294967295"]}]}
RULE = {"action": "Accept"}
ROUTER = {"addresses": ["10.0.0.1/24"], "asNumber": 65000}
ENDPOINT = {"node": "n", "orchestrator": "k8s", "pod": "p", "endpoint": "eth0", "ipNetworks": ["10.0.0.1/32"]}
BLOCK = {
    "cidr": "10.0.0.0/31",
    "allocations": [0, None],
    "unallocated": [1],
    "attributes": [{}],
    "strictAffinity": False,
}


@pytest.mark.parametrize(
    ("kind", "spec", "name", "found"),
    [
        ("Node", {"bgp": {}}, "n", "spec.bgp: present but empty"),
        ("IPPool", {**POOL, "ipipMode": "Always", "vxlanMode": "Always"}, "p", "spec: ipipMode and vxlanMode"),
        ("IPPool", {"cidr": "fd00::/64", "ipipMode": "Always"}, "p", "spec.ipipMode: IPIP"),
        ("IPPool", {**POOL, "allowedUses": ["LoadBalancer", "Workload"]}, "p", "spec.allowedUses: "),
        ("IPPool", {**BALANCER, "vxlanMode": "Always"}, "p", "spec: a LoadBalancer pool"),
        ("IPPool", {**BALANCER, "disableBGPExport": True}, "p", "spec.disableBGPExport: "),
        ("IPPool", {**BALANCER, "nodeSelector": "has(a)"}, "p", "spec.nodeSelector: a LoadBalancer"),
        ("IPPool", {**POOL, "allowedUses": ["Tunnel"], "namespaceSelector": "all()"}, "p", "spec.namespaceSelector: "),
        ("IPPool", {**POOL, "nodeSelector": "has(a) || !(has(b) && global())"}, "p", "spec.nodeSelector: global()"),
        ("IPPool", {**POOL, "namespaceSelector": "global()"}, "p", "spec.namespaceSelector: global()"),
        ("IPPool", {"cidr": "169.254.1.0/24"}, "p", "spec.cidr: 169.254.1.0/24 overlaps"),
        ("IPPool", {"cidr": "0.0.0.0/0"}, "p", "spec.cidr: 0.0.0.0/0 overlaps"),
        ("IPPool", {"cidr": "fe80:1::/64"}, "p", "spec.cidr: fe80:1::/64 overlaps"),
        ("IPPool", {**POOL, "blockSize": 19}, "p", "spec.blockSize: 19 is not in 20..32"),
        ("IPPool", {"cidr": "fd00::/64", "blockSize": 26}, "p", "spec.blockSize: 26 is not in 116..128"),
        ("IPPool", {"cidr": "10.0.0.0/27"}, "p", "spec.cidr: 10.0.0.0/27 is smaller than one block of /26"),
        ("IPPool", {"cidr": "10.0.0.1/16"}, "p", "spec.cidr: '10.0.0.1/16' has host bits set"),
        ("IPPool", {"cidr": ""}, "p", "spec.cidr: required"),
        ("IPReservation", {"reservedCIDRs": ["10.0.0.1", "10.0.0.0/33"]}, "r", "spec.reservedCIDRs[1]: "),
        ("IPAMConfiguration", {}, "other", "metadata.name: "),
        ("IPAMConfiguration", {"autoAllocateBlocks": False}, "default", "spec.autoAllocateBlocks: "),
        ("IPAMConfiguration", {"maxBlocksPerHost": 1}, "default", "spec.maxBlocksPerHost: needs"),
        ("IPAMConfiguration", {"ipCooldownSeconds": 1201}, "default", "spec.ipCooldownSeconds: 1201 is not in 0..1200"),
        ("BlockAffinity", {"node": "n", "cidr": "10.0.0.0/26", "state": "confirmed"}, "n", "metadata.name: "),
        ("BlockAffinity", {"node": "n", "cidr": "10.0.0.0/26", "state": "", "deleted": True}, "n-10-0-0-0-26", "spec.deleted: "),
        ("BlockAffinity", {"node": "n", "cidr": "10.0.0.1/26", "state": ""}, "n-10-0-0-0-26", "spec.cidr: "),
        ("IPAMBlock", BLOCK, "b", "metadata.name: the block 10.0.0.0/31 is called 10-0-0-0-31"),
        ("IPAMBlock", {**BLOCK, "allocations": [0]}, "10-0-0-0-31", "spec.allocations: 1 entries for 2"),
        ("IPAMBlock", {**BLOCK, "allocations": [1, None]}, "10-0-0-0-31", "spec.allocations[0]: there is no attribute 1"),
        ("IPAMBlock", {**BLOCK, "unallocated": [0]}, "10-0-0-0-31", "spec.unallocated: "),
        ("IPAMBlock", {**BLOCK, "unallocated": [1, 1]}, "10-0-0-0-31", "spec.unallocated: "),
        ("IPAMBlock", {**BLOCK, "cidr": "10.0.0.0/8"}, "10-0-0-0-8", "spec.cidr: 10.0.0.0/8 is larger"),
        ("IPAMBlock", {**BLOCK, "affinity": "n"}, "10-0-0-0-31", "spec.affinity: 'n' is not host:NODE"),
        ("IPAMHandle", {"handleID": "A.b", "block": {}}, "a.c", "metadata.name: the handle is called a.b"),
        ("BGPConfiguration", {"asNumber": 1}, "node.n", "spec.asNumber: can be set only"),
        ("BGPConfiguration", {"serviceLoadBalancerIPs": [{}]}, "node.n", "spec.serviceLoadBalancerIPs: can be set only"),
        ("BGPConfiguration", {"nodeToNodeMeshEnabled": False, "nodeMeshMaxRestartTime": "1s"}, "default", "spec.nodeMeshMaxRestartTime: "),
        ("BGPConfiguration", {"nodeToNodeMeshEnabled": False, "nodeMeshPassword": {}}, "default", "spec.nodeMeshPassword: "),
        ("BGPConfiguration", {"communities": [{"name": "a", "value": "1:2"}]}, "default", "spec.communities: defined"),
        ("BGPConfiguration", {"communities": [{"name": "a", "value": "1:65536"}], **LISTED}, "default", "spec.communities[0].value: "),
        ("BGPConfiguration", LISTED, "default", "spec.prefixAdvertisements[0].communities[0]: 'a' is neither"),
        ("BGPConfiguration", {"listenPort": 0}, "default", "spec.listenPort: 0 is not in 1..65535"),
        ("BGPConfiguration", {"logSeverityScreen": "Loud"}, "default", "spec.logSeverityScreen: 'Loud' is not one of"),
        ("BGPPeer", {"node": "a", "nodeSelector": "all()"}, "p", "spec: node and nodeSelector"),
        ("BGPPeer", {"peerIP": "10.0.0.1", "peerSelector": "all()"}, "p", "spec: peerIP and peerSelector"),
        ("BGPPeer", {"peerSelector": "all()", "asNumber": 1}, "p", "spec.asNumber: must be empty"),
        ("BGPPeer", {"localWorkloadSelector": "all()"}, "p", "spec.asNumber: required"),
        ("BGPPeer", {"localWorkloadSelector": "all()", "asNumber": 1, "peerIP": "10.0.0.1"}, "p", "spec.peerIP: must be empty"),
        ("BGPPeer", {"reachableBy": "10.0.0.1"}, "p", "spec.reachableBy: must be empty"),
        ("BGPPeer", {"peerIP": "fd00::1", "reachableBy": "10.0.0.1"}, "p", "spec.reachableBy: 10.0.0.1 and peerIP"),
        ("BGPPeer", {"keepOriginalNextHop": True, "nextHopMode": "Auto"}, "p", "spec.keepOriginalNextHop: "),
        ("BGPPeer", {"password": {"secretKeyRef": {"name": "s"}}}, "p", "spec.password.secretKeyRef.key: required"),
        ("BGPPeer", {"peerIP": "10.0.0.1:65536"}, "p", "spec.peerIP: '10.0.0.1:65536': port '65536' is not in"),
        ("BGPPeer", {"peerIP": "10.0.0.1:"}, "p", "spec.peerIP: '10.0.0.1:' has no port"),
        ("BGPPeer", {"peerIP": "[fd00::1"}, "p", "spec.peerIP: "),
        ("BGPPeer", {"keepaliveTime": "-1s"}, "p", "spec.keepaliveTime: '-1s' is negative"),
        ("BGPPeer", {"nodeSelector": "a == '" + "x" * 1020 + "'"}, "p", "spec.nodeSelector: 1027 characters, at most 1024"),
        ("BGPFilter", {"importV4": [{**RULE, "cidr": "10.0.0.0/8"}]}, "f", "spec.importV4[0]: cidr and matchOperator"),
        ("BGPFilter", {"exportV6": [{**RULE, "prefixLength": {"min": 1}}]}, "f", "spec.exportV6[0].prefixLength: needs"),
        ("BGPFilter", {"importV4": [{**RULE, "cidr": "fd00::/8", "matchOperator": "In"}]}, "f", "spec.importV4[0].cidr: 'fd00::/8' is not IPv4"),
        ("BGPFilter", {"importV4": [{"action": "Reject", "operations": [{"setPriority": {"value": 1}}]}]}, "f", "spec.importV4[0].operations: may only"),
        ("BGPFilter", {"importV4": [{**RULE, "operations": [{}]}]}, "f", "spec.importV4[0].operations[0]: must have exactly one"),
        ("BGPFilter", {"importV4": [{**RULE, "communities": {"values": ["1:2", "1:3"]}}]}, "f", "spec.importV4[0].communities.values: 2 entries where 1"),
        ("BGPFilter", {"importV4": [{**RULE, "operations": []}]}, "f", "spec.importV4[0].operations: 0 entries where 1 to 10"),
        ("BGPFilter", {"importV4": [{**RULE, "operations": 11 * [{"setPriority": {"value": 1}}]}]}, "f", "spec.importV4[0].operations: 11 entries"),
        ("BGPFilter", {"importV4": [{**RULE, "operations": [{"prependASPath": {"prefix": []}}]}]}, "f", "spec.importV4[0].operations[0].prependASPath.prefix: 0"),
        ("BGPFilter", {"importV4": [{**RULE, "operations": [{"addCommunity": {"value": "01:2"}}]}]}, "f", "spec.importV4[0].operations[0].addCommunity.value: '01:2' has a part with leading zeros"),
        ("BGPFilter", {"importV4": [{**RULE, "interface": "an-interface-of-20"}]}, "f", "spec.importV4[0].interface: "),
        ("BGPFilter", {"importV4": [{**RULE, "priority": 2147483647}]}, "f", "spec.importV4[0].priority: 2147483647 is not in"),
        ("FelixConfiguration", {"nodeSelector": "has(a)"}, "node.n", "spec.nodeSelector: must not be set on node.n"),
        ("FelixConfiguration", {"ipipEnabld": True}, "default", "spec.ipipEnabld: unknown field; did you mean ipipEnabled?"),
        ("FelixConfiguration", {"programClusterRoutes": "Yes"}, "default", "spec.programClusterRoutes: expected one of"),
        ("Router", {**ROUTER, "addresses": []}, "r", "spec.addresses: 0 entries where 1 to 2"),
        ("Router", {**ROUTER, "addresses": ["10.0.0.1/24", "10.1.0.1/24"]}, "r", "spec.addresses[1]: a second IPv4 address"),
        ("Router", {**ROUTER, "addresses": ["10.0.0.1"]}, "r", "spec.addresses[0]: '10.0.0.1' has no prefix length"),
        ("Router", {"addresses": ["10.0.0.1/24"]}, "r", "spec.asNumber: required"),
        ("Router", {**ROUTER, "announce": ["fd00::/64"]}, "r", "spec.announce[0]: fd00::/64 is of a family"),
        ("Router", {**ROUTER, "announce": ["10.0.0.1/8"]}, "r", "spec.announce[0]: '10.0.0.1/8' has host bits"),
        ("Router", {**ROUTER, "neighbors": [{}]}, "r", "spec.neighbors[0]: must have exactly one"),
        ("Router", {**ROUTER, "neighbors": [{"peerIP": "10.0.0.2", "nodeSelector": "all()"}]}, "r", "spec.neighbors[0]: must have exactly one"),
        ("Router", {**ROUTER, "neighbors": [{"peerIP": "fd00::1"}]}, "r", "spec.neighbors[0].peerIP: of a family"),
        ("Router", {**ROUTER, "neighbors": [{"nodeSelector": "all()", "routeReflectorClient": True}]}, "r", "spec.neighbors[0].routeReflectorClient: needs"),
        ("Router", {**ROUTER, "neighbors": [{"nodeSelector": "all()", "password": {}}]}, "r", "spec.neighbors[0].password: needs"),
        ("Service", {"clusterIP": "10.96.0.1", "clusterIPs": ["10.96.0.2"]}, "s", "spec.clusterIPs[0]: must be the same"),
        ("Service", {"clusterIP": "10.96.0.1", "ipFamilies": ["IPv6"]}, "s", "spec.ipFamilies[0]: IPv6, but"),
        ("Service", {"clusterIP": "none"}, "s", "spec.clusterIP: 'none' is not an IP address"),
        ("Service", {"externalIPs": ["1.1.1.1/32"]}, "s", "spec.externalIPs[0]: '1.1.1.1/32' is not an IP address"),
        ("Service", {"externalIps": ["1.1.1.1"]}, "s", "spec.externalIps: unknown field; did you mean externalIPs?"),
        ("Service", {"externalTrafficPolicy": "local"}, "s", "spec.externalTrafficPolicy: expected one of Cluster, Local"),
        ("WorkloadEndpoint", ENDPOINT, "e", "metadata.name: must be n-k8s-p-eth0"),
        ("WorkloadEndpoint", {**ENDPOINT, "ipNetworks": ["10.0.0.0/31"]}, "n-k8s-p-eth0", "spec.ipNetworks[0]: "),
        ("WorkloadEndpoint", {**ENDPOINT, "node": ""}, "-k8s-p-eth0", "metadata.name: "),
        ("WorkloadEndpoint", {**ENDPOINT, "ipNATs": [{"internalIP": "10.0.0.2", "externalIP": "1.1.1.1"}]}, "n-k8s-p-eth0", "spec.ipNATs[0].internalIP: "),
    ],
)  # fmt: skip
def test_one_fault(kind: str, spec: dict[str, Any], name: str, found: str) -> None:
    (fault,) = faults(kind, spec, name)
    assert fault.startswith(found)


@pytest.mark.parametrize(
    ("kind", "spec", "name"),
    [
        ("Node", {}, "n"),
        ("Node", {"bgp": {"ipv4Address": "10.0.0.1/16", "asNumber": None}}, "n.example.com"),
        ("IPPool", POOL, "p"),
        ("IPPool", BALANCER, "p"),
        ("IPPool", {**POOL, "namespaceSelector": "all()"}, "p"),
        ("IPPool", {**POOL, "namespaceSelector": "all()", "allowedUses": ["Workload"]}, "p"),
        ("IPPool", {"cidr": "10.0.0.0/26", "blockSize": 0}, "p"),
        ("IPReservation", {"reservedCIDRs": ["10.0.0.1", "10.0.0.0/30", "fd00::/64"]}, "r"),
        ("IPAMConfiguration", {"strictAffinity": True, "autoAllocateBlocks": False, "maxBlocksPerHost": 4}, "default"),
        ("BlockAffinity", {"node": "n", "cidr": "10.0.0.0/26", "state": "confirmed"}, "n-10-0-0-0-26"),
        ("IPAMBlock", {**BLOCK, "affinity": "host:n", "sequenceNumber": 1 << 63}, "10-0-0-0-31"),
        ("IPAMHandle", {"handleID": "k8s-pod-network.AB", "block": {"10.0.0.0/26": 1}}, "k8s-pod-network.ab"),
        ("BGPConfiguration", {"communities": [{"name": "a", "value": "1:2"}], **LISTED}, "default"),
        ("BGPConfiguration", {"logSeverityScreen": "debug", "listenPort": 179}, "node.n"),
        ("BGPPeer", {}, "p"),
        ("BGPPeer", {"peerIP": "[fd00::1]", "reachableBy": "fd00::2", "asNumber": "1.10", "keepaliveTime": "1m30s"}, "p"),
        ("BGPPeer", {"localWorkloadSelector": "all()", "asNumber": 1}, "p"),
        ("BGPFilter", {"exportV4": [{**RULE, "operations": [{"prependASPath": {"prefix": [1, "1.1"]}}]}]}, "f"),
        ("BGPFilter", {"exportV6": [{**RULE, "cidr": "fd00::/8", "matchOperator": "In", "prefixLength": {"max": 128}}]}, "f"),
        ("FelixConfiguration", {"bpfEnabled": False, "vxlanVNI": 4096, "failsafeInboundHostPorts": [{"port": 22}]}, "default"),
        ("FelixConfiguration", {"nodeSelector": "has(a)", "ipv4NormalRoutePriority": 1024}, "racks"),
        ("Router", ROUTER, "r"),
        ("Router", {**ROUTER, "addresses": ["10.0.0.1/24", "fd00::1/64"], "neighbors": [{"peerIP": "fd00::2"}], "announce": ["::/0"]}, "r"),
        ("Service", {"clusterIP": "None", "sessionAffinity": "None", "ports": [{"port": 80, "targetPort": "http", "x": 1}]}, "s"),
        ("Service", {"clusterIPs": ["10.96.0.1", "fd00::1"], "ipFamilies": ["IPv4", "IPv6"], "type": "LoadBalancer"}, "s"),
        ("WorkloadEndpoint", ENDPOINT, "n-k8s-p-eth0"),
        ("WorkloadEndpoint", {**ENDPOINT, "orchestrator": "cni", "containerID": "c-1"}, "n-cni-c--1-eth0"),
    ],
)  # fmt: skip
def test_no_fault(kind: str, spec: dict[str, Any], name: str) -> None:
    assert faults(kind, spec, name) == []


def test_endpoint_slices_and_secrets() -> None:
    head = {"metadata": {"name": "x", "namespace": "y"}}
    slice_ = {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4", **head}
    good = {"addresses": ["10.0.0.1"], "conditions": {"ready": True}, "zone": "z", "hints": {"forZones": []}}
    assert faults_of({**slice_, "endpoints": [good], "ports": None}) == []
    (fault,) = faults_of({**slice_, "endpoints": [good, {"addresses": ["fd00::1"]}]})
    assert fault == "endpoints[1].addresses[0]: 'fd00::1' is not IPv4"
    assert faults_of({**slice_, "addressType": "FQDN", "endpoints": [{"addresses": ["a.example.com"]}]}) == []
    secret = {"apiVersion": "v1", "kind": "Secret", "type": "Opaque", "immutable": True, **head}
    assert faults_of({**secret, "data": {"a": "c2VjcmV0"}, "stringData": {"b": "plain"}}) == []
    (fault,) = faults_of({**secret, "data": {"a": "hunter2!"}})
    assert fault == "data.a: not base64; the key stringData takes plain text"
    assert "hunter" not in fault


def test_a_secret_has_texts() -> None:
    metadata = Metadata("s", "calico-system")
    secret = Secret(metadata, data={"a": "c2VjcmV0", "b": "b2xk"}, string_data={"b": "new"})
    assert [secret.value(key) for key in "abc"] == ["secret", "new", None]
    assert "c2VjcmV0" not in repr(secret)
    assert "new" not in repr(secret)


def test_what_a_service_leaves_out_is_concluded() -> None:
    spec = ServiceSpec(cluster_ip="fd00::1")
    assert (spec.cluster_ips, spec.ip_families) == (("fd00::1",), ("IPv6",))
    assert ServiceSpec(cluster_ips=("10.0.0.1", "fd00::1")).cluster_ip == "10.0.0.1"
    assert ServiceSpec(cluster_ip="None").ip_families == ()


def test_metadata() -> None:
    assert faults("Node", {}, "") == ["metadata.name: required, but missing"]
    assert faults("Node", {}, "a" * 254)[0].startswith("metadata.name: 'aaa")
    assert faults("Node", {}, "n", labels={"a/b/c": "x"})[0].startswith('metadata.labels["a/b/c"]: ')
    assert faults("Node", {}, "n", labels={"a": "-x"})[0].startswith(
        "metadata.labels.a: '-x' is not a valid label value"
    )
    assert faults("Node", {}, "n", annotations={"a": "x" * (256 * 1024 - 1)}) == []
    assert faults("Node", {}, "n", annotations={"a": "x" * (256 * 1024)}) == [
        "metadata.annotations: more than 256 KiB"
    ]


@pytest.mark.parametrize("value", [1, 1.5, True, ["x"], {"x": "y"}])
def test_nothing_but_text_is_text(value: object) -> None:
    (fault,) = faults("BGPPeer", {"node": value}, "p")
    assert fault.startswith("spec.node: expected text, found ")


@pytest.mark.parametrize("value", [1.0, "1", True, [1]])
def test_nothing_but_an_integer_is_an_integer(value: object) -> None:
    (fault,) = faults("BGPConfiguration", {"listenPort": value})
    assert fault.startswith("spec.listenPort: expected an integer, found ")


@pytest.mark.parametrize("value", [0, 1, "true", ["x"]])
def test_nothing_but_a_boolean_is_a_boolean(value: object) -> None:
    (fault,) = faults("IPPool", {**POOL, "disabled": value}, "p")
    assert fault.startswith("spec.disabled: expected true or false, found ")


def test_paths() -> None:
    assert format_path(("spec", "peers", 2, "peerIP")) == "spec.peers[2].peerIP"
    assert format_path(("metadata", "labels", "a.b/c")) == 'metadata.labels["a.b/c"]'
    assert format_path(()) == ""


# -- resources together -----------------------------------------------------------------------------------------------

networks = st.builds(
    lambda address, length: ipaddress.ip_network((address & (0xFFFFFFFF << 32 - length), length)),
    st.integers(0x0A000000, 0x0A0000FF),
    st.integers(22, 30),
)


@given(st.lists(networks, max_size=8))
def test_pools_conflict_when_they_overlap(cidrs: list[ipaddress.IPv4Network]) -> None:
    pools = [
        IPPool(Metadata(block_name(f"{i}.{cidr}")), IPPoolSpec(cidr=str(cidr)))
        for i, cidr in enumerate(cidrs)
    ]
    found = [conflict.index for conflict in conflicts(pools, str)]
    kept: list[ipaddress.IPv4Network] = []
    expected = []
    for index, cidr in enumerate(cidrs):
        if any(cidr.overlaps(other) for other in kept):
            expected.append(index)
        else:
            kept.append(cidr)
    assert found == expected


def test_nodes_and_routers_share_names_and_addresses() -> None:
    def host(kind: type[Node] | type[Router], name: str, address: str) -> Resource:
        if kind is Node:
            return Node(Metadata(name), NodeSpec(bgp=NodeBGPSpec(ipv4_address=address)))
        return Router(Metadata(name), RouterSpec(addresses=(address,), as_number=1))

    hosts = [
        host(Node, "a", "10.0.0.1/24"),
        host(Router, "a", "10.0.0.2/24"),
        host(Router, "b", "10.0.0.1/16"),
    ]
    found = [(each.index, str(each.message)) for each in conflicts(hosts, lambda i: f"at #{i}")]
    assert found == [
        (1, "the name of a Node; the first is at #0"),
        (2, "10.0.0.1 is the address of node a at #0"),
    ]


def test_conflicts_of_generated_nodes() -> None:
    def node(name: str, address: str, address6: str = "") -> Node:
        return Node(Metadata(name), NodeSpec(bgp=NodeBGPSpec(ipv4_address=address, ipv6_address=address6)))

    nodes: list[Resource | Key] = [
        node("a", "10.0.0.1/16", "fd00::1"),
        node("b", "10.0.0.2", "fd00:0::1/64"),
        ("Node", "", "c"),
        node("c", "10.0.0.1"),
        node("d", ""),
        node("e", ""),
        Node(Metadata("f")),
    ]
    found = [
        (conflict.index, conflict.path[-1], conflict.message)
        for conflict in conflicts(nodes, lambda i: f"at #{i}")
    ]
    assert found == [
        (1, "ipv6Address", "fd00::1 is the address of node a at #0"),
        (3, "name", "a second Node of this name; the first is at #2"),
        (3, "ipv4Address", "10.0.0.1 is the address of node a at #0"),
    ]
