"""Clusters with what is around them: drawn manifests, routers outside, passwords; without these, a mesh beside any peering."""

from __future__ import annotations

from typing import Any

import attrs
from hypothesis import strategies as st

from tests.strategies.clusters import Document, document
from tests.strategies.manifests import Drawn, manifests

NETWORKS = {4: "10.77.0.{}/24", 6: "fd77::{}/64"}
ANNOUNCED = {4: ("0.0.0.0/0", "10.128.0.0/28", "172.20.0.0/16"), 6: ("::/0", "fd80:1::/124")}


@st.composite
def labs(draw: st.DrawFn) -> Drawn:
    """Some have no router at all."""
    drawn = draw(manifests())
    nodes = [each for each in drawn.documents if each["kind"] == "Node"]
    filters = [each["metadata"]["name"] for each in drawn.documents if each["kind"] == "BGPFilter"]
    families = sorted(
        {int(field[3]) for each in nodes for field in each["spec"]["bgp"] if field.endswith("Address")}
    )
    more: list[Document] = []
    members = [each["metadata"]["name"] for each in nodes]
    for number in range(draw(st.integers(0, 2))):
        asn = draw(st.sampled_from((65100, 65101, 64512)))
        more.append(_router(draw, number, asn, families))
        for family in families:
            peer: dict[str, Any] = {
                "peerIP": NETWORKS[family].format(200 + number).partition("/")[0],
                "asNumber": asn,
                "reversePeering": "Auto",
            }
            if draw(st.integers(0, 1)):
                peer["node"] = draw(st.sampled_from(members))
            if draw(st.booleans()) and filters:
                peer["filters"] = draw(st.lists(st.sampled_from(filters), min_size=1, max_size=1))
            if draw(st.integers(0, 3)) == 0:
                peer["password"] = {"secretKeyRef": {"name": "bgp", "key": "key"}}
            if draw(st.integers(0, 3)) == 0:
                peer["nextHopMode"] = draw(st.sampled_from(("Self", "Keep")))
            more.append(document("BGPPeer", f"router-{number}-{family}", peer))
    if more:
        secret = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "bgp", "namespace": "kube-system"},
            "stringData": {"key": "word"},
        }
        more.append(secret)
    documents = (*drawn.documents, *more)
    # With routers outside, or ASes, sessions that stand in part only make rings in which routes chase each other.
    several = any(
        each["kind"] == "Router" or (each["kind"] == "Node" and "asNumber" in each["spec"]["bgp"])
        for each in documents
    )
    if not several and draw(st.booleans()):
        documents = tuple(map(_with_mesh, documents))
    return attrs.evolve(drawn, documents=documents)


def _with_mesh(each: Document) -> Document:
    if each["kind"] != "BGPConfiguration" or each["metadata"]["name"] != "default":
        return each
    return {**each, "spec": {**each["spec"], "nodeToNodeMeshEnabled": True}}


def _router(draw: st.DrawFn, number: int, asn: int, families: list[int]) -> Document:
    neighbor: dict[str, Any] = {"nodeSelector": draw(st.sampled_from(("all()", "rack == 'a'")))}
    for option in ("nextHopSelf", "routeReflectorClient", "passive"):
        if draw(st.integers(0, 3)) == 0:
            neighbor[option] = True
    if draw(st.integers(0, 3)) == 0:
        neighbor["password"] = {"secretKeyRef": {"name": "bgp", "key": "key"}}
    spec: dict[str, Any] = {
        "addresses": [NETWORKS[family].format(200 + number) for family in families],
        "asNumber": asn,
        "announce": [
            cidr for family in families for cidr in draw(st.lists(st.sampled_from(ANNOUNCED[family]), max_size=2, unique=True))
        ],
        "neighbors": [neighbor, {"routerSelector": "all()"}],
        "addPath": bool(draw(st.integers(0, 1))),
    }  # fmt: skip
    return {**document("Router", f"router-{number}", spec), "apiVersion": "lab.tortie/v1"}
