"""Peerings that come to nothing: BGPPeers, route reflectors, AS numbers, and a lab's Routers.

Owns ``lint_peering``. Without Nodes among the resources nothing is said of who is selected or peered with.

Follows confd's derivation of peers (agents.confd) and BIRD's rules of reflection.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import Final

from protocol.v3.bgp import BGPPassword, BGPPeer, BGPPeerSpec
from protocol.v3.core import Secret
from protocol.v3.fields import as_address, duration_seconds, json_name
from protocol.v3.ippool import IPPool
from protocol.v3.lab import Router, RouterNeighbor
from protocol.v3.lint_facts import Cluster, Host, Peering, Remark, some
from protocol.v3.rules import Path
from protocol.v3.selector import parse

MAX_RESTART_TIME: Final = 4095
"""Seconds."""


def lint_peering(cluster: Cluster) -> Iterator[Remark]:
    for peering in cluster.peerings:
        yield from _peer(cluster, peering)
        if cluster.nodes:
            yield from _selects(cluster, peering)
            yield from _as_numbers(cluster, peering)
            yield from _beside_the_mesh(cluster, peering)
    yield from _passwords(cluster)
    yield from _reflectors(cluster)
    yield from _without_sessions(cluster)
    yield from _mesh_as_numbers(cluster)
    if cluster.configuration_index is not None:
        time = cluster.configuration.node_mesh_max_restart_time
        yield from _restart_time(cluster.configuration_index, "node_mesh_max_restart_time", time)
    for index, router in cluster.of(Router):
        yield from _router(cluster, index, router)


# -- one BGPPeer ------------------------------------------------------------------------------------------------------

_NOT_FOR_NODES: Final = ("local_as_number", "num_allowed_local_as_numbers", "keep_original_next_hop")
_NOT_FOR_WORKLOADS: Final = (
    "password", "max_restart_time", "keepalive_time", "ttl_security", "reachable_by", "next_hop_mode",
)  # fmt: skip


def _peer(cluster: Cluster, peering: Peering) -> Iterator[Remark]:
    index, spec = peering.index, peering.peer.spec
    if not (spec.peer_ip or spec.peer_selector or spec.local_workload_selector):
        message = (
            "PeerIP is not assigned: without peerIP, peerSelector and localWorkloadSelector the BGPPeer is ignored. "
            "Say with whom to peer"
        )
        yield Remark(index, ("spec",), message)
    if spec.peer_selector:
        yield from _ignored(index, spec, _NOT_FOR_NODES, "peerSelector")
    yield from _restart_time(index, "max_restart_time", spec.max_restart_time)
    if spec.local_workload_selector:
        yield from _ignored(index, spec, _NOT_FOR_WORKLOADS, "localWorkloadSelector")
        configuration = cluster.configuration
        if not (configuration.local_workload_peering_ipv4 or configuration.local_workload_peering_ipv6):
            message = (
                "the BGPConfiguration default has neither localWorkloadPeeringIPV4 nor localWorkloadPeeringIPV6: "
                "workloads have no address to peer with"
            )
            yield Remark(index, ("spec", "localWorkloadSelector"), message)


def _restart_time(index: int, field: str, text: str) -> Iterator[Remark]:
    seconds = int(duration_seconds(text) + 0.5) if text else 0  # as Go rounds
    if seconds > MAX_RESTART_TIME:
        message = (
            f"{text}: the restart time has 12 bits in an OPEN (RFC 4724), and BIRD cuts off what does not fit: neighbours keep "
            f"routes for {seconds % (MAX_RESTART_TIME + 1)} s. Not more than {MAX_RESTART_TIME}s"
        )
        yield Remark(index, ("spec", json_name(field)), message)


def _ignored(index: int, spec: BGPPeerSpec, fields: tuple[str, ...], beside: str) -> Iterator[Remark]:
    unset = BGPPeerSpec()
    for field in fields:
        if getattr(spec, field) != getattr(unset, field):
            yield Remark(index, ("spec", json_name(field)), f"Calico ignores it beside {beside}")


def _selects(cluster: Cluster, peering: Peering) -> Iterator[Remark]:
    index, spec = peering.index, peering.peer.spec
    count = f"{len(cluster.nodes):,}"
    if spec.node and not peering.local:
        yield Remark(index, ("spec", "node"), f"there is no Node {spec.node}: nobody has this peering")
    if spec.node_selector and cluster.nobody(spec.node_selector):
        message = (
            f"matches none of the {count} nodes: nobody has this peering. Label the nodes that are meant"
        )
        yield Remark(index, ("spec", "nodeSelector"), message)
    if not spec.peer_selector:
        return
    if cluster.nobody(spec.peer_selector):
        message = (
            f"matches none of the {count} nodes: there is nobody to peer with. Label the nodes that are meant"
        )
        yield Remark(index, ("spec", "peerSelector"), message)
    elif len(peering.remote) == 1 and peering.remote == peering.local:
        message = f"matches {some(peering.remote)} alone, which has this peering: no node peers with itself"
        yield Remark(index, ("spec", "peerSelector"), message)
    elif lost := [node.name for node in cluster.selected(spec.peer_selector) if not node.addresses]:
        message = f"matches {some(lost)}, without an address in spec.bgp: no session comes up there"
        yield Remark(index, ("spec", "peerSelector"), message)


def _as_numbers(cluster: Cluster, peering: Peering) -> Iterator[Remark]:
    """A peerIP that is known, with another AS than its host has."""
    index, spec = peering.index, peering.peer.spec
    host = None if peering.address is None else cluster.by_address.get(peering.address)
    if host is None or peering.port is not None:  # at another port there may be somebody else
        return
    if not peering.local - {host.name} or any(other.peer.spec.local_as_number for other in cluster.peerings):
        return
    expected = spec.as_number or cluster.as_number
    if expected != host.as_number:
        kind = "Node" if host.name in cluster.node_names else "Router"
        said = str(expected) if spec.as_number else f"not set, which is {expected}, the cluster's"
        message = f"{said}; but {spec.peer_ip} is {kind} {host.name} in AS {host.as_number}: the session ends with Bad peer AS"
        yield Remark(index, ("spec", "asNumber"), message)


def _beside_the_mesh(cluster: Cluster, peering: Peering) -> Iterator[Remark]:
    if not cluster.mesh:
        return
    for members in cluster.meshes:
        local, remote = sorted(peering.local & members), sorted(peering.remote & members)
        pair = next(((a, b) for b in remote for a in local[:2] if a != b), None)
        if pair is not None:
            spec = peering.peer.spec
            message = (
                f"the node-to-node mesh has a session between {pair[0]} and {pair[1]} already, and BIRD keeps one of the "
                "two only. Turn the mesh off (nodeToNodeMeshEnabled: false in the BGPConfiguration default)"
            )
            yield Remark(peering.index, ("spec", "peerIP" if spec.peer_ip else "peerSelector"), message)
            return


# -- passwords --------------------------------------------------------------------------------------------------------


_SECRETS: Final = ("calico-system", "kube-system")


def _passwords(cluster: Cluster) -> Iterator[Remark]:
    secrets: dict[str, list[Secret]] = {}
    for _, secret in cluster.of(Secret):
        secrets.setdefault(secret.metadata.name, []).append(secret)
    wanted: list[tuple[int, Path, BGPPassword | None]] = [
        (index, ("spec", "password"), peer.spec.password) for index, peer in cluster.of(BGPPeer)
    ]
    if cluster.configuration_index is not None:
        password = cluster.configuration.node_mesh_password
        wanted.append((cluster.configuration_index, ("spec", "nodeMeshPassword"), password))
    for index, router in cluster.of(Router):
        for at, neighbor in enumerate(router.spec.neighbors):
            wanted.append((index, ("spec", "neighbors", at, "password"), neighbor.password))
    for index, where, password in wanted:
        reference = None if password is None else password.secret_key_ref
        if reference is None or reference.optional:
            continue
        path = (*where, "secretKeyRef")
        happens = "sessions have no password, and a neighbour that has one refuses them"
        found = secrets.get(reference.name, [])
        readable = [secret for secret in found if secret.metadata.namespace in _SECRETS]
        if not found:
            yield Remark(index, (*path, "name"), f"there is no Secret {reference.name}: {happens}")
        elif not readable:
            message = (
                f"Secret {reference.name} is in namespace {found[0].metadata.namespace}, but calico-node reads those of "
                f"{' and '.join(_SECRETS)}, where it runs itself: {happens}"
            )
            yield Remark(index, (*path, "name"), message)
        elif readable[0].value(reference.key) is None:
            message = f"Secret {reference.name} has no key {reference.key}: {happens}"
            yield Remark(index, (*path, "key"), message)


# -- route reflectors -------------------------------------------------------------------------------------------------

_MAX_REFLECTORS: Final = 40
_MAX_STEPS: Final = 2000


def _reflectors(cluster: Cluster) -> Iterator[Remark]:
    connected = {name for peering in cluster.peerings for name in peering.members}
    cluster_id: Path = ("spec", "bgp", "routeReflectorClusterID")
    for node in cluster.reflectors:
        if node.name not in connected:
            message = (
                "a route reflector leaves the mesh, and no BGPPeer is for this one or with it: it has no BGP session. "
                "Write a BGPPeer whose peerSelector matches it"
            )
            yield Remark(node.index, cluster_id, message)
    clients = [node for node in cluster.nodes if not node.cluster_id and node.name in connected]
    if cluster.mesh:
        if (
            clients
            and connected.intersection(node.name for node in cluster.reflectors)
            and len(cluster.nodes) > 2
        ):
            message = (
                "the mesh is on beside route reflectors: every other node keeps its session with every other. Set "
                "nodeToNodeMeshEnabled: false in the BGPConfiguration default once the reflectors' sessions stand"
            )
            if cluster.configuration_index is not None:
                yield Remark(cluster.configuration_index, ("spec", "nodeToNodeMeshEnabled"), message)
            else:
                yield Remark(cluster.reflectors[0].index, cluster_id, message)
        return
    if len({node.as_number for node in cluster.nodes}) == 1 and len(cluster.reflectors) <= _MAX_REFLECTORS:
        yield from _one_cluster_id(cluster)


def _one_cluster_id(cluster: Cluster) -> Iterator[Remark]:
    """Reflectors that drop each other's routes because they have one cluster ID, and clients that lose by it."""
    ids = {node.name: node.cluster_id for node in cluster.reflectors}
    if len(set(ids.values())) == len(ids):
        return
    neighbors = {name: cluster.neighbors(name) for name in ids}
    told: set[str] = set()
    for one, other in itertools.combinations(cluster.reflectors, 2):
        if one.cluster_id != other.cluster_id or other.name in told:
            continue
        only_one = neighbors[one.name] - neighbors[other.name] - ids.keys()
        only_other = neighbors[other.name] - neighbors[one.name] - ids.keys()
        if not only_one or not only_other:
            continue
        ends = min(only_one), min(only_other)
        each_its_own = {name: name for name in ids}
        if _reaches(cluster, neighbors, ids, *ends) or not _reaches(cluster, neighbors, each_its_own, *ends):
            continue
        told.add(other.name)
        message = (
            f"{other.cluster_id} is {one.name}'s as well, and a reflector drops routes with its own cluster ID on them: "
            f"routes of {some(only_one, 2)} (clients of {one.name}) and of {some(only_other, 2)} (clients of {other.name}) "
            "do not reach each other. Give the two reflectors different IDs, or let every client peer with both"
        )
        yield Remark(other.index, ("spec", "bgp", "routeReflectorClusterID"), message)


def _reaches(
    cluster: Cluster,
    neighbors: Mapping[str, frozenset[str]],
    ids: Mapping[str, str],
    source: str,
    target: str,
) -> bool:
    """Whether reflection takes a route of one client to another. True when that is too much to find out."""
    around = cluster.neighbors(source)
    if target in around:
        return True
    # A route at a reflector, and the cluster IDs on it. Reflectors of one ID tell each other what their clients say, and
    # drop it; those of another ID are clients.
    todo = [(name, frozenset[str]()) for name in ids if name in around]
    seen = set(todo)
    while todo:
        if len(seen) > _MAX_STEPS:
            return True
        name, path = todo.pop()
        if ids[name] in path:
            continue
        if target in neighbors[name]:
            return True
        for step in ((other, path | {ids[name]}) for other in ids if other in neighbors[name]):
            if step not in seen:
                seen.add(step)
                todo.append(step)
    return False


def _without_sessions(cluster: Cluster) -> Iterator[Remark]:
    pools = [pool.spec for _, pool in cluster.of(IPPool)]
    by_felix = pools and all(pool.vxlan_mode != "Never" for pool in pools)
    if cluster.mesh or cluster.configuration_index is None or len(cluster.nodes) < 2 or by_felix:
        return
    connected = {name for peering in cluster.peerings for name in peering.members}
    alone = [node.name for node in cluster.nodes if node.name not in connected and not node.cluster_id]
    if alone:
        message = (
            f"the mesh is off, and no BGPPeer is for {some(alone)} or with them: without a BGP session they neither learn "
            "nor announce a route"
        )
        yield Remark(cluster.configuration_index, ("spec", "nodeToNodeMeshEnabled"), message)


def _mesh_as_numbers(cluster: Cluster) -> Iterator[Remark]:
    """In the mesh a node expects a neighbour that says no AS in its own."""
    members = [node for node in cluster.nodes if not node.cluster_id and node.addresses]
    silent = [node.name for node in members if node.own_as is None]
    if not cluster.mesh or not silent:
        return
    for node in members:
        if node.as_number != cluster.as_number:
            message = (
                f"{node.own_as} is not the cluster's AS, {cluster.as_number}: this node expects {some(silent)} in its own "
                "AS, because they say none, and their mesh sessions end with Bad peer AS. Say asNumber on every node"
            )
            yield Remark(node.index, ("spec", "bgp", "asNumber"), message)


# -- routers ----------------------------------------------------------------------------------------------------------


def _router(cluster: Cluster, index: int, router: Router) -> Iterator[Remark]:
    host = next(host for host in cluster.routers if host.index == index)
    asking = [peering for peering in cluster.peerings if peering.address in host.addresses]
    answered: set[str] = set()
    for at, neighbor in enumerate(router.spec.neighbors):
        path: Path = ("spec", "neighbors", at)
        wanted = _wanted(cluster, host, neighbor)
        answered |= {other.name for other in wanted}
        if neighbor.node_selector and not cluster.nodes:
            continue
        if not wanted:
            yield from _nobody(cluster, index, path, neighbor)
            continue
        for other in wanted:
            if neighbor.as_number not in (None, other.as_number) and not any(
                peering.peer.spec.local_as_number for peering in asking
            ):
                message = f"{neighbor.as_number}; but {other.name} is in AS {other.as_number}: the session ends with Bad peer AS"
                yield Remark(index, (*path, "asNumber"), message)
                break
        if not any(_asks(cluster, asking, host, other) for other in wanted):
            names = some(other.name for other in wanted)
            message = (
                f"{names} do not name this Router: a session stands when both ends ask for it. Write a BGPPeer with its "
                "address as peerIP (or a neighbor of the other Router)"
            )
            yield Remark(index, path, message)
    for peering in asking:
        missing = peering.local - answered
        if missing:
            message = (
                f"Router {host.name} has no neighbor for {some(missing)}: a session stands when both ends ask for it. Name "
                "them in its spec.neighbors"
            )
            yield Remark(peering.index, ("spec", "peerIP"), message)


def _wanted(cluster: Cluster, host: Host, neighbor: RouterNeighbor) -> list[Host]:
    if neighbor.peer_ip:
        found = cluster.by_address.get(as_address(neighbor.peer_ip))
        return [] if found is None or found is host else [found]
    if neighbor.node_selector:
        return list(cluster.selected(neighbor.node_selector))
    matches = parse(neighbor.router_selector).matches
    return [other for other in cluster.routers if other is not host and matches(other.labels)]


def _nobody(cluster: Cluster, index: int, path: Path, neighbor: RouterNeighbor) -> Iterator[Remark]:
    if neighbor.peer_ip:
        if cluster.nodes:
            yield Remark(index, (*path, "peerIP"), "no Node and no Router has this address: nobody answers")
        return
    field, what = ("nodeSelector", "nodes") if neighbor.node_selector else ("routerSelector", "other Routers")
    yield Remark(index, (*path, field), f"matches none of the {what}: there is nobody to peer with")


def _asks(cluster: Cluster, asking: list[Peering], host: Host, other: Host) -> bool:
    """Whether a neighbour has a peering with the router."""
    if other.name in cluster.node_names:
        return any(other.name in peering.local for peering in asking)
    routers = dict(cluster.of(Router))
    return any(host in _wanted(cluster, other, neighbor) for neighbor in routers[other.index].spec.neighbors)
