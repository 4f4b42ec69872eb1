"""What searches have found, as the smallest scenarios that showed it. None of it is there any more."""

from __future__ import annotations

import pytest

from cluster.fuzz.draw import document
from cluster.fuzz.trial import attempt
from cluster.rehearsal.rehearse import rehearse
from cluster.scenario.model import (
    AddPods,
    Cluster,
    Delete,
    DeletePods,
    Freeze,
    Patch,
    PowerOff,
    Restart,
    Scenario,
    Step,
    Wait,
)

BORDER = (
    document(
        "Router",
        "border",
        {
            "addresses": ["10.77.9.9/16"],
            "asNumber": 65000,
            "announce": ["0.0.0.0/0"],
            "neighbors": [{"nodeSelector": "all()"}],
        },
    ),
    document("BGPPeer", "border", {"peerIP": "10.77.9.9", "asNumber": 65000}),
)

FINDINGS = [
    Scenario(
        name="of-two-reflectors-of-two-clusters-one-goes-then-the-node-whose-block-both-reflected",
        cluster=Cluster(nodes=4, route_reflectors=2, pods_per_node=0),
        steps=(
            Step(do=(Patch(("Node", "", "node-002"), {"spec": {"bgp": {"routeReflectorClusterID": "244.0.0.2"}}}),)),
            Step(do=(AddPods(("node-003",)), Wait(95.0), PowerOff(("node-002",)), Wait(190.0))),
            Step(do=(Delete((("Node", "", "node-003"),)),)),
        ),
    ),
    Scenario(
        name="pods-are-deleted-of-a-node-without-power",
        cluster=Cluster(nodes=3, pods_per_node=1),
        steps=(Step(do=(PowerOff(("node-003",)), DeletePods(("node-003",)))),),
    ),
    Scenario(
        name="a-pod-that-gets-no-address-after-a-restart-has-the-container-id-of-one-from-before",
        cluster=Cluster(nodes=3, pods_per_node=1),
        steps=(
            Step(do=(Patch(("IPPool", "", "default-ipv4-ippool"), {"spec": {"disabled": True}}), AddPods(("node-003",)))),
            Step(do=(Restart(("node-003",), down=0.0),)),
        ),
    ),
    Scenario(
        name="a-node-freezes-before-its-neighbour-says-end-of-rib",
        hold_time=9.0,
        cluster=Cluster(nodes=3, pods_per_node=0),
        steps=(Step(do=(Freeze(("node-003",)), Wait(30.0), Restart(("node-002",), down=100.0), Freeze(("node-001",)))),),
    ),
    Scenario(
        name="a-node-takes-a-tunnel-address-while-it-is-deleted",
        seed=0,
        cluster=Cluster(nodes=3, pods_per_node=0),
        steps=(
            Step(
                do=(
                    Patch(("IPPool", "", "default-ipv4-ippool"), {"spec": {"vxlanMode": "CrossSubnet"}}),
                    Delete((("Node", "", "node-003"),)),
                )
            ),
        ),
    ),
    Scenario(
        name="all-nodes-lose-power-by-one-word-while-they-claim-blocks",
        seed=1,
        cluster=Cluster(nodes=6, pods_per_node=0),
        steps=(
            Step(do=(Patch(("IPPool", "", "default-ipv4-ippool"), {"spec": {"ipipMode": "Always"}}), PowerOff(("all",)))),
        ),
    ),
    Scenario(
        name="a-pool-is-disabled-before-anybody-has-its-tunnel-address-and-a-router-outside-has-the-default-route",
        cluster=Cluster(nodes=3, pods_per_node=1, resources=BORDER),
        steps=(
            Step(do=(Patch(("IPPool", "", "default-ipv4-ippool"), {"spec": {"disabled": True, "vxlanMode": "Always"}}),)),
        ),
    ),
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("scenario", FINDINGS, ids=lambda scenario: scenario.name)
def test_it_is_not_there_any_more(scenario: Scenario) -> None:
    assert attempt(scenario).findings == ()


@pytest.mark.slow
def test_the_same_seed_is_the_same_run() -> None:
    one, other = (rehearse(FINDINGS[0]) for _ in range(2))
    assert one.digest == other.digest
    assert one.events == other.events > 0
