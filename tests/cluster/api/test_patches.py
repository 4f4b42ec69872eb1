"""The three kinds of patches: what they say, what they cannot say, and that they leave the old document alone."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.api.patches import JSON, MERGE, STRATEGIC, BadPatch, apply

keys = st.sampled_from(["a", "b", "c~d", "e/f"])
scalars = st.one_of(st.none(), st.booleans(), st.integers(0, 3), st.sampled_from(["", "x"]))
values = st.recursive(
    scalars, lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(keys, inner, max_size=3)), max_leaves=8
)  # fmt: skip
objects = st.dictionaries(keys, values, max_size=4)
without_null = st.recursive(
    scalars.filter(lambda value: value is not None),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(keys, inner, max_size=3)),
    max_leaves=8,
)


def service(*ports: dict[str, Any]) -> dict[str, Any]:
    return {"kind": "Service", "metadata": {"name": "web"}, "spec": {"ports": [*ports]}}


@given(objects, st.dictionaries(keys, without_null, max_size=4))
def test_a_merge_is_in_the_result_and_does_nothing_twice(
    document: dict[str, Any], patch: dict[str, Any]
) -> None:
    before = copy.deepcopy(document)
    merged = apply(MERGE, document, patch)
    assert document == before
    assert apply(MERGE, merged, patch) == merged
    for key, value in patch.items():
        if not isinstance(value, dict):
            assert merged[key] == value
    assert {key: merged[key] for key in document.keys() - patch.keys()} == {
        key: document[key] for key in document.keys() - patch.keys()
    }


@given(objects)
def test_null_removes(document: dict[str, Any]) -> None:
    assert apply(MERGE, document, dict.fromkeys(document)) == {}
    document = {"kind": "BGPPeer", **document}
    assert apply(STRATEGIC, document, dict.fromkeys(document.keys() - {"kind"})) == {"kind": "BGPPeer"}


@given(objects, st.dictionaries(keys, without_null, max_size=4))
def test_without_merge_keys_and_directives_strategic_is_merge(
    document: dict[str, Any], patch: dict[str, Any]
) -> None:
    document = {**document, "kind": "IPPool"}
    assert apply(STRATEGIC, document, patch) == apply(MERGE, document, patch)


def test_strategic_merges_lists_that_have_a_key() -> None:
    old = service({"port": 80, "name": "http"}, {"port": 443})
    new = apply(STRATEGIC, old, {"spec": {"ports": [{"port": 443, "name": "https"}, {"port": 53}]}})
    assert new["spec"]["ports"] == [
        {"port": 80, "name": "http"},
        {"port": 443, "name": "https"},
        {"port": 53},
    ]
    fewer = apply(STRATEGIC, old, {"spec": {"ports": [{"port": 80, "$patch": "delete"}]}})
    assert fewer["spec"]["ports"] == [{"port": 443}]
    other = apply(STRATEGIC, old, {"spec": {"ports": [{"$patch": "replace"}, {"port": 1}]}})
    assert other["spec"]["ports"] == [{"port": 1}]


def test_strategic_replaces_objects_when_told_to() -> None:
    node = {"kind": "Node", "spec": {"bgp": {"asNumber": 1, "ipv4Address": "10.0.0.1"}}}
    bgp = {"$patch": "replace", "ipv4Address": "10.0.0.2"}
    assert apply(STRATEGIC, node, {"spec": {"bgp": bgp}})["spec"] == {"bgp": {"ipv4Address": "10.0.0.2"}}


def test_calicos_lists_are_replaced() -> None:
    peer = {"kind": "BGPPeer", "spec": {"filters": ["a", "b"]}}
    assert apply(STRATEGIC, peer, {"spec": {"filters": ["c"]}})["spec"] == {"filters": ["c"]}


@pytest.mark.parametrize(
    ("operations", "expected"),
    [
        ([{"op": "add", "path": "/b", "value": 2}], {"a": [1, 2], "b": 2}),
        ([{"op": "add", "path": "/a/1", "value": 9}], {"a": [1, 9, 2]}),
        ([{"op": "add", "path": "/a/-", "value": 9}], {"a": [1, 2, 9]}),
        ([{"op": "remove", "path": "/a/0"}], {"a": [2]}),
        ([{"op": "replace", "path": "/a/0", "value": 9}], {"a": [9, 2]}),
        ([{"op": "move", "from": "/a", "path": "/x~1y"}], {"x/y": [1, 2]}),
        ([{"op": "copy", "from": "/a/1", "path": "/b"}], {"a": [1, 2], "b": 2}),
        ([{"op": "test", "path": "/a", "value": [1, 2]}, {"op": "remove", "path": "/a"}], {}),
    ],
)
def test_json_operations(operations: list[Any], expected: dict[str, Any]) -> None:
    assert apply(JSON, {"a": [1, 2]}, operations) == expected


@pytest.mark.parametrize(
    ("operations", "words"),
    [
        ({"op": "add"}, "a list of operations"),
        ([{"op": "add", "path": "/b"}], "operation 0: value is required"),
        ([{"op": "add", "path": "b", "value": 1}], "is not a JSON pointer"),
        ([{"op": "add", "path": "/b/c", "value": 1}], "there is no 'b'"),
        ([{"op": "add", "path": "/a/3", "value": 1}], "no index '3' in a list of 2"),
        ([{"op": "replace", "path": "/a/-", "value": 1}], "no index '-'"),
        ([{"op": "replace", "path": "/b", "value": 1}], "there is no 'b'"),
        ([{"op": "remove", "path": "/a/01"}], "no index '01'"),
        ([{"op": "remove", "path": ""}], "cannot be removed"),
        ([{"op": "test", "path": "/a/0", "value": True}], "test of /a/0 failed"),
        ([{"op": "move", "from": "/a", "path": "/a/0"}], "into itself"),
        ([{"op": "jump", "path": "/a"}], "unknown op 'jump'"),
        ([{"op": "remove", "path": "/a"}, {"op": "remove", "path": "/a"}], "operation 1: there is no 'a'"),
        ([{"op": "replace", "path": "", "value": 1}], "leaves no object"),
        ([7], "op is required"),
    ],
)
def test_json_operations_that_do_not_fit(operations: Any, words: str) -> None:
    document = {"a": [1, 2]}
    with pytest.raises(BadPatch, match=words):
        apply(JSON, document, operations)
    assert document == {"a": [1, 2]}


@pytest.mark.parametrize(
    ("patch", "words"),
    [
        ([], "must be an object"),
        ({"spec": {"ports": [{"name": "x"}]}}, "spec.ports: every entry needs its merge key port"),
        ({"spec": {"$retainKeys": ["ports"]}}, "spec: .retainKeys .* is not supported"),
    ],
)
def test_strategic_patches_that_cannot_be(patch: Any, words: str) -> None:
    with pytest.raises(BadPatch, match=words):
        apply(STRATEGIC, service({"port": 80}), patch)


@given(objects, keys, values)
def test_what_is_added_is_removed_again(document: dict[str, Any], key: str, value: Any) -> None:
    before = copy.deepcopy(document)
    path = "/" + key.replace("~", "~0").replace("/", "~1")
    added = apply(JSON, document, [{"op": "add", "path": path, "value": value}])
    assert added[key] == value
    removed = apply(JSON, added, [{"op": "remove", "path": path}])
    assert removed == {name: one for name, one in before.items() if name != key}
    assert document == before
