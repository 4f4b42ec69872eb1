"""The state of a cluster: what goes into it comes out of it."""

from __future__ import annotations

import json

import pytest

from cluster.datastore.memory import MemoryStore
from cluster.spec import Spec, build
from cluster.whatif.state import BadState, State, of_manifests


def a_state() -> State:
    spec = Spec(nodes=2, blocks_per_node=2, pods_per_node=3, hold_time=30.0, name="lab")
    return of_manifests(spec, build(spec))


def test_manifests_become_what_up_would_start_with() -> None:
    state = a_state()
    kinds = [document["kind"] for document in state.documents]
    assert kinds == [
        "BGPConfiguration", *["BlockAffinity"] * 4, *["IPAMBlock"] * 4, "IPPool", "Node", "Node",
    ]  # fmt: skip
    assert (state.name, state.hold_time, state.pods_per_node) == ("lab", 30.0, 3)
    assert state.revision == len(state.documents)


def test_a_node_without_ipv4_is_started_with_a_router_id_of_its_name() -> None:
    spec = Spec(nodes=2, ip_family="ipv6")
    assert of_manifests(spec, build(spec)).env == {"CALICO_ROUTER_ID": "hash"}


def test_a_state_crosses_as_json_and_fills_a_store() -> None:
    state = State(
        name="lab",
        revision=a_state().revision,
        documents=a_state().documents,
        off=("node-001",),
        ill=("node-002",),
        stopped=("a",),
        frozen=("b",),
        cut=(("a", "b"),),
        env={"CALICO_ROUTER_ID": "hash"},
        hold_time=9.0,
        time=1.7e9,
        pods_per_node=1,
    )
    assert State.from_json(json.loads(json.dumps(state.to_json()))) == state
    store = MemoryStore(wall=lambda: 0.0)
    state.fill(store)
    assert (store.revision, tuple(store.documents())) == (state.revision, state.documents)


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (None, "not the state of a cluster"),
        ({}, "not the state of a cluster: KeyError: 'version'"),
        ({"version": 2}, "the state is of version 2, and not of 1"),
        ({**a_state().to_json(), "cut": [["a"]]}, "not the state of a cluster: ValueError"),
    ],
)
def test_what_is_no_state_is_said(value: object, why: str) -> None:
    with pytest.raises(BadState, match=why):
        State.from_json(value)
