"""What is valid but surely wrong, and above all what is not."""

from __future__ import annotations

import pytest

from protocol.v3.bgp import BGPConfiguration, BGPConfigurationSpec, BGPPeer, BGPPeerSpec
from protocol.v3.core import Service
from protocol.v3.ippool import IPPool, IPPoolSpec
from protocol.v3.lint import lint
from protocol.v3.loader import parse
from protocol.v3.metadata import Metadata, Resource
from protocol.v3.node import Node, NodeBGPSpec, NodeSpec


def remarks(text: str) -> list[str]:
    """As ``path: message`` of each, with the kind and name."""
    loaded = parse(text, "m.yaml", linted=True)
    return [f"{each.subject}: {each.path}: {each.message}" for each in loaded.warnings]


def said(text: str, *beginnings: str) -> None:
    found = remarks(text)
    assert len(found) == len(beginnings), found
    for line, beginning in zip(found, beginnings, strict=True):
        assert line.startswith(beginning), found


def document(kind: str, name: str, spec: str, more: str = "") -> str:
    version = "lab.tortie/v1" if kind == "Router" else "projectcalico.org/v3"
    return (
        f"{{apiVersion: {version}, kind: {kind}, metadata: {{name: {name}{more}}}, spec: {{{spec}}}}}\n---\n"
    )


def a_node(name: str, address: str, more: str = "", **labels: str) -> str:
    written = ", ".join(f"{key}: '{value}'" for key, value in labels.items())
    spec = f"bgp: {{ipv4Address: {address}/16{more}}}"
    return document("Node", name, spec, f", labels: {{{written}}}")


NO_MESH = document("BGPConfiguration", "default", "nodeToNodeMeshEnabled: false")
THREE = a_node("a", "10.0.0.1", rack="x") + a_node("b", "10.0.0.2", rack="x") + a_node("c", "10.0.0.3")


# -- what is right ----------------------------------------------------------------------------------------------------


def reflectors(count: int, clients: int, same_id: bool = True) -> list[Resource]:
    """Calico's own pattern: labelled reflectors, and everybody peers with all of them."""
    nodes: list[Resource] = []
    for index in range(count + clients):
        reflects = index < count
        bgp = NodeBGPSpec(
            ipv4_address=f"10.0.1.{index + 1}/16",
            route_reflector_cluster_id=f"244.0.0.{1 if same_id else index + 1}" if reflects else "",
        )
        metadata = Metadata(f"n{index:02}", labels={"rr": "true"} if reflects else {})
        nodes.append(Node(metadata, NodeSpec(bgp=bgp)))
    selector = "rr == 'true'"
    return [
        *nodes,
        BGPConfiguration(Metadata("default"), BGPConfigurationSpec(node_to_node_mesh_enabled=False)),
        BGPPeer(Metadata("rr"), BGPPeerSpec(node_selector=selector, peer_selector=selector)),
        BGPPeer(Metadata("clients"), BGPPeerSpec(node_selector="!has(rr)", peer_selector=selector)),
        IPPool(Metadata("p"), IPPoolSpec(cidr="192.168.0.0/16")),
    ]


@pytest.mark.parametrize(("count", "clients"), [(2, 5), (3, 30)])
@pytest.mark.parametrize("same_id", [True, False])
def test_nothing_is_said_of_reflectors_that_everybody_peers_with(
    count: int, clients: int, same_id: bool
) -> None:
    assert lint(reflectors(count, clients, same_id)) == []


def test_nothing_is_said_of_a_mesh() -> None:
    assert remarks(THREE + document("IPPool", "p", "cidr: 192.168.0.0/16")) == []


def test_nothing_is_said_of_what_depends_on_what_is_not_there() -> None:
    text = (
        NO_MESH
        + document("IPPool", "p", "cidr: 192.168.0.0/16, nodeSelector: rack == 'x'")
        + document("BGPPeer", "p", "nodeSelector: has(rack), peerSelector: has(rr)")
        + document("BGPPeer", "q", "node: somewhere, peerIP: 10.0.0.1, asNumber: 5")
        + document("BGPConfiguration", "node.somewhere", "listenPort: 180")
    )
    assert remarks(text) == []
    assert remarks(document("BGPFilter", "f", "exportV4: [{action: Accept}]")) == []


def test_a_pool_for_nobody_may_be_meant() -> None:
    assert remarks(THREE + document("IPPool", "p", "cidr: 192.168.0.0/16, nodeSelector: '!all()'")) == []


def test_a_selector_for_unlabelled_nodes_is_for_nodes_to_come() -> None:
    labelled = a_node("a", "10.0.0.1", rr="x") + a_node("b", "10.0.0.2", rr="x")
    for selector in ("!has(rr)", "rr != 'x'", "rr not in {'x', 'y'}"):
        assert (
            remarks(labelled + document("IPPool", "p", f'cidr: 192.168.0.0/16, nodeSelector: "{selector}"'))
            == []
        )
        peer = f'nodeSelector: "{selector}", peerIP: 10.9.9.9, asNumber: 5'
        assert remarks(labelled + document("BGPPeer", "p", peer)) == []


TOR = document(
    "Router",
    "tor",
    "addresses: [10.0.9.9/16], asNumber: 64999, announce: [0.0.0.0/0], neighbors: [{nodeSelector: rack == 'x'}]",
)


def test_nothing_is_said_of_a_router_that_both_ends_know() -> None:
    peer = document("BGPPeer", "up", "nodeSelector: rack == 'x', peerIP: 10.0.9.9, asNumber: 64999")
    assert remarks(THREE + TOR + peer) == []


# -- who is selected --------------------------------------------------------------------------------------------------


def test_selectors_that_match_nothing() -> None:
    text = (
        THREE
        + NO_MESH
        + document("BGPPeer", "p", "peerSelector: has(rr)")
        + document("BGPPeer", "q", "nodeSelector: rack == 'y', peerIP: 10.9.9.9, asNumber: 1")
        + document("BGPPeer", "r", "node: d, peerIP: 10.9.9.8, asNumber: 1")
        + document("IPPool", "pool", "cidr: 192.168.0.0/16, nodeSelector: rack == 'y'")
    )
    said(
        text,
        "BGPConfiguration/default: spec.nodeToNodeMeshEnabled: the mesh is off, and no BGPPeer is for a, b, c or with them",
        "BGPPeer/p: spec.peerSelector: matches none of the 3 nodes",
        "BGPPeer/q: spec.nodeSelector: matches none of the 3 nodes",
        "BGPPeer/r: spec.node: there is no Node d",
        "IPPool/pool: spec.nodeSelector: matches none of the 3 nodes",
    )


def test_a_peering_with_itself_alone() -> None:
    text = THREE + document("BGPPeer", "p", "node: c, peerSelector: '!has(rack)'")
    said(text, "BGPPeer/p: spec.peerSelector: matches c alone, which has this peering")


def test_a_peering_with_nobody() -> None:
    said(document("BGPPeer", "p", "asNumber: 5"), "BGPPeer/p: spec: PeerIP is not assigned")


def test_fields_that_are_ignored() -> None:
    text = document("BGPPeer", "p", "peerSelector: all(), localASNumber: 5, numAllowedLocalASNumbers: 1")
    said(text, "BGPPeer/p: spec.localASNumber: Calico ignores", "BGPPeer/p: spec.numAllowedLocalASNumbers: ")
    text = document("BGPPeer", "p", "localWorkloadSelector: has(bgp), asNumber: 5, keepaliveTime: 3s")
    said(
        text,
        "BGPPeer/p: spec.keepaliveTime: Calico ignores",
        "BGPPeer/p: spec.localWorkloadSelector: the BGPConf",
    )


# -- the mesh and reflectors ------------------------------------------------------------------------------------------

PAIRS = "".join(
    (
        a_node("r1", "10.0.0.1", ", routeReflectorClusterID: 244.0.0.1", rr="1"),
        a_node("r2", "10.0.0.2", ", routeReflectorClusterID: 244.0.0.1", rr="2"),
        a_node("c1", "10.0.0.3", of="1"),
        a_node("c2", "10.0.0.4", of="2"),
        document("BGPPeer", "one", "nodeSelector: of == '1', peerSelector: rr == '1'"),
        document("BGPPeer", "two", "nodeSelector: of == '2', peerSelector: rr == '2'"),
        document("BGPPeer", "rr", "nodeSelector: has(rr), peerSelector: has(rr)"),
    )
)


def test_reflectors_of_one_cluster_id_that_have_different_clients() -> None:
    line = (
        "Node/r2: spec.bgp.routeReflectorClusterID: 244.0.0.1 is r1's as well, and a reflector drops routes"
    )
    said(NO_MESH + PAIRS, line)
    assert (
        "c1 (clients of r1) and of c2 (clients of r2) do not reach each other" in remarks(NO_MESH + PAIRS)[0]
    )
    assert remarks(NO_MESH + PAIRS.replace("244.0.0.1", "244.0.0.2", 1)) == []


def test_it_does_not_matter_where_there_is_another_way() -> None:
    through_a_third = a_node("r3", "10.0.0.5", ", routeReflectorClusterID: 244.0.0.3", rr="3") + document(
        "BGPPeer", "three", "nodeSelector: has(of), peerSelector: rr == '3'"
    )
    assert remarks(NO_MESH + PAIRS + through_a_third) == []
    direct = document("BGPPeer", "clients", "nodeSelector: has(of), peerSelector: has(of)")
    assert remarks(NO_MESH + PAIRS + direct) == []


def test_reflectors_that_are_not_connected_do_not_lose_anything_by_their_id() -> None:
    lonely = PAIRS.replace(
        "nodeSelector: has(rr), peerSelector: has(rr)", "node: r1, peerSelector: rr == '1'"
    )
    said(NO_MESH + lonely, "BGPPeer/rr: spec.peerSelector: matches r1 alone")


def test_a_mesh_beside_reflectors() -> None:
    line = "Node/r1: spec.bgp.routeReflectorClusterID: the mesh is on beside route reflectors"
    said(PAIRS, line)
    said(
        PAIRS + document("BGPConfiguration", "default", "nodeToNodeMeshEnabled: true"),
        "BGPConfiguration/default: spec.nodeToNodeMeshEnabled: the mesh is on beside route reflectors",
    )


def test_a_reflector_that_nobody_peers_with() -> None:
    text = THREE + a_node("r", "10.0.0.9", ", routeReflectorClusterID: 244.0.0.1")
    said(text, "Node/r: spec.bgp.routeReflectorClusterID: a route reflector leaves the mesh")


def test_a_peering_beside_the_mesh() -> None:
    text = THREE + document("BGPPeer", "p", "nodeSelector: has(rack), peerSelector: has(rack)")
    said(text, "BGPPeer/p: spec.peerSelector: the node-to-node mesh has a session between b and a already")
    text = THREE + document("BGPPeer", "p", "peerIP: 10.0.0.3, asNumber: 64512")
    said(text, "BGPPeer/p: spec.peerIP: the node-to-node mesh has a session between")
    six = document("Node", "six", "bgp: {ipv6Address: 'fd00::6/64'}", ", labels: {only: six}")
    assert (
        remarks(
            THREE + six + document("BGPPeer", "p", "nodeSelector: has(rack), peerSelector: only == 'six'")
        )
        == []
    )


def test_a_neighbour_without_an_address() -> None:
    text = THREE + document("Node", "d", "bgp: {asNumber: 64512}", ", labels: {no: address}")
    text += document("BGPPeer", "p", "nodeSelector: has(rack), peerSelector: has(no)")
    said(
        text,
        "BGPPeer/p: spec.peerSelector: matches d, without an address in spec.bgp: no session comes up there",
    )


def test_no_mesh_and_no_peers_is_fine_where_bgp_is_not_asked() -> None:
    assert remarks(NO_MESH + THREE + document("IPPool", "p", "cidr: 192.168.0.0/16, vxlanMode: Always")) == []


# -- AS numbers and passwords -----------------------------------------------------------------------------------------


def test_an_as_number_that_the_neighbour_does_not_have() -> None:
    text = NO_MESH + THREE + document("BGPPeer", "p", "peerIP: 10.0.0.3, asNumber: 64600")
    said(text, "BGPPeer/p: spec.asNumber: 64600; but 10.0.0.3 is Node c in AS 64512")
    text = NO_MESH + THREE.replace("10.0.0.3/16", "10.0.0.3/16, asNumber: 64600")
    text += document("BGPPeer", "p", "peerIP: 10.0.0.3")
    said(
        text,
        "BGPPeer/p: spec.asNumber: not set, which is 64512, the cluster's; but 10.0.0.3 is Node c in AS 64600",
    )
    said(
        THREE + TOR + document("BGPPeer", "p", "nodeSelector: has(rack), peerIP: 10.0.9.9, asNumber: 64512"),
        "BGPPeer/p: spec.asNumber: 64512; but 10.0.9.9 is Router tor in AS 64999",
    )


def test_an_as_number_that_may_be_right() -> None:
    itself = NO_MESH + THREE + document("BGPPeer", "all", "peerSelector: all()")
    assert remarks(itself + document("BGPPeer", "p", "node: c, peerIP: 10.0.0.3, asNumber: 64600")) == []
    elsewhere = document("BGPPeer", "p", "peerIP: '10.0.0.3:1790', asNumber: 64600")
    assert remarks(itself + elsewhere) == [], "somebody else at that port"
    local = "peerIP: 10.0.0.3, asNumber: 64600, node: a"
    back = document("BGPPeer", "q", "node: c, peerIP: 10.0.0.1, asNumber: 64512, localASNumber: 64600")
    assert remarks(itself + document("BGPPeer", "p", local) + back) == []


def test_an_as_of_its_own_in_the_mesh() -> None:
    text = THREE.replace("10.0.0.3/16", "10.0.0.3/16, asNumber: 64600")
    said(
        text,
        "Node/c: spec.bgp.asNumber: 64600 is not the cluster's AS, 64512: this node expects a, b in its own AS",
    )
    everybody = text.replace("10.0.0.1/16", "10.0.0.1/16, asNumber: 64512")
    everybody = everybody.replace("10.0.0.2/16", "10.0.0.2/16, asNumber: 64601")
    assert remarks(everybody) == []


def secret(namespace: str, key: str) -> str:
    return f"{{apiVersion: v1, kind: Secret, metadata: {{name: bgp, namespace: {namespace}}}, stringData: {{{key}: x}}}}\n---\n"


def test_passwords() -> None:
    peer = document(
        "BGPPeer", "p", "peerIP: 10.9.9.9, asNumber: 1, password: {secretKeyRef: {name: bgp, key: password}}"
    )
    where = "BGPPeer/p: spec.password.secretKeyRef"
    said(peer, f"{where}.name: there is no Secret bgp")
    said(peer + secret("default", "password"), f"{where}.name: Secret bgp is in namespace default")
    said(peer + secret("kube-system", "other"), f"{where}.key: Secret bgp has no key password")
    assert remarks(peer + secret("calico-system", "password")) == []
    mesh = document("BGPConfiguration", "default", "nodeMeshPassword: {secretKeyRef: {name: bgp, key: k}}")
    said(mesh, "BGPConfiguration/default: spec.nodeMeshPassword.secretKeyRef.name: there is no Secret bgp")


# -- routers ----------------------------------------------------------------------------------------------------------


def test_a_router_that_one_end_does_not_know() -> None:
    said(THREE + TOR, "Router/tor: spec.neighbors[0]: a, b do not name this Router")
    peer = document("BGPPeer", "up", "peerIP: 10.0.9.9, asNumber: 64999")
    said(THREE + TOR + peer, "BGPPeer/up: spec.peerIP: Router tor has no neighbor for c")


def test_routers_among_themselves() -> None:
    def router(name: str, address: str, asn: int, neighbors: str) -> str:
        return document(
            "Router", name, f"addresses: [{address}/24], asNumber: {asn}, neighbors: [{neighbors}]"
        )

    left = router("left", "10.5.0.1", 1, "{peerIP: 10.5.0.2, asNumber: 2}")
    assert remarks(left + router("right", "10.5.0.2", 2, "{routerSelector: all()}")) == []
    said(
        left + router("right", "10.5.0.2", 2, ""),
        "Router/left: spec.neighbors[0]: right do not name this Router",
    )
    said(
        left + router("right", "10.5.0.2", 3, "{routerSelector: all()}"),
        "Router/left: spec.neighbors[0].asNumber: 2; but right is in AS 3",
    )
    said(
        router("alone", "10.5.0.3", 3, "{routerSelector: has(x)}"),
        "Router/alone: spec.neighbors[0].routerSelector: matches none of the other Routers",
    )


# -- filters, configurations, services ------------------------------------------------------------------------------


def test_filters() -> None:
    rules = "exportV4: [{action: Accept}, {action: Reject}], importV6: [%s]"
    impossible = "{action: Accept, cidr: 'fd00::/64', matchOperator: In, prefixLength: {max: 48}}"
    text = document("BGPFilter", "f", rules % impossible) + document(
        "BGPPeer", "p", "peerIP: 1.1.1.1, asNumber: 1"
    )
    said(
        text,
        "BGPFilter/f: metadata.name: no BGPPeer names it",
        "BGPFilter/f: spec.exportV4[1]: never reached: rule 0 before it has no condition",
        "BGPFilter/f: spec.importV6[0].prefixLength: no prefix in fd00::/64 is of a length from 64 to 48",
    )
    used = text.replace("asNumber: 1", "asNumber: 1, filters: [f]").replace("max: 48", "min: 48, max: 80")
    said(used, "BGPFilter/f: spec.exportV4[1]: never reached")


def test_a_filter_for_every_session_is_used() -> None:
    spec = '{exportFilter: [{action: Deny, matchExpression: "has(10.0.0.0/8)"}]}'
    text = f"{{apiVersion: projectcalico.org/v3, kind: BGPConfiguration, metadata: {{name: default}}, spec: {spec}}}\n---\n"
    said(
        text + document("BGPPeer", "p", "peerIP: 1.1.1.1, asNumber: 1"),
        "BGPConfiguration/default: spec.exportFilter: ",
    )


def test_configurations_that_nobody_reads() -> None:
    text = (
        THREE
        + document("BGPConfiguration", "main", "listenPort: 180")
        + document("BGPConfiguration", "node.a", "listenPort: 180")
        + document("BGPConfiguration", "node.d", "listenPort: 180")
        + document("FelixConfiguration", "node.d", "deviceRouteProtocol: 80")
    )
    said(
        text,
        "BGPConfiguration/main: metadata.name: nobody reads it: a BGPConfiguration is for the cluster",
        "BGPConfiguration/node.d: metadata.name: nobody reads it: there is no Node d",
        "FelixConfiguration/node.d: metadata.name: nobody reads it: there is no Node d",
    )


@pytest.mark.parametrize(
    ("bird", "felix", "happens"),
    [
        ("Disabled", "EnabledIPIPOnly", "nobody programs the routes of pools with no encapsulation"),
        ("Enabled", "Disabled", None),
        ("Enabled", None, None),
        (None, "Enabled", "both program the routes of pools with no encapsulation"),
        ("EnabledIPIPOnly", "EnabledNoEncapOnly", None),
    ],
)
def test_who_programs_the_routes(bird: str | None, felix: str | None, happens: str | None) -> None:
    text = document("IPPool", "p", "cidr: 192.168.0.0/16")
    if bird:
        text += document("BGPConfiguration", "default", f"programClusterRoutes: {bird}")
    if felix:
        text += document("FelixConfiguration", "default", f"programClusterRoutes: {felix}")
    found = remarks(text)
    assert (len(found) == 1 and happens in found[0]) if happens else found == []


SERVICES = document(
    "BGPConfiguration", "default", "serviceClusterIPs: [{cidr: 10.96.0.0/16}], serviceLoadBalancerIPs: [{}]"
)


def service(name: str, spec: str) -> str:
    return f"{{apiVersion: v1, kind: Service, metadata: {{name: {name}}}, spec: {{{spec}}}}}\n---\n"


def slice_of(name: str, ready: bool = True) -> str:
    endpoint = f"{{addresses: [10.0.0.1], conditions: {{ready: {str(ready).lower()}}}, nodeName: a}}"
    return (
        f"{{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {{name: {name}-x, "
        f"labels: {{kubernetes.io/service-name: {name}}}}}, addressType: IPv4, endpoints: [{endpoint}]}}\n---\n"
    )


def test_services() -> None:
    local = service("web", "clusterIP: 10.96.0.9, externalTrafficPolicy: Local")
    said(SERVICES + local, "Service/web: spec.externalTrafficPolicy: Local, and no EndpointSlice")
    said(SERVICES + local + slice_of("web", ready=False), "Service/web: spec.externalTrafficPolicy: Local")
    assert remarks(SERVICES + local + slice_of("web")) == []
    assert remarks(local) == [], "nothing of services is announced"
    said(SERVICES + service("web", "type: NodePort"), "Service/web: spec.clusterIP: not set")
    assert remarks(SERVICES + service("web", "clusterIP: None")) == []
    said(
        local + slice_of("other"),
        'EndpointSlice/other-x: metadata.labels["kubernetes.io/service-name"]: there is no Service other',
    )


def test_a_load_balancers_status_is_no_reason_to_refuse_a_service() -> None:
    status = "status: {loadBalancer: {ingress: [{ip: 80.15.0.1/32}, {ip: 80.15.0.2}]}}"
    text = SERVICES + service("web", "clusterIP: 10.96.0.9").replace("}}\n", f"}}, {status}}}\n")
    said(text, "Service/web: status.loadBalancer.ingress[0].ip: '80.15.0.1/32' is no IP address")
    [web] = [each for each in parse(text).resources if isinstance(each, Service)]
    assert web.load_balancer_ips == ("80.15.0.2",)


def test_services_and_pods_in_one_range() -> None:
    text = SERVICES + document("IPPool", "p", "cidr: 10.96.64.0/18")
    said(
        text, "BGPConfiguration/default: spec.serviceClusterIPs[0].cidr: 10.96.0.0/16 overlaps with IPPool p"
    )
    assert (
        remarks(SERVICES + document("IPPool", "p", "cidr: 10.96.64.0/18, allowedUses: [LoadBalancer]")) == []
    )


def test_a_restart_time_that_an_open_has_no_room_for() -> None:
    peer = document("BGPPeer", "p", "peerIP: 10.9.9.9, asNumber: 65000, maxRestartTime: 4096s")
    mesh = document("BGPConfiguration", "default", "nodeMeshMaxRestartTime: 1h30m")
    said(
        mesh + peer,
        "BGPConfiguration/default: spec.nodeMeshMaxRestartTime: 1h30m: the restart time has 12 bits in an OPEN (RFC 4724), and "
        "BIRD cuts off what does not fit: neighbours keep routes for 1304 s",
        "BGPPeer/p: spec.maxRestartTime: 4096s: the restart time has",
    )
    assert remarks(mesh.replace("1h30m", "4095s")) == []
