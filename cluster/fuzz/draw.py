"""Scenarios by chance: what hypothesis draws, and shrinks when it has found something.

Owns ``scenarios`` (a cluster of 3 to 12 nodes and what happens to it) and ``happenings`` (what happens to a given
cluster). What is drawn are ``cluster.scenario`` values, the very ones that files are read to, so that anything found is
a file.

    cluster    a mesh, reflectors, racks with an AS each, or everybody with everybody by BGPPeers; either family or both;
               tunnels, small pools, routers outside
    changes    of resources, as people make them, and pods that come and go
    faults     every fault that a stage knows

Little is drawn of each, so that it collides, and all that is drawn may be refused: the API's admission decides as in
life. What is simple comes first everywhere, as that is what hypothesis shrinks to.

Left out: whether anything is wrong (``checks``), when to stop (``search``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

from hypothesis import strategies as st

from cluster.scenario.model import (
    ALL,
    Action,
    AddPods,
    Apply,
    Cluster,
    Converged,
    Delete,
    DeletePods,
    Flap,
    Freeze,
    Heal,
    Label,
    Partition,
    Patch,
    PowerOff,
    Restart,
    Scenario,
    SoundIpam,
    Start,
    Step,
    Stop,
    Thaw,
    UnsettledAllowed,
    Wait,
    WhenConverged,
)
from cluster.scenario.world import world_of
from protocol.v3.codec import decode
from protocol.v3.metadata import Resource

NAME: Final = "found"
BORDER: Final = "border"
BORDER_ADDRESS: Final = "10.77.9.9"
POOL: Final = "default-ipv4-ippool"
REFLECTOR: Final = "route-reflector"
CONFIGURATION: Final = "BGPConfiguration", "", "default"

SHAPES: Final = "mesh", "reflectors", "peers", "racks"

Families = Literal["ipv4", "ipv6", "dual"]
Draws = st.SearchStrategy[Action]
What = Mapping[int | None, st.SearchStrategy[tuple[Step, ...]]]
"""By the nodes that there are."""


def node_names(count: int) -> list[str]:
    """Those that are generated."""
    return [f"node-{number:03}" for number in range(1, count + 1)]


def document(kind: str, name: str, spec: dict[str, Any], **metadata: Any) -> Resource:
    group = "lab.tortie/v1" if kind == "Router" else "projectcalico.org/v3"
    return decode({"apiVersion": group, "kind": kind, "metadata": {"name": name, **metadata}, "spec": spec})


# -- the cluster ------------------------------------------------------------------------------------------------------


@st.composite
def clusters(draw: st.DrawFn, *, most: int = 12, shapes: Sequence[str] = SHAPES) -> Cluster:
    shape = draw(st.sampled_from(shapes))
    size = draw(st.integers(3, most))
    family: Families = draw(st.sampled_from(("ipv4", "ipv4", "ipv4", "dual", "ipv6")))
    resources: list[Resource] = []
    pods = draw(st.sampled_from((1, 0, 2)))
    if family == "ipv4":
        resources += draw(st.sampled_from(([], [_pool()], [_pool(ipipMode="CrossSubnet")])))
        if not resources and draw(st.booleans()):
            resources, pods = [_tight_pool()], 5
    match shape:
        case "peers":
            resources += [_configuration(mesh=False), _everybody()]
        case "racks":
            family = "ipv4"
            resources += [_configuration(mesh=False), _everybody(), *map(_in_a_rack, range(1, size + 1))]
    if family != "ipv6" and draw(st.integers(0, 3)) == 3:
        resources += _border()
    return Cluster(
        nodes=size,
        route_reflectors=draw(st.integers(1, 2)) if shape == "reflectors" else 0,
        pods_per_node=pods,
        ip_family=family,
        resources=tuple(resources),
    )


def _configuration(*, mesh: bool) -> Resource:
    return document("BGPConfiguration", "default", {"asNumber": 64512, "nodeToNodeMeshEnabled": mesh})


def _pool(**spec: Any) -> Resource:
    return document("IPPool", POOL, {"cidr": "192.168.0.0/16", "blockSize": 26, **spec})


def _tight_pool() -> Resource:
    """Blocks of four addresses, of which every node wants another at once."""
    return document("IPPool", POOL, {"cidr": "192.168.0.0/25", "blockSize": 30})


def _everybody(**spec: Any) -> Resource:
    return document("BGPPeer", "everybody", {"nodeSelector": "all()", "peerSelector": "all()", **spec})


def _in_a_rack(number: int) -> Resource:
    rack = number % 2
    bgp = {"ipv4Address": f"10.77.0.{number}/16", "asNumber": 65001 + rack}
    return document("Node", f"node-{number:03}", {"bgp": bgp}, labels={"rack": str(rack)})


def _border() -> list[Resource]:
    """A router that every node is told to peer with."""
    spec = {
        "addresses": [f"{BORDER_ADDRESS}/16"],
        "asNumber": 65000,
        "announce": ["0.0.0.0/0"],
        "neighbors": [{"nodeSelector": "all()"}],
    }
    return [
        document("Router", BORDER, spec),
        document("BGPPeer", BORDER, {"peerIP": BORDER_ADDRESS, "asNumber": 65000}),
    ]


# -- what happens -----------------------------------------------------------------------------------------------------


def faults(names: Sequence[str]) -> Draws:
    some = st.lists(st.sampled_from(names), min_size=1, max_size=3, unique=True).map(tuple)
    one = st.sampled_from(names)
    two = st.tuples(one, one).filter(lambda pair: pair[0] != pair[1])
    return st.one_of(
        st.builds(Stop, some),
        st.builds(Start, some),
        st.builds(PowerOff, some),
        st.builds(Freeze, some),
        st.builds(Thaw, some),
        st.builds(Partition, one.map(_single), some),
        st.just(Heal()),
        two.flatmap(
            lambda pair: st.builds(
                Flap,
                st.just(pair[0]),
                st.just(pair[1]),
                down=st.sampled_from((3.0, 0.001, 95.0)),
                times=st.just(1),
            )
        ),
        st.builds(Restart, some, window=st.integers(1, 2), down=st.sampled_from((5.0, 0.0, 100.0))),
        st.builds(PowerOff, one.map(_single)),
    )


def changes(names: Sequence[str]) -> Draws:
    one = st.sampled_from(names)
    return st.one_of(
        st.builds(AddPods, one.map(_single), st.integers(1, 3)),
        st.builds(DeletePods, one.map(_single), st.integers(1, 2)),
        one.map(lambda name: Delete((("Node", "", name),))),
        _patches(CONFIGURATION, _CONFIGURATIONS),
        _patches(("IPPool", "", POOL), _POOLS),
        one.flatmap(lambda name: _patches(("Node", "", name), _node_specs(names.index(name) + 1))),
        st.sampled_from(_PEERINGS).map(lambda resources: Apply(tuple(resources))),
        st.sampled_from(("everybody", BORDER, "peer-with-route-reflectors")).map(
            lambda name: Delete((("BGPPeer", "", name),))
        ),
        one.map(lambda name: Apply(tuple(_service(name)))),
        st.builds(Label, one.map(_single), st.sampled_from(({REFLECTOR: "true"}, {REFLECTOR: None}))),
        st.integers(21, 23).map(lambda number: Apply((_newcomer(number),))),
        st.just(Delete((("Router", "", BORDER),))),
    )


def _single(name: str) -> tuple[str, ...]:
    return (name,)


def _patches(key: tuple[str, str, str], specs: Sequence[dict[str, Any]]) -> Draws:
    return st.sampled_from(specs).map(lambda spec: Patch(key, {"spec": spec}))


_CONFIGURATIONS: Final = (
    {"nodeToNodeMeshEnabled": True},
    {"nodeToNodeMeshEnabled": False},
    {"asNumber": 64513},
    {"asNumber": 64512},
    {"ipv4NormalRoutePriority": 2000},
    {"listenPort": 1790},
    {"serviceClusterIPs": [{"cidr": "10.96.0.0/16"}], "serviceExternalIPs": [{"cidr": "198.51.100.7/32"}]},
)
_POOLS: Final = (
    {"ipipMode": "Always", "vxlanMode": "Never"},
    {"ipipMode": "Never", "vxlanMode": "Always"},
    {"ipipMode": "Never", "vxlanMode": "CrossSubnet"},
    {"ipipMode": "Never", "vxlanMode": "Never"},
    {"disableBGPExport": True},
    {"disableBGPExport": False},
    {"disabled": True},
)


def _node_specs(number: int) -> list[dict[str, Any]]:
    return [
        {"bgp": {"ipv4Address": f"10.77.1.{number}/16"}},
        {"bgp": {"asNumber": 65009}},
        {"bgp": {"asNumber": None}},
        {"bgp": {"routeReflectorClusterID": "244.0.0.1"}},
        {"bgp": {"routeReflectorClusterID": "244.0.0.2"}},
        {"bgp": {"routeReflectorClusterID": None}},
        {"bgp": {"ipv6Address": f"fd77::{number}/64"}},
        {"bgp": {"ipv6Address": None}},
    ]


_INSIDE: Final = {"cidr": "192.168.0.0/16", "matchOperator": "In"}


def _filter(**spec: Any) -> Resource:
    return document("BGPFilter", "policy", spec)


_PEERINGS: Final = (
    [_everybody()],
    [document("BGPPeer", "everybody", {"nodeSelector": "all()", "peerSelector": f"has({REFLECTOR})"})],
    [_filter(importV4=[{**_INSIDE, "action": "Reject"}]), _everybody(filters=["policy"])],
    [_filter(exportV4=[{**_INSIDE, "action": "Reject"}]), _everybody(filters=["policy"])],
    [
        _filter(importV4=[{**_INSIDE, "action": "Accept", "operations": [{"setPriority": {"value": 512}}]}]),
        _everybody(filters=["policy"]),
    ],
    [_everybody(keepaliveTime="5s", maxRestartTime="10s")],
    _border(),
)


def _newcomer(number: int) -> Resource:
    return document("Node", f"node-{number:03}", {"bgp": {"ipv4Address": f"10.77.0.{number}/16"}})


def _service(where: str) -> list[Resource]:
    """One address that only the node with the endpoint announces."""
    spec = {
        "type": "ClusterIP",
        "clusterIP": "10.96.0.1",
        "ipFamilies": ["IPv4"],
        "externalTrafficPolicy": "Local",
        "externalIPs": ["198.51.100.7"],
        "ports": [{"port": 80}],
    }
    names = {"name": "web", "namespace": "default"}
    return [
        decode({"apiVersion": "v1", "kind": "Service", "metadata": names, "spec": spec}),
        decode(
            {
                "apiVersion": "discovery.k8s.io/v1",
                "kind": "EndpointSlice",
                "metadata": {
                    "name": "web-1",
                    "namespace": "default",
                    "labels": {"kubernetes.io/service-name": "web"},
                },
                "addressType": "IPv4",
                "endpoints": [
                    {"addresses": ["192.168.0.9"], "nodeName": where, "conditions": {"ready": True}}
                ],
                "ports": [{"port": 80}],
            }
        ),
    ]


def waits() -> Draws:
    return st.builds(Wait, st.sampled_from((0.001, 0.01, 1.0, 7.0, 95.0)))


def happenings(names: Sequence[str], *, most: int = 6) -> st.SearchStrategy[tuple[Step, ...]]:
    """Steps; each at once after the one before, a while later, or when all is quiet."""
    action = st.one_of(changes(names), faults(names), waits())
    actions = st.lists(action, min_size=1, max_size=3).map(tuple)
    step = st.one_of(
        st.builds(Step, do=actions),
        st.builds(Step, do=actions, when=st.just((WhenConverged(),))),
        st.builds(Step, do=actions, after=st.sampled_from((0.001, 1.0, 30.0, 120.0))),
    )
    return st.lists(step, max_size=most).map(tuple)


def _names_of(scenario: Scenario) -> list[str]:
    return [node.metadata.name for node in world_of(scenario).nodes]


def scenarios(
    *, base: Scenario | None = None, most: int = 12, shapes: Sequence[str] = SHAPES
) -> st.SearchStrategy[Scenario]:
    """``base``: its cluster and its steps come first."""
    if base is not None:
        return _scenarios(base, st.just(base.cluster), {base.cluster.nodes: happenings(_names_of(base))})
    # Made once: for each example anew they would cost as much as what is drawn.
    what: What = {size: happenings(node_names(size)) for size in range(3, most + 1)}
    return _scenarios(None, clusters(most=most, shapes=shapes), what)


@st.composite
def _scenarios(
    draw: st.DrawFn,
    base: Scenario | None,
    where: st.SearchStrategy[Cluster],
    what: What,
) -> Scenario:
    cluster = draw(where)
    steps = draw(what[cluster.nodes])
    mended = draw(st.booleans())
    end = (Step(name="all is mended", do=(Thaw((ALL,)), Heal(), Start((ALL,)))),) if mended else ()
    return Scenario(
        name=NAME,
        seed=draw(st.integers(0, 1 << 16)),
        hold_time=draw(st.sampled_from((90.0, 9.0))) if base is None else base.hold_time,
        cluster=cluster,
        steps=(*(() if base is None else base.steps), *steps, *end),
        expect=(Converged(), SoundIpam(), UnsettledAllowed()),
    )
