"""Changes tried on copies of small clusters: the same agents, in virtual time."""

from __future__ import annotations

from typing import Any

import attrs
import pytest
import yaml

from cluster.rehearsal.rehearse import rehearse
from cluster.spec import Spec, build
from cluster.whatif.change import Change
from cluster.whatif.files import scenario_of
from cluster.whatif.plan import Plan, make_plan, plan_text
from cluster.whatif.state import State, of_manifests
from cluster.whatif.trial import Refused, try_change
from protocol.v3.codec import encode
from protocol.v3.loader import parse
from tests.conftest import Golden
from tests.strategies.clusters import bgp_configuration, bgp_peer, document, node, pool

POOL = "default-ipv4-ippool"


def cluster(nodes: int = 4, *manifests: dict[str, Any], **options: Any) -> State:
    spec = Spec(nodes=nodes, pods_per_node=1, name="lab", **options)
    loaded = parse(_text(manifests)).resources if manifests else ()
    return of_manifests(spec, build(spec, loaded))


def change(*documents: dict[str, Any], delete: bool = False) -> Change:
    loaded = parse(_text(documents))
    return Change(
        documents=tuple(map(encode, loaded.resources)), places=tuple(map(str, loaded.places)), delete=delete
    )


def _text(documents: Any) -> str:
    return yaml.safe_dump_all([*documents])


def planned(state: State, what: Change, seed: int = 1) -> Plan:
    return make_plan(state.name, try_change(state, what, seed=seed))


def mesh(**spec: Any) -> dict[str, Any]:
    return bgp_configuration(**{"asNumber": 64512, "nodeToNodeMeshEnabled": True, **spec})


def test_what_is_as_it_should_be_changes_nothing() -> None:
    plan = planned(cluster(), change(mesh()))
    assert [each.did for each in plan.written] == ["unchanged"]
    assert (plan.sessions, plan.routes, plan.pairs.lost, plan.warnings) == ((), (), (), ())
    assert not plan.ipam
    assert plan.harmless
    assert (plan.pairs.all, plan.verdict) == (12, "no pair of nodes loses traffic")


def test_the_mesh_goes(golden: Golden) -> None:
    plan = planned(cluster(), change(mesh(nodeToNodeMeshEnabled=False)))
    assert not plan.harmless
    assert {each.fate for each in plan.sessions} == {"gone"}
    assert len(plan.sessions) == 6
    assert len(plan.pairs.for_good) == 12
    golden("whatif/mesh-off", plan_text(plan))


def test_another_as_costs_a_connect_delay(golden: Golden) -> None:
    """Sessions start again, and their first dial waits as BIRD's does."""
    plan = planned(cluster(), change(mesh(asNumber=64513)))
    assert {(each.fate, each.falls) for each in plan.sessions} == {("restarted", 1)}
    assert not plan.routes, "they are back"
    assert len(plan.pairs.lost) == 12
    assert not plan.pairs.for_good
    assert all(1.9 < each.seconds < 2.2 for each in plan.pairs.lost)
    golden("whatif/another-as", plan_text(plan))


def test_a_pool_goes_and_takes_its_routes_along(golden: Golden) -> None:
    plan = planned(cluster(), change(pool(POOL, "192.168.0.0/16"), delete=True))
    assert not plan.sessions
    assert len(plan.pairs.for_good) == 12
    assert {new.owner for _, new in plan.ipam.blocks.values() if new is not None} == {""}
    assert all(new is not None and new.stray for _, new in plan.ipam.pods.values())
    golden("whatif/pool-deleted", plan_text(plan))


def test_a_node_moves_and_another_comes(golden: Golden) -> None:
    moved, fresh = node("node-001", "10.77.9.1/16"), node("node-new", "10.77.9.2/16")
    plan = planned(cluster(), change(moved, fresh))
    assert plan.come == ("node-new",)
    assert {each.fate for each in plan.sessions} == {"restarted", "new"}
    assert {name for each in plan.pairs.lost for name in (each.source, each.destination)} >= {"node-001"}
    golden("whatif/node-moves", plan_text(plan))


def test_a_node_that_is_deleted_is_no_loss_to_the_others() -> None:
    plan = planned(cluster(), change(node("node-004", "10.77.0.4/16"), delete=True))
    assert plan.gone == ("node-004",)
    assert plan.harmless
    assert len(plan.sessions) == 3
    assert [*plan.ipam.pods] == ["default/node-004-pod-1"]


REFLECTORS = (
    bgp_configuration(nodeToNodeMeshEnabled=False),
    node("rr-1", "10.77.1.1/16", cluster="244.0.0.1", labels={"rr": "yes"}),
    node("rr-2", "10.77.1.2/16", cluster="244.0.0.1", labels={"rr": "yes"}),
    bgp_peer("clients", nodeSelector="!has(rr)", peerSelector="has(rr)"),
    bgp_peer("reflectors", nodeSelector="has(rr)", peerSelector="has(rr)"),
)


@pytest.mark.slow
def test_a_reflector_that_loses_its_label_is_one_of_two() -> None:
    """Drift of a selector: sessions change hands, nobody loses a packet for long, and nobody for good."""
    one = planned(cluster(5, *REFLECTORS), change(node("rr-2", "10.77.1.2/16")))
    assert {each.fate for each in one.sessions} >= {"gone"}
    assert not one.pairs.for_good
    both = planned(
        cluster(5, *REFLECTORS), change(node("rr-1", "10.77.1.1/16"), node("rr-2", "10.77.1.2/16"))
    )
    assert len(both.pairs.for_good) == 20
    assert any("selects" in each or "BGP session" in each for each in both.warnings), both.warnings


def test_a_router_that_goes_leaves_those_who_still_ask_for_it() -> None:
    """And is the same neighbour before and after, though nobody has its address then."""
    tor = {
        "apiVersion": "lab.tortie/v1",
        "kind": "Router",
        "metadata": {"name": "tor"},
        "spec": {"addresses": ["10.77.9.1/16"], "asNumber": 65000, "neighbors": [{"nodeSelector": "all()"}]},
    }
    peering = bgp_peer("tor", peerIP="10.77.9.1", asNumber=65000)
    plan = planned(cluster(2, tor, peering), change(tor, delete=True))
    assert [(each.fate, each.ends[1]) for each in plan.sessions] == [("gone", "tor"), ("gone", "tor")]
    assert all(each.why for each in plan.sessions), "as they still ask for it"
    assert plan.gone == ("tor",)
    assert plan.harmless


def test_a_filter_that_hides_a_node(golden: Golden) -> None:
    peering = bgp_peer("all", nodeSelector="all()", peerSelector="all()", filters=["hide"])
    state = cluster(
        3, mesh(nodeToNodeMeshEnabled=False), bgp_peer("all", nodeSelector="all()", peerSelector="all()")
    )
    hide = document(
        "BGPFilter",
        "hide",
        {"importV4": [{"action": "Reject", "matchOperator": "In", "cidr": "192.168.0.0/16"}]},
    )
    plan = planned(state, change(hide, peering))
    assert not plan.sessions, "filters start no session again"
    assert len(plan.pairs.for_good) == 6
    golden("whatif/filter", plan_text(plan))


def test_what_the_cluster_would_refuse_is_tried_by_nobody() -> None:
    what = change(pool(POOL, "192.168.0.0/17"), pool("fine", "10.99.0.0/16"))
    with pytest.raises(Refused, match="CIDR cannot be modified") as refusal:
        planned(cluster(), what)
    assert [each.subject for each in refusal.value.written] == [f"IPPool/{POOL}"]


def test_faults_are_copied_too() -> None:
    """Who is off has no part in it, a kernel lives on without its daemons, and what is cut stays cut."""
    whole = cluster(5)
    names = [f"node-{number:03}" for number in range(1, 6)]
    state = attrs.evolve(
        whole, off=(names[4],), stopped=(names[3],), cut=((names[0], names[1]), ("nobody", names[1]))
    )
    plan = planned(state, change(mesh(asNumber=64513)))
    restarted = {each.ends[:2] for each in plan.sessions if each.fate == "restarted"}
    assert restarted == {(names[0], names[2]), (names[1], names[2])}
    assert (names[0], names[1]) in plan.pairs.before
    assert not any(names[4] in (each.source, each.destination) for each in plan.pairs.lost)


def test_one_seed_is_one_plan() -> None:
    state, what = cluster(), change(mesh(asNumber=64513))
    assert planned(state, what).to_json() == planned(state, what).to_json()


@pytest.mark.parametrize(
    "what",
    [
        change(mesh(asNumber=64513)),
        change(mesh(nodeToNodeMeshEnabled=False)),
        change(pool(POOL, "192.168.0.0/16"), delete=True),
        change(pool("spare", "10.99.0.0/16")),
    ],
    ids=["as", "mesh", "pool", "harmless"],
)
def test_the_scenario_of_a_plan_comes_to_the_same_verdict(what: Change) -> None:
    state = attrs.evolve(cluster(), off=("node-004", "nobody"))
    plan = planned(state, what)
    report = rehearse(scenario_of(state, what, seed=1))
    assert report.ok is plan.harmless
    assert report.loss is not None
    lost = {(each.source, each.destination) for each in report.loss.pairs}
    assert lost == {(each.source, each.destination) for each in plan.pairs.lost}


def test_a_state_of_a_plan_is_a_scenario_without_stamps() -> None:
    state = attrs.evolve(
        cluster(2), stopped=("node-001",), cut=(("node-001", "node-002"),), off=("node-002",)
    )
    scenario = scenario_of(state, change(mesh(asNumber=64513)), seed=7)
    assert (scenario.seed, scenario.cluster.off, len(scenario.steps)) == (7, ("node-002",), 2)
    assert len(scenario.cluster.resources) == len(state.documents)
    assert not any(each.metadata.uid or each.metadata.resource_version for each in scenario.cluster.resources)
