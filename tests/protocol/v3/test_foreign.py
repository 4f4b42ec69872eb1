"""Documents of kind, of Tigera's operator and of Kubernetes, and the field that Calico does not have."""

from __future__ import annotations

import pytest

from protocol.v3.bgp import BGPConfiguration, BGPFilter, FilterRuleV4, FilterRuleV6
from protocol.v3.ippool import IPPool
from protocol.v3.loader import Loaded, ManifestError, parse
from protocol.v3.node import Node, NodeAddress


def loaded(*documents: str) -> Loaded:
    return parse("\n---\n".join(documents), "m.yaml")


def nodes(result: Loaded) -> dict[str, Node]:
    return {one.metadata.name: one for one in result.resources if isinstance(one, Node)}


def pools(result: Loaded) -> dict[str, IPPool]:
    return {one.metadata.name: one for one in result.resources if isinstance(one, IPPool)}


def report(*documents: str) -> list[str]:
    with pytest.raises(ManifestError) as caught:
        loaded(*documents)
    return [str(problem) for problem in caught.value.problems]


# -- kind -------------------------------------------------------------------------------------------------------------

CLUSTER = """\
kind: Cluster
apiVersion: kind.x-k8s.io/v1alpha4
nodes:
- role: control-plane
- role: worker
  labels: {rack: a}
- role: worker
  image: kindest/node:v1.33.0
networking:
  disableDefaultCNI: true
  podSubnet: 192.167.0.0/16
"""


def test_a_cluster_of_kind_has_its_nodes_and_a_pool() -> None:
    result = loaded(CLUSTER)
    addresses = {name: node.spec.bgp and node.spec.bgp.ipv4_address for name, node in nodes(result).items()}
    assert addresses == {
        "kind-control-plane": "172.18.0.2/16",
        "kind-worker": "172.18.0.3/16",
        "kind-worker2": "172.18.0.4/16",
    }
    labels = {name: node.metadata.labels for name, node in nodes(result).items()}
    assert "node-role.kubernetes.io/control-plane" in labels["kind-control-plane"]
    assert "node-role.kubernetes.io/control-plane" not in labels["kind-worker"]
    assert labels["kind-worker"]["kubernetes.io/hostname"] == "kind-worker"
    assert labels["kind-worker"]["rack"] == "a"
    (pool,) = pools(result).values()
    assert (pool.metadata.name, pool.spec.cidr) == ("default-ipv4-ippool", "192.167.0.0/16")
    assert (pool.spec.ipip_mode, pool.spec.nat_outgoing, pool.spec.block_size) == ("Always", True, 26)
    assert [place.line for place in result.places] == [4, 5, 7, 11]


def test_a_cluster_of_kind_by_name_and_with_two_families() -> None:
    result = loaded(
        "{kind: Cluster, apiVersion: kind.x-k8s.io/v1alpha4, name: lab, networking: {ipFamily: dual}}"
    )
    (node,) = nodes(result).values()
    assert node.metadata.name == "lab-control-plane"
    assert node.spec.bgp is not None
    assert (node.spec.bgp.ipv4_address, node.spec.bgp.ipv6_address) == (
        "172.18.0.2/16",
        "fc00:f853:ccd:e793::2/64",
    )
    found = pools(result)
    assert {name: pool.spec.cidr for name, pool in found.items()} == {
        "default-ipv4-ippool": "10.244.0.0/16",
        "default-ipv6-ippool": "fd00:10:244::/56",
    }
    assert found["default-ipv6-ippool"].spec.ipip_mode == "Never"
    assert not found["default-ipv6-ippool"].spec.nat_outgoing
    (only_v6,) = nodes(
        loaded("{kind: Cluster, apiVersion: kind.x-k8s.io/v1alpha4, networking: {ipFamily: ipv6}}")
    ).values()
    assert only_v6.spec.bgp is not None
    assert not only_v6.spec.bgp.ipv4_address


def test_a_cluster_of_kind_gone_wrong() -> None:
    text = """\
kind: Cluster
apiVersion: kind.x-k8s.io/v1alpha4
nodes:
- role: master
- rol: worker
networking:
  podSubnet: 192.167.0.0
"""
    assert report(text) == [
        "m.yaml:4: Cluster: nodes[0].role: expected one of control-plane, worker; found the text 'master'",
        "m.yaml:5: Cluster: nodes[1].rol: unknown field; did you mean role?",
    ]
    assert report(text.replace("master", "worker").replace("rol:", "role:")) == [
        "m.yaml:7: Cluster: networking.podSubnet: '192.167.0.0' is not a CIDR"
    ]


# -- the operator -----------------------------------------------------------------------------------------------------

INSTALLATION = """\
apiVersion: operator.tigera.io/v1
kind: Installation
metadata:
  name: default
spec:
  registry: example.com/
  calicoNetwork:
    nodeAddressAutodetectionV4: {firstFound: true}
    ipPools:
    - name: default-ipv4-ippool
      blockSize: 26
      cidr: 192.168.0.0/16
      encapsulation: VXLANCrossSubnet
      natOutgoing: Enabled
      nodeSelector: all()
"""


def installation(*pools: str) -> str:
    listed = "".join(f"    - {{{pool}}}\n" for pool in pools)
    return INSTALLATION[: INSTALLATION.index("    - name:")] + listed


def test_the_operators_pools() -> None:
    result = loaded(INSTALLATION)
    (pool,) = pools(result).values()
    assert pool.metadata.name == "default-ipv4-ippool"
    assert (pool.spec.cidr, pool.spec.ipip_mode, pool.spec.vxlan_mode) == (
        "192.168.0.0/16",
        "Never",
        "CrossSubnet",
    )
    assert pool.spec.nat_outgoing
    assert [place.line for place in result.places] == [10]


@pytest.mark.parametrize(
    ("encapsulation", "ipip", "vxlan"),
    [
        ("IPIP", "Always", "Never"),
        ("IPIPCrossSubnet", "CrossSubnet", "Never"),
        ("VXLAN", "Never", "Always"),
        ("VXLANCrossSubnet", "Never", "CrossSubnet"),
        ("None", "Never", "Never"),
    ],
)
def test_encapsulations(encapsulation: str, ipip: str, vxlan: str) -> None:
    text = installation(f"cidr: 10.0.0.0/16, encapsulation: {encapsulation}, natOutgoing: Disabled")
    (pool,) = pools(loaded(text)).values()
    assert (pool.spec.ipip_mode, pool.spec.vxlan_mode, pool.spec.nat_outgoing) == (ipip, vxlan, False)


def test_what_an_operators_pool_does_not_say() -> None:
    result = pools(loaded(installation("cidr: 10.0.0.0/16", 'cidr: "fd00::/48"')))
    v4, v6 = result["default-ipv4-ippool"].spec, result["default-ipv6-ippool"].spec
    assert (v4.ipip_mode, v4.nat_outgoing, v4.block_size, v4.node_selector) == ("Always", True, 26, "all()")
    assert (v6.ipip_mode, v6.nat_outgoing, v6.block_size, v6.disabled) == ("Never", False, 122, False)
    several = loaded(
        installation("cidr: 10.0.0.0/16, disableBGPExport: true", "cidr: 10.1.0.0/16", 'cidr: "fd00::/48"')
    )
    assert list(pools(several)) == [
        "10.0.0.0-16",
        "10.1.0.0-16",
        "fd00.0000.0000.0000.0000.0000.0000.0000-48",
    ]
    assert pools(several)["10.0.0.0-16"].spec.disable_bgp_export


def test_an_operators_pool_gone_wrong() -> None:
    text = installation(
        'cidr: "fd00::/48", encapsulation: IPIP', "cidr: 10.0.0.0/16, blockSize: 8", "natOutgoin: Enabled"
    )
    assert report(text) == [
        "m.yaml:12: Installation/default: spec.calicoNetwork.ipPools[2].cidr: required, but missing",
        "m.yaml:12: Installation/default: spec.calicoNetwork.ipPools[2].natOutgoin: unknown field; "
        "did you mean natOutgoing?",
    ]
    assert report(text.replace("    - {natOutgoin: Enabled}\n", "")) == [
        "m.yaml:10: Installation/default: spec.calicoNetwork.ipPools[0].encapsulation: IPIP is not supported on IPv6 pools",
        "m.yaml:11: Installation/default: spec.calicoNetwork.ipPools[1].blockSize: 8 is not in 20..32, "
        "as IPv4 pools must have it",
    ]


def test_the_operators_other_kinds_make_nothing() -> None:
    text = "{apiVersion: operator.tigera.io/v1, kind: %s, metadata: {name: default}, spec: {}}"
    assert loaded(*(text % kind for kind in ("APIServer", "Goldmane", "Whisker"))) == Loaded()


def test_no_bgp_is_not_what_happens_here() -> None:
    text = INSTALLATION.replace("    ipPools:", "    bgp: Disabled\n    ipPools:")
    (warning,) = loaded(text).warnings
    assert str(warning).startswith(
        "m.yaml:9: Installation/default: spec.calicoNetwork.bgp: the operator would run no BGP at all; "
    )


# -- who wins ---------------------------------------------------------------------------------------------------------

POOL = "{apiVersion: projectcalico.org/v3, kind: IPPool, metadata: {name: %s}, spec: {cidr: %s}}"


def test_pools_that_are_written_take_the_place_of_concluded_ones() -> None:
    empty = "{apiVersion: operator.tigera.io/v1, kind: Installation, metadata: {name: default}}"
    operators = installation("cidr: 192.167.0.0/17, name: mine")
    kinds = ("default-ipv4-ippool", "192.167.0.0/16")
    for documents, expected in [
        ([empty], [("default-ipv4-ippool", "192.168.0.0/16")]),
        ([empty, CLUSTER], [kinds]),
        ([CLUSTER, empty], [kinds]),
        ([CLUSTER, operators], [("mine", "192.167.0.0/17")]),
        ([operators, CLUSTER], [("mine", "192.167.0.0/17")]),
        ([CLUSTER, installation("cidr: 10.9.0.0/16, name: far")], [("far", "10.9.0.0/16")]),
        ([CLUSTER, POOL % ("other", "10.0.0.0/16")], [kinds, ("other", "10.0.0.0/16")]),
        ([CLUSTER, POOL % ("inside", "192.167.64.0/18")], [("inside", "192.167.64.0/18")]),
        ([CLUSTER, POOL % ("default-ipv4-ippool", "10.0.0.0/16")], [("default-ipv4-ippool", "10.0.0.0/16")]),
        ([empty, POOL % ("other", "10.0.0.0/16")], [("other", "10.0.0.0/16")]),
        ([operators, POOL % ("mine", "10.0.0.0/16")], [("mine", "10.0.0.0/16")]),
    ]:
        found = [(name, pool.spec.cidr) for name, pool in pools(loaded(*documents)).items()]
        assert found == expected, documents


def test_a_pool_that_the_operator_would_refuse() -> None:
    (warning,) = loaded(CLUSTER, installation("cidr: 192.168.0.0/16")).warnings
    assert str(warning).startswith(
        "m.yaml:23: Installation/default: spec.calicoNetwork.ipPools[0]: 192.168.0.0/16 is not within the cluster's podSubnet"
    )
    assert loaded(CLUSTER, installation("cidr: 192.160.0.0/12")).warnings, "larger than the subnet"
    assert not loaded(CLUSTER, installation("cidr: 192.167.0.0/16")).warnings


CORE_NODE = """\
apiVersion: v1
kind: Node
metadata:
  name: kind-worker
  uid: 12-34
  labels: {rack: b, zone: z}
  annotations:
    projectcalico.org/IPv4Address: 172.18.0.9/16
    projectcalico.org/ASNumber: 64600
    projectcalico.org/RouteReflectorClusterID: 244.0.0.1
    projectcalico.org/IPv4IPIPTunnelAddr: 192.168.3.1
    projectcalico.org/IPv4VXLANTunnelAddr: 192.168.3.2
    node.alpha.kubernetes.io/ttl: "0"
spec:
  podCIDR: 10.244.1.0/24
  podCIDRs: [10.244.1.0/24]
  taints: [{effect: NoSchedule, key: x}]
status:
  addresses:
  - {address: 172.18.0.3, type: InternalIP}
  - {address: "fc00::3", type: InternalIP}
  - {address: kind-worker, type: Hostname}
  capacity: {cpu: "8"}
"""


def test_a_node_of_kubernetes() -> None:
    (node,) = nodes(loaded(CORE_NODE)).values()
    bgp = node.spec.bgp
    assert bgp is not None
    assert (bgp.ipv4_address, bgp.ipv6_address, bgp.as_number) == ("172.18.0.9/16", "", 64600)
    assert (bgp.route_reflector_cluster_id, bgp.ipv4_ipip_tunnel_addr) == ("244.0.0.1", "192.168.3.1")
    assert node.spec.ipv4_vxlan_tunnel_addr == "192.168.3.2"
    assert node.spec.addresses == (
        NodeAddress(address="172.18.0.3", type="InternalIP"),
        NodeAddress(address="fc00::3", type="InternalIP"),
    )
    assert [(ref.node_name, ref.orchestrator) for ref in node.spec.orch_refs] == [("kind-worker", "k8s")]
    assert node.status is not None
    assert node.status.pod_cidrs == ("10.244.1.0/24",)
    assert node.metadata.labels == {"rack": "b", "zone": "z"}
    assert node.metadata.annotations == {"node.alpha.kubernetes.io/ttl": "0"}


def test_a_node_that_calico_has_not_been_on_has_its_internal_addresses() -> None:
    text = "\n".join(line for line in CORE_NODE.splitlines() if "projectcalico" not in line)
    (node,) = nodes(loaded(text)).values()
    assert node.spec.bgp is not None
    assert (node.spec.bgp.ipv4_address, node.spec.bgp.ipv6_address) == ("172.18.0.3", "fc00::3")
    second = text.replace("type: Hostname", "type: InternalIP").replace(
        "kind-worker, type", "172.18.0.4, type"
    )
    assert nodes(loaded(second))["kind-worker"].spec.bgp == node.spec.bgp, "the first of a family is taken"
    bare = "{apiVersion: v1, kind: Node, metadata: {name: a}}"
    assert nodes(loaded(bare))["a"].spec.bgp is None


def test_a_list_of_nodes_of_kubernetes() -> None:
    text = "{apiVersion: v1, kind: NodeList, items: [{metadata: {name: a}, status: {addresses: [{address: 10.0.0.1, type: InternalIP}]}}]}"
    assert nodes(loaded(text))["a"].spec.bgp is not None


def test_a_node_of_kubernetes_gone_wrong() -> None:
    text = CORE_NODE.replace("64600", "none").replace("172.18.0.9/16", "here").replace("rack: b", "rack: b b")
    assert report(text) == [
        "m.yaml:6: Node/kind-worker: metadata.labels.rack: 'b b' is not a valid label value: letters, digits, '-', '_' and "
        "'.', at most 63"
    ]
    assert report(text.replace("b b", "b")) == [
        "m.yaml:8: Node/kind-worker: metadata.annotations[\"projectcalico.org/IPv4Address\"]: 'here' is neither an IP address "
        "nor one with its prefix length",
        "m.yaml:9: Node/kind-worker: metadata.annotations[\"projectcalico.org/ASNumber\"]: 'none' is not an AS number: an "
        "integer, or x.y",
    ]


CALICO_NODE = """\
apiVersion: projectcalico.org/v3
kind: Node
metadata: {name: kind-worker, labels: {rack: c}}
spec: {bgp: {ipv4Address: 172.18.0.77/16}}
"""


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0), (1, 0, 2), (2, 0, 1), (0, 2, 1)])
def test_calicos_node_wins_and_gets_the_labels_of_the_others(order: tuple[int, ...]) -> None:
    documents = [CALICO_NODE, CORE_NODE, CLUSTER]
    result = loaded(*(documents[index] for index in order))
    node = nodes(result)["kind-worker"]
    assert node.spec.bgp is not None
    assert (node.spec.bgp.ipv4_address, node.spec.bgp.as_number) == ("172.18.0.77/16", None)
    assert node.metadata.labels["rack"] == "c"
    assert node.metadata.labels["zone"] == "z"
    assert node.metadata.labels["kubernetes.io/os"] == "linux"
    assert len(nodes(result)) == 3


def test_two_nodes_of_kubernetes_with_one_name_are_two() -> None:
    (line,) = report(CORE_NODE, CORE_NODE)
    assert "a second Node of this name; the first is at m.yaml:1" in line


def test_an_invalid_node_of_kubernetes_is_no_second_node() -> None:
    (line,) = report(CALICO_NODE, CORE_NODE.replace("rack: b", "rack: b b"))
    assert "metadata.labels.rack" in line


# -- exportFilter -----------------------------------------------------------------------------------------------------

EXPORT_FILTER = """\
apiVersion: projectcalico.org/v3
kind: BGPConfiguration
spec:
  nodeToNodeMeshEnabled: false
  serviceClusterIPs:
    - cidr: 10.96.0.0/16
  exportFilter:
    - action: Deny
      matchExpression: '!has(10.244.0.0/16)'
"""


def test_an_export_filter_is_a_filter_for_every_session() -> None:
    result = loaded(EXPORT_FILTER)
    configuration, filter_ = result.resources
    assert isinstance(configuration, BGPConfiguration)
    assert configuration.metadata.name == "default"
    assert configuration.spec.node_to_node_mesh_enabled is False
    assert isinstance(filter_, BGPFilter)
    assert filter_.metadata.name == "exportfilter-default"
    assert filter_.for_every_session
    assert filter_.spec.export_v4 == (
        FilterRuleV4(action="Reject", match_operator="NotIn", cidr="10.244.0.0/16"),
    )
    assert not filter_.spec.export_v6
    unnamed, named = map(str, result.warnings)
    assert unnamed == (
        "m.yaml:1: BGPConfiguration: metadata: no name: taken as default, which is the whole cluster's"
    )
    assert named.startswith(
        "m.yaml:7: BGPConfiguration: spec.exportFilter: Calico's BGPConfiguration has no such field"
    )
    assert "BGPFilter/exportfilter-default (Reject NotIn 10.244.0.0/16)" in named


def test_rules_of_an_export_filter_keep_their_order() -> None:
    text = """\
apiVersion: projectcalico.org/v3
kind: BGPConfiguration
metadata: {name: default}
spec:
  exportFilter:
  - {action: Allow, matchExpression: has(10.0.0.0/8)}
  - {action: Deny, matchExpression: "! has( fd00::/16 )"}
  - {action: Deny, matchExpression: has(0.0.0.0/0)}
"""
    result = loaded(text)
    filter_ = result.resources[1]
    assert isinstance(filter_, BGPFilter)
    assert [(rule.action, rule.match_operator, rule.cidr) for rule in filter_.spec.export_v4] == [
        ("Accept", "In", "10.0.0.0/8"),
        ("Reject", "In", "0.0.0.0/0"),
    ]
    assert filter_.spec.export_v6 == (
        FilterRuleV6(action="Reject", match_operator="NotIn", cidr="fd00::/16"),
    )
    assert len(result.warnings) == 1


def test_an_export_filter_gone_wrong() -> None:
    text = """\
apiVersion: projectcalico.org/v3
kind: BGPConfiguration
metadata: {name: node.a}
spec:
  asNumber: 5
  exportFilter:
  - {action: Block, matchExpression: has(10.0.0.0/8)}
"""
    assert report(text) == [
        "m.yaml:5: BGPConfiguration/node.a: spec.asNumber: can be set only in the BGPConfiguration called default",
        "m.yaml:7: BGPConfiguration/node.a: spec.exportFilter[0].action: expected one of Allow, Deny; found the text 'Block'",
    ]
    assert report(text.replace("asNumber: 5", "listenPort: 5").replace("Block", "Deny")) == [
        "m.yaml:6: BGPConfiguration/node.a: spec.exportFilter: can be set only in the BGPConfiguration called default"
    ]
    assert report(EXPORT_FILTER.replace("!has(10.244.0.0/16)", "has(10.244.0.0)")) == [
        "m.yaml:9: BGPConfiguration: spec.exportFilter[0].matchExpression: '10.244.0.0' is not a CIDR"
    ]
    assert (
        "neither has(CIDR) nor !has(CIDR)" in report(EXPORT_FILTER.replace("!has(10.244.0.0/16)", "all()"))[0]
    )


def test_without_an_export_filter_a_name_is_required() -> None:
    text = "{apiVersion: projectcalico.org/v3, kind: BGPConfiguration, spec: {listenPort: 5}}"
    assert report(text) == ["m.yaml:1: BGPConfiguration: metadata: required, but missing"]


def test_an_empty_export_filter_is_none() -> None:
    text = "{apiVersion: projectcalico.org/v3, kind: BGPConfiguration, metadata: {name: default}, spec: {exportFilter: []}}"
    result = loaded(text)
    assert [type(one) for one in result.resources] == [BGPConfiguration]
    assert not result.warnings


# -- together ---------------------------------------------------------------------------------------------------------

WALKTHROUGH = [
    CLUSTER,
    "{apiVersion: operator.tigera.io/v1, kind: APIServer, metadata: {name: default}, spec: {}}",
    """\
apiVersion: projectcalico.org/v3
kind: IPPool
metadata:
  name: outside
spec:
  cidr: 192.168.65.0/24
  blockSize: 29
  ipipMode: Never
  natOutgoing: true
  nodeSelector: "!all()"
""",
    """\
apiVersion: projectcalico.org/v3
kind: BGPPeer
metadata:
  name: border
spec:
  peerIP: 192.168.65.5
  asNumber: 64512
  nodeSelector: all()
""",
    """\
apiVersion: projectcalico.org/v3
kind: BGPConfiguration
metadata:
  name: default
spec:
  serviceClusterIPs:
    - cidr: 10.96.0.0/16
""",
    EXPORT_FILTER,
]


@pytest.mark.parametrize("text", WALKTHROUGH)
def test_every_document_of_a_walkthrough_loads_alone(text: str) -> None:
    loaded(text)


def test_and_all_but_a_second_configuration_together() -> None:
    result = loaded(*WALKTHROUGH[:-1])
    assert [resource.kind for resource in result.resources] == [
        "Node", "Node", "Node", "IPPool", "IPPool", "BGPPeer", "BGPConfiguration",
    ]  # fmt: skip
    assert not result.warnings
    assert report(*WALKTHROUGH) == [
        "m.yaml:47: BGPConfiguration: metadata.name: a second BGPConfiguration of this name; the first is at m.yaml:38"
    ]
