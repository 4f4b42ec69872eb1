from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.v3.codec import KINDS, decode, encode
from protocol.v3.core import Service
from protocol.v3.fields import json_names
from protocol.v3.ipam import IPAMBlock, IPAMBlockSpec, IPAMConfiguration
from protocol.v3.ippool import IPPool, IPPoolSpec
from protocol.v3.metadata import Metadata, Resource
from protocol.v3.node import Node, NodeBGPSpec, NodeSpec
from tests.strategies import v3 as strategies

every_kind = pytest.mark.parametrize("kind", list(KINDS))


@every_kind
@given(data=st.data())
@settings(max_examples=40)  # of each of seventeen kinds
def test_documents_and_resources(kind: str, data: st.DataObject) -> None:
    resource = data.draw(strategies.resources[kind])
    doc = encode(resource)
    assert json.loads(json.dumps(doc)) == doc, "plain JSON: a tuple would come back as a list"
    assert decode(doc) == resource
    doc["metadata"].setdefault("labels", {})["a"] = "changed"
    assert decode(encode(resource)) == resource, "a document shares nothing with its resource"


@every_kind
def test_the_kinds_say_what_they_are(kind: str) -> None:
    info = KINDS[kind]
    cls = info.cls
    assert (info.kind, info.api_version, info.plural) == (cls.kind, cls.api_version, cls.plural)
    assert info.namespaced == cls.namespaced
    assert info.plural.startswith(kind.lower()[:-1])
    assert "metadata" in json_names(cls)


def test_what_is_in_a_namespace() -> None:
    namespaced = [kind for kind, info in KINDS.items() if info.namespaced]
    assert namespaced == ["EndpointSlice", "Secret", "Service", "WorkloadEndpoint"]


def test_every_kind_says_its_own_api_version() -> None:
    versions = {
        kind: info.api_version for kind, info in KINDS.items() if info.api_version != "projectcalico.org/v3"
    }
    assert versions == {
        "EndpointSlice": "discovery.k8s.io/v1",
        "Namespace": "v1",
        "Router": "lab.tortie/v1",
        "Secret": "v1",
        "Service": "v1",
    }
    service = Service(Metadata("web", "default"))
    assert encode(service)["apiVersion"] == "v1"


def test_empty_fields_are_left_out_and_telling_defaults_written() -> None:
    assert encode(IPPool(Metadata("p"), IPPoolSpec(cidr="10.0.0.0/8"))) == {
        "apiVersion": "projectcalico.org/v3",
        "kind": "IPPool",
        "metadata": {"name": "p"},
        "spec": {
            "cidr": "10.0.0.0/8",
            "blockSize": 26,
            "ipipMode": "Never",
            "vxlanMode": "Never",
            "nodeSelector": "all()",
            "allowedUses": ["Workload", "Tunnel"],
            "assignmentMode": "Automatic",
        },
    }
    assert encode(Node(Metadata("n")))["spec"] == {}


def test_what_the_crd_requires_is_written_even_when_empty() -> None:
    block = IPAMBlock(Metadata("b"), IPAMBlockSpec(cidr="10.0.0.0/32", allocations=(None,), unallocated=()))
    spec = encode(block)["spec"]
    assert (spec["allocations"], spec["unallocated"], spec["attributes"]) == ([None], [], [])
    assert spec["strictAffinity"] is False
    assert encode(IPAMConfiguration(Metadata("default")))["spec"] == {
        "strictAffinity": False,
        "autoAllocateBlocks": True,
    }


def test_decode_fills_the_defaults() -> None:
    pool = decode({"kind": "IPPool", "metadata": {"name": "p"}, "spec": {"cidr": "fd00::/64"}})
    assert pool == IPPool(Metadata("p"), IPPoolSpec(cidr="fd00::/64", block_size=122, node_selector="all()"))


def test_decode_ignores_what_it_does_not_know() -> None:
    doc = {
        "kind": "Node",
        "metadata": {"name": "n", "new": 1},
        "spec": {"bgp": {"asNumber": 1, "new": 2}},
        "new": 3,
    }
    assert decode(doc) == Node(Metadata("n"), NodeSpec(bgp=NodeBGPSpec(as_number=1)))


def test_decode_takes_the_tuples_of_the_wire() -> None:
    spec = {
        "cidr": "10.0.0.0/31",
        "allocations": (0, None),
        "unallocated": (1,),
        "attributes": ({"handle_id": "h"},),
    }
    block = decode({"kind": "IPAMBlock", "metadata": {"name": "b"}, "spec": spec})
    assert isinstance(block, IPAMBlock)
    assert block.spec.allocations == (0, None)
    assert block.spec.attributes[0].handle_id == "h"


def test_decode_of_a_stranger() -> None:
    with pytest.raises(ValueError, match="unknown kind 'Pod'"):
        decode({"kind": "Pod", "metadata": {"name": "p"}})


def test_the_key() -> None:
    node: Resource = Node(Metadata("n"))
    assert node.key == ("Node", "", "n")


# The names as Calico's documents have them; a wrong acronym would silently lose the field of every manifest.
JSON_NAMES = """
AddCommunity value
AllocationAttribute handle_id secondary alternateOwnerAttrs releasedAt
BGPConfigurationSpec logSeverityScreen nodeToNodeMeshEnabled asNumber serviceLoadBalancerIPs serviceExternalIPs
 serviceClusterIPs serviceLoadBalancerAggregation communities prefixAdvertisements listenPort nodeMeshPassword
 nodeMeshMaxRestartTime bindMode ignoredInterfaces localWorkloadPeeringIPV4 localWorkloadPeeringIPV6
 programClusterRoutes ipv4NormalRoutePriority ipv6NormalRoutePriority
BGPFilterSpec exportV4 importV4 exportV6 importV6
BGPPassword secretKeyRef
BGPPeerSpec node nodeSelector peerIP asNumber localASNumber peerSelector keepOriginalNextHop nextHopMode password
 sourceAddress maxRestartTime keepaliveTime numAllowedLocalASNumbers ttlSecurity reachableBy filters
 localWorkloadSelector reversePeering
BlockAffinitySpec state node type cidr deleted
FilterOperation addCommunity prependASPath setPriority
FilterRuleV4 action matchOperator source interface peerType communities asPathPrefix priority operations cidr prefixLength
IPAMBlockSpec cidr affinity affinityClaimTime allocations unallocated attributes sequenceNumber
 sequenceNumberForAllocation deleted strictAffinity
IPAMConfigurationSpec strictAffinity autoAllocateBlocks maxBlocksPerHost kubeVirtVMAddressPersistence ipCooldownSeconds
IPAMHandleSpec handleID block deleted
IPNAT internalIP externalIP
IPPoolSpec cidr blockSize ipipMode vxlanMode natOutgoing disabled disableBGPExport nodeSelector namespaceSelector
 allowedUses assignmentMode
IPReservationSpec reservedCIDRs
NodeBGPSpec asNumber ipv4Address ipv6Address ipv4IPIPTunnelAddr routeReflectorClusterID
NodeSpec bgp ipv4VXLANTunnelAddr vxlanTunnelMACAddr ipv6VXLANTunnelAddr vxlanTunnelMACAddrV6 orchRefs wireguard
 addresses interfaces
NodeStatus wireguardPublicKey wireguardPublicKeyV6 podCIDRs
NodeWireguardSpec interfaceIPv4Address interfaceIPv6Address
OrchRef nodeName orchestrator
PrefixAdvertisement cidr communities
EndpointConditions ready serving terminating
EndpointSlice metadata addressType endpoints ports
FelixConfigurationSpec nodeSelector ipv6Support ipipEnabled ipipMTU vxlanEnabled vxlanMTU vxlanMTUV6 vxlanPort vxlanVNI
 wireguardEnabled wireguardEnabledV6 programClusterRoutes deviceRouteProtocol deviceRouteSourceAddress
 deviceRouteSourceAddressIPv6 externalNodesList ipv4NormalRoutePriority ipv4ElevatedRoutePriority
 ipv6NormalRoutePriority ipv6ElevatedRoutePriority
RouterNeighbor peerIP nodeSelector routerSelector asNumber routeReflectorClient nextHopSelf passive port password
RouterSpec addresses asNumber announce neighbors listenPort addPath routeReflectorClusterID
Secret metadata type data stringData
ServicePort name protocol port targetPort nodePort
ServiceSpec type clusterIP clusterIPs externalIPs loadBalancerIP externalTrafficPolicy internalTrafficPolicy ipFamilies
 ipFamilyPolicy ports selector
WorkloadEndpointPort name protocol port hostPort hostIP
WorkloadEndpointSpec orchestrator workload node containerID pod endpoint serviceAccountName ipNetworks ipNATs
 ipv4Gateway ipv6Gateway profiles interfaceName mac ports allowSpoofedSourcePrefixes qosControls
"""


def test_the_json_names() -> None:
    expected = {}
    for line in JSON_NAMES.replace("\n ", " ").strip().splitlines():
        name, *fields = line.split()
        expected[name] = fields
    found = {
        cls.__name__: list(json_names(cls).values()) for info in KINDS.values() for cls in _classes(info.cls)
    }
    assert {name: found[name] for name in expected} == expected


def _classes(type_: Any) -> Iterator[type]:
    if attrs.has(type_):
        yield type_
        for field in attrs.fields(attrs.resolve_types(type_)):
            yield from _classes(field.type)
    for arg in getattr(type_, "__args__", ()):
        yield from _classes(arg)
