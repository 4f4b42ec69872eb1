"""The store: revisions, compare-and-swap, what is remembered."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from cluster.datastore.memory import Change, MemoryStore
from protocol.sync.errors import AlreadyExists, Compacted, Conflict, DatastoreError, Invalid, NotFound
from protocol.sync.messages import Document, key_of
from protocol.v3.metadata import Key

HISTORY = 4


def make_store(history: int = HISTORY) -> MemoryStore:
    return MemoryStore(wall=lambda: 1_800_000_000.0, history=history)


def doc(name: str, kind: str = "Node", namespace: str = "", **spec: object) -> Document:
    metadata = {"name": name, "namespace": namespace} if namespace else {"name": name}
    return {"apiVersion": "projectcalico.org/v3", "kind": kind, "metadata": metadata, "spec": spec}


def test_create_stamps_revision_uid_and_time() -> None:
    store = make_store()
    given_ = doc("a", x=1)
    before = copy.deepcopy(given_)
    stored = store.create(given_)
    other = store.create(doc("b"))
    assert given_ == before, "what was given is not changed"
    assert stored["metadata"]["resourceVersion"] == "1"
    assert other["metadata"]["resourceVersion"] == "2"
    assert stored["metadata"]["uid"] != other["metadata"]["uid"]
    assert stored["metadata"]["creationTimestamp"] == "2027-01-15T08:00:00Z"
    assert store.get("Node", "a") == stored == {**given_, "metadata": stored["metadata"]}
    assert store.revision == 2


def test_namespaces_and_kinds_keep_names_apart() -> None:
    store = make_store()
    for document in (
        doc("a"),
        doc("a", "IPPool"),
        doc("a", "WorkloadEndpoint", "x"),
        doc("a", "WorkloadEndpoint", "y"),
    ):
        store.create(document)
    assert store.get("WorkloadEndpoint", "a", "y")["metadata"]["namespace"] == "y"
    assert len(store.list("WorkloadEndpoint")) == 2
    with pytest.raises(NotFound):
        store.get("WorkloadEndpoint", "a")


def test_a_store_becomes_what_another_one_was() -> None:
    store = make_store()
    for name in ("b", "a", "gone"):
        store.create(doc(name))
    store.create(doc("x", "IPPool"))
    store.delete("Node", "gone")
    twin = make_store()
    twin.restore(store.revision, store.documents())
    assert twin.documents() == store.documents()
    assert [key_of(each)[2] for each in twin.documents()] == ["x", "a", "b"]
    with pytest.raises(Compacted):
        twin.watch(lambda change: None, 1)
    known = twin.get("Node", "a")
    assert twin.update({**known, "spec": {"x": 1}})["metadata"]["resourceVersion"] == str(store.revision + 1)
    assert twin.create(doc("new"))["metadata"]["uid"] not in {
        each["metadata"]["uid"] for each in store.documents()
    }


def test_list_is_in_key_order() -> None:
    store = make_store()
    for name in "b", "c", "a":
        store.create(doc(name))
    assert [document["metadata"]["name"] for document in store.list("Node")] == ["a", "b", "c"]
    assert store.list("IPPool") == []


def stale(store: MemoryStore) -> Document:
    """A document as it was before somebody else wrote."""
    old = store.create(doc("a"))
    store.update(old)
    return old


def remade(store: MemoryStore) -> Document:
    """A document with the right revision of a resource that was deleted and made again."""
    old = store.create(doc("a"))
    store.delete("Node", "a")
    new = store.create(doc("a"))
    return {**new, "metadata": {**new["metadata"], "uid": old["metadata"]["uid"]}}


@pytest.mark.parametrize(
    ("request_", "error", "text"),
    [
        (lambda s: s.get("Node", "x"), NotFound, "resource does not exist: Node(x) with error: <nil>"),
        (
            lambda s: s.delete("WorkloadEndpoint", "x", "ns"),
            NotFound,
            "resource does not exist: WorkloadEndpoint(ns/x) with error: <nil>",
        ),
        (
            lambda s: (s.create(doc("a")), s.create(doc("a"))),
            AlreadyExists,
            "resource already exists: Node(a)",
        ),
        (lambda s: s.update(stale(s)), Conflict, "update conflict: Node(a)"),
        (lambda s: s.update(remade(s)), Conflict, "update conflict: Node(a)"),
        (lambda s: s.delete("Node", key_of(stale(s))[2], "", "1"), Conflict, "update conflict: Node(a)"),
        (
            lambda s: s.create(s.create(doc("a"))),
            Invalid,
            "error with the following fields:\n"
            "-  Metadata.ResourceVersion = '1' (field must not be set for a Create request)\n"
            "-  Metadata.UID = '00000000-0000-4000-8000-000000000001' (field must not be set for a Create request)",
        ),
        (
            lambda s: s.update(
                {"kind": "Node", "metadata": {"name": "a", "resourceVersion": "1", "uid": "u"}}
            ),
            Invalid,
            "error with field Metadata.CreationTimestamp = '' (field must be set for an Update request)",
        ),
        (lambda s: s.changes_since(1), Invalid, "revision 1 is ahead of the datastore, which is at 0"),
    ],
)
def test_refusals_have_calicos_words(
    request_: Callable[[MemoryStore], object], error: type[DatastoreError], text: str
) -> None:
    with pytest.raises(error) as raised:
        request_(make_store())
    assert str(raised.value) == text


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"kind": "Node"},
        {"kind": "Node", "metadata": None},
        {"kind": "Node", "metadata": {}},
        {"kind": "Node", "metadata": {"name": ""}},
        {"kind": "Node", "metadata": {"name": ["a"]}},
        {"kind": [], "metadata": {"name": "a"}},
        {"kind": "Node", "metadata": {"name": "a", "namespace": 5}},
        ["Node", "a"],
    ],
)
def test_what_is_no_resource_is_refused(document: Document) -> None:
    store = make_store()
    for write in store.create, store.update:
        with pytest.raises(Invalid):
            write(document)
    assert store.revision == 0


def test_delete_without_a_revision_deletes_whatever_is_there() -> None:
    store = make_store()
    store.update(store.create(doc("a")))
    assert store.delete("Node", "a")["metadata"]["resourceVersion"] == "2"
    assert store.revision == 3
    assert store.find(("Node", "", "a")) is None


def test_watch_from_the_past_continues_into_the_present() -> None:
    store = make_store()
    store.create(doc("a"))
    seen: list[Change] = []
    first = store.create(doc("b"))
    cancel = store.watch(seen.append, revision=1)
    second = store.update({**first, "spec": {"x": 1}})
    store.delete("Node", "b")
    cancel()
    store.create(doc("c"))
    key = "Node", "", "b"
    assert seen == [
        Change(2, key, None, first),
        Change(3, key, first, second),
        Change(4, key, second, None),
    ]


def test_watch_from_a_compacted_revision_is_refused_and_does_not_watch() -> None:
    store = make_store(history=2)
    for name in "abc":
        store.create(doc(name))
    seen: list[Change] = []
    assert [change.revision for change in store.changes_since(1)] == [2, 3]
    with pytest.raises(Compacted, match="revision 0 has been compacted; the oldest is 1"):
        store.watch(seen.append, revision=0)
    store.create(doc("d"))
    assert seen == []


@given(st.integers(2, 6), st.data())
def test_of_those_who_read_one_revision_exactly_one_writes(writers: int, data: st.DataObject) -> None:
    """Every schedule of writers that each read, and then write what they read until it is accepted."""
    store = make_store()
    store.create(doc("counter", value=0))
    read: list[Document | None] = [None] * writers
    conflicts = 0
    done = 0
    while done < writers:
        who = data.draw(st.sampled_from([index for index in range(writers) if read[index] != {}]))
        mine = read[who]
        if mine is None:
            read[who] = store.get("Node", "counter")
            continue
        current = store.get("Node", "counter")
        try:
            store.update({**mine, "spec": {"value": mine["spec"]["value"] + 1}})
        except Conflict:
            assert mine != current
            conflicts += 1
            read[who] = None
        else:
            assert mine == current
            done += 1
            read[who] = {}  # this writer is done
    assert store.get("Node", "counter")["spec"]["value"] == writers, "no write was lost"
    assert store.revision == 1 + writers, "a refused write makes no revision"


class Store(RuleBasedStateMachine):
    """The store against a plain dict, and a watcher from every revision against both."""

    names = st.sampled_from(["a", "b"])
    kinds = st.sampled_from(["Node", "IPPool"])

    def __init__(self) -> None:
        super().__init__()
        self.store = make_store()
        self.model: dict[Key, Document] = {}
        self.states: list[dict[Key, Document]] = [{}]  # by revision
        self.live: dict[Key, Document] = {}
        self.store.watch(lambda change: replay(self.live, change))

    def wrote(self) -> None:
        self.states.append(dict(self.model))

    @rule(kind=kinds, name=names)
    def create(self, kind: str, name: str) -> None:
        key = kind, "", name
        if key in self.model:
            with pytest.raises(AlreadyExists):
                self.store.create(doc(name, kind))
        else:
            self.model[key] = self.store.create(doc(name, kind))
            self.wrote()

    @precondition(lambda self: self.model)
    @rule(data=st.data(), value=st.integers(), revision=st.integers(1, 20))
    def update(self, data: st.DataObject, value: int, revision: int) -> None:
        key = data.draw(st.sampled_from(sorted(self.model)))
        old = self.model[key]
        wanted = {
            **old,
            "spec": {"value": value},
            "metadata": {**old["metadata"], "resourceVersion": str(revision)},
        }
        if str(revision) == old["metadata"]["resourceVersion"]:
            self.model[key] = self.store.update(wanted)
            self.wrote()
        else:
            with pytest.raises(Conflict):
                self.store.update(wanted)

    @rule(kind=kinds, name=names)
    def delete(self, kind: str, name: str) -> None:
        if self.model.pop((kind, "", name), None) is None:
            with pytest.raises(NotFound):
                self.store.delete(kind, name)
        else:
            self.store.delete(kind, name)
            self.wrote()

    @invariant()
    def holds_what_was_written(self) -> None:
        assert self.store.revision == len(self.states) - 1
        for kind in "Node", "IPPool":
            assert self.store.list(kind) == [self.model[key] for key in sorted(self.model) if key[0] == kind]
        assert self.live == self.model

    @invariant()
    def any_remembered_revision_and_its_changes_make_the_present(self) -> None:
        for revision, state in enumerate(self.states):
            if self.store.revision - revision > HISTORY:
                with pytest.raises(Compacted):
                    self.store.changes_since(revision)
                continue
            then = dict(state)
            for change in self.store.changes_since(revision):
                assert then.get(change.key) == change.old
                replay(then, change)
            assert then == self.model


def replay(state: dict[Key, Document], change: Change) -> None:
    if change.new is None:
        del state[change.key]
    else:
        state[change.key] = change.new


TestStore = pytest.mark.slow(Store.TestCase)
