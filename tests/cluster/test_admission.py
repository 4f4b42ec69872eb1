"""What is admitted beside what is there; and that the way to a state does not matter."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.admission import admit
from cluster.datastore.memory import MemoryStore
from protocol.sync.messages import Document
from protocol.v3.rules import format_path
from protocol.v3.validate import InvalidResource


def calico(kind: str, name: str, **spec: Any) -> Document:
    return {"apiVersion": "projectcalico.org/v3", "kind": kind, "metadata": {"name": name}, "spec": spec}


def node(name: str, address: str) -> Document:
    return calico("Node", name, bgp={"ipv4Address": address})


def router(name: str, address: str) -> Document:
    spec = {"addresses": [address], "asNumber": 65000}
    return {"apiVersion": "lab.tortie/v1", "kind": "Router", "metadata": {"name": name}, "spec": spec}


def block(cidr: str) -> Document:
    return {
        "apiVersion": "projectcalico.org/v3",
        "kind": "IPAMBlock",
        "metadata": {"name": "b"},
        "spec": {"cidr": cidr},
    }


class Cluster:
    """A store and the door before it."""

    def __init__(self, *documents: Document) -> None:
        self.store = MemoryStore(wall=lambda: 0.0)
        for document in documents:
            self.store.create(document)

    def admit(self, document: Document) -> Document:
        metadata = document["metadata"]
        old = self.store.find((document["kind"], metadata.get("namespace", ""), metadata["name"]))
        return admit(document, old=old, every=self.store.list)

    def apply(self, document: Document) -> None:
        admitted = self.admit(document)
        key = admitted["kind"], admitted["metadata"].get("namespace", ""), admitted["metadata"]["name"]
        old = self.store.find(key)
        if old is None:
            self.store.create(admitted)
        else:
            self.store.update({**admitted, "metadata": {**admitted["metadata"], **old["metadata"]}})

    def faults(self, document: Document) -> list[str]:
        with pytest.raises(InvalidResource) as caught:
            self.admit(document)
        return [format_path(fault.path) for fault in caught.value.faults]

    def state(self) -> list[Any]:
        return [
            (document["kind"], document["metadata"]["name"], document["spec"])
            for kind in ("BGPConfiguration", "BGPFilter", "BGPPeer", "IPPool", "Node", "Router")
            for document in self.store.list(kind)
        ]


POOL = calico("IPPool", "p", cidr="10.0.0.0/16")


@pytest.mark.parametrize(
    ("there", "document", "path"),
    [
        ((POOL,), calico("IPPool", "q", cidr="10.0.5.0/24"), "spec.cidr"),
        ((POOL,), calico("IPPool", "q", cidr="10.0.0.0/8"), "spec.cidr"),
        ((POOL,), calico("IPPool", "p", cidr="10.1.0.0/16"), "spec.cidr"),
        ((POOL,), calico("IPPool", "p", cidr="10.0.0.0/16", blockSize=28), "spec.blockSize"),
        ((block("10.0.0.0/26"),), calico("IPPool", "p", cidr="10.0.0.0/16", blockSize=28), "spec.blockSize"),
        ((), calico("BGPPeer", "b", peerIP="10.0.0.1", asNumber=1, filters=["f"]), "spec.filters[0]"),
        ((node("a", "10.0.0.1/24"),), node("b", "10.0.0.1/16"), "spec.bgp.ipv4Address"),
        ((router("a", "10.0.0.1/24"),), node("b", "10.0.0.1/16"), "spec.bgp.ipv4Address"),
        ((node("a", "10.0.0.1/24"),), router("b", "10.0.0.1/16"), "spec.addresses[0]"),
        ((node("a", "10.0.0.1/24"),), router("a", "10.0.0.9/16"), "metadata.name"),
        ((), calico("IPAMConfiguration", "mine"), "metadata.name"),
        (
            (),
            calico("IPAMConfiguration", "default", strictAffinity=False, maxBlocksPerHost=3),
            "spec.maxBlocksPerHost",
        ),
        ((), calico("IPPool", "p", cidr="10.0.0.1/16"), "spec.cidr"),
    ],
)
def test_what_is_refused_and_where(there: Sequence[Document], document: Document, path: str) -> None:
    assert path in Cluster(*there).faults(document)


@pytest.mark.parametrize(
    ("there", "document"),
    [
        ((POOL,), calico("IPPool", "p", cidr="10.0.0.0/16", natOutgoing=True)),
        ((POOL,), calico("IPPool", "q", cidr="10.1.0.0/16", blockSize=28)),
        ((POOL, block("10.0.0.0/26")), calico("IPPool", "p", cidr="10.0.0.0/16")),
        ((block("10.1.0.0/28"),), POOL),
        ((block("fd00::/122"),), POOL),
        ((calico("BGPFilter", "f"),), calico("BGPPeer", "b", peerIP="10.0.0.1", asNumber=1, filters=["f"])),
        ((node("a", "10.0.0.1/24"),), node("a", "10.0.0.1/16")),
        ((node("a", "10.0.0.1/24"),), node("a", "10.0.0.2/24")),
    ],
)
def test_what_is_right_beside_what_is_there(there: Sequence[Document], document: Document) -> None:
    assert Cluster(*there).admit(document)["kind"] == document["kind"]


def test_the_message_says_whose_address_it_is() -> None:
    with pytest.raises(InvalidResource, match=r"10\.0\.0\.1 is the address of node a in this cluster"):
        Cluster(node("a", "10.0.0.1/24")).admit(node("b", "10.0.0.1"))


# -- laws -------------------------------------------------------------------------------------------------------------

numbers = st.integers(0, 5)
documents = st.one_of(
    st.builds(
        lambda i, nat: calico("IPPool", f"p{i}", cidr=f"10.{i}.0.0/16", natOutgoing=nat),
        numbers,
        st.booleans(),
    ),
    st.builds(lambda i, a: node(f"n{i}", f"172.16.{a}.{i + 1}/24"), numbers, numbers),
    st.builds(lambda i, a: router(f"r{i}", f"172.17.{a}.{i + 1}/24"), numbers, numbers),
    st.builds(
        lambda i, n: calico("BGPPeer", f"b{i}", peerIP=f"10.0.0.{n}", asNumber=64512), numbers, numbers
    ),
    st.builds(lambda i: calico("BGPFilter", f"f{i}", exportV4=[{"action": "Reject"}]), numbers),
    st.builds(lambda mesh: calico("BGPConfiguration", "default", nodeToNodeMeshEnabled=mesh), st.booleans()),
)
"""Valid, and independent of each other: whatever their order, nothing collides."""


def key(document: Document) -> tuple[str, str]:
    return document["kind"], document["metadata"]["name"]


independent = st.lists(documents, max_size=12, unique_by=key)


@given(st.data(), independent)
def test_any_order_of_the_same_resources_ends_in_the_same_state(
    data: st.DataObject, wanted: list[Document]
) -> None:
    one, other = Cluster(), Cluster()
    for document in wanted:
        one.apply(document)
    for document in data.draw(st.permutations(wanted)):
        other.apply(document)
    assert one.state() == other.state()


@given(independent, independent)
def test_where_one_comes_from_does_not_matter(before: list[Document], wanted: list[Document]) -> None:
    """Applied over older states of themselves, resources end as if nothing had been there before."""
    keys = {key(document) for document in wanted}
    old, new = Cluster(), Cluster()
    for document in [*(document for document in before if key(document) in keys), *wanted]:
        old.apply(document)
    for document in wanted:
        new.apply(document)
    assert old.state() == new.state()


@given(independent)
def test_what_was_admitted_is_admitted_as_it_is(wanted: list[Document]) -> None:
    cluster = Cluster()
    for document in wanted:
        admitted = cluster.admit(document)
        assert cluster.admit(admitted) == admitted
        cluster.apply(document)
        assert cluster.admit(admitted) == admitted, "nothing collides with itself"
