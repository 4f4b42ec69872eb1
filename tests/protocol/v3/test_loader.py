from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import example, given

from protocol.v3.bgp import BGPPeer
from protocol.v3.codec import encode
from protocol.v3.ippool import IPPool
from protocol.v3.lint import lint
from protocol.v3.loader import Loaded, ManifestError, Place, load, parse
from protocol.v3.node import Node
from tests.strategies import v3 as strategies

NODE = """\
apiVersion: projectcalico.org/v3
kind: Node
metadata:
  name: {name}
spec:
  bgp:
    ipv4Address: {address}
"""
POOL = """\
apiVersion: projectcalico.org/v3
kind: IPPool
metadata:
  name: {name}
spec:
  cidr: {cidr}
"""


def node(name: str, address: str) -> str:
    return NODE.format(name=name, address=address)


def pool(name: str, cidr: str) -> str:
    return POOL.format(name=name, cidr=cidr)


def documents(*texts: str) -> str:
    return "---\n".join(texts)


def report(text: str) -> list[str]:
    with pytest.raises(ManifestError) as caught:
        parse(text, "m.yaml")
    assert str(caught.value) == "\n".join(map(str, caught.value.problems))
    return str(caught.value).splitlines()


@given(strategies.manifest_texts)
@example("[" * 2000)
@example('{"a": "\ud800"}')
def test_any_text_is_loaded_or_refused(text: str) -> None:
    outcome = parsed(text)
    lint(outcome.resources if isinstance(outcome, Loaded) else ())
    if isinstance(outcome, ManifestError):
        assert outcome.problems
        assert all(problem.message and problem.file == "<text>" for problem in outcome.problems)
    else:
        # What was loaded is what its own documents load to.
        again = parse(json.dumps([encode(resource) for resource in outcome.resources]))
        assert again.resources == outcome.resources


def parsed(text: str) -> Loaded | ManifestError:
    try:
        return parse(text)
    except ManifestError as error:
        return error


def test_resources_and_places_in_order() -> None:
    loaded = parse(
        documents(node("b", "10.0.0.2/16"), pool("p", "10.0.0.0/8"), node("a", "10.0.0.1")), "m.yaml"
    )
    assert [resource.key for resource in loaded.resources] == [
        ("Node", "", "b"),
        ("IPPool", "", "p"),
        ("Node", "", "a"),
    ]
    assert loaded.places == (Place("m.yaml", 1), Place("m.yaml", 9), Place("m.yaml", 16))


def test_every_error_at_once_with_its_line() -> None:
    text = """\
apiVersion: projectcalico.org/v3
kind: Node
metadata:
  name: Node_1
  labels: {"a b": x}
spec:
  bgp:
    asNumber: 4294967296
    ipv4Address: 10.0.0.300
    routeReflectorClusterID: 7
    ipv4Adress: 10.0.0.1
  bgp: {}
---
apiVersion: projectcalico.org/v2
kind: IPPool
metadata: {name: p}
---
apiVersion: projectcalico.org/v3
kind: IPPool
metadata: []
spec:
  natOutgoing: "yes"
  ipipMode: always
  blockSize: 26.0
  allowedUses: Tunnel
  nodeSelector: has(
---
apiVersion: projectcalico.org/v3
kind: IPPool
metadata: {name: q}
spec:
  cidr: 10.0.0.1/8
"""
    assert report(text) == [
        "m.yaml:4: Node/Node_1: metadata.name: 'Node_1' is not a valid name: lower-case letters, digits, '-' and '.', "
        "at most 253, beginning and ending with a letter or digit",
        "m.yaml:5: Node/Node_1: metadata.labels[\"a b\"]: 'a b' is not a valid label key",
        "m.yaml:8: Node/Node_1: spec.bgp.asNumber: AS number 4294967296 is not in 1..4294967295",
        "m.yaml:9: Node/Node_1: spec.bgp.ipv4Address: '10.0.0.300' is neither an IP address nor one with its prefix length",
        "m.yaml:10: Node/Node_1: spec.bgp.routeReflectorClusterID: expected text, found the number 7; "
        'to mean the text, quote it: "7"',
        "m.yaml:11: Node/Node_1: spec.bgp.ipv4Adress: unknown field; did you mean ipv4Address?",
        "m.yaml:12: Node/Node_1: spec.bgp: the key stands here a second time, first on line 7",
        "m.yaml:14: IPPool/p: apiVersion: expected projectcalico.org/v3, found 'projectcalico.org/v2'",
        "m.yaml:20: IPPool: metadata: expected an object, found a list",
        "m.yaml:21: IPPool: spec.cidr: required, but missing",
        "m.yaml:22: IPPool: spec.natOutgoing: expected true or false, found the text 'yes'",
        "m.yaml:23: IPPool: spec.ipipMode: expected one of Never, Always, CrossSubnet; found the text 'always'",
        "m.yaml:24: IPPool: spec.blockSize: expected an integer, found the number 26.0",
        "m.yaml:25: IPPool: spec.allowedUses: expected a list, found the text 'Tunnel'",
        "m.yaml:26: IPPool: spec.nodeSelector: invalid selector: expected a label, found the end at character 5",
        "m.yaml:32: IPPool/q: spec.cidr: '10.0.0.1/8' has host bits set: 10.0.0.0/8 is the network",
    ]


def test_a_kind_that_nobody_knows() -> None:
    (line,) = report("{apiVersion: apps/v1, kind: Deployment, metadata: {name: web}}")
    assert line.startswith(
        "m.yaml:1: Deployment/web: kind: unknown kind 'Deployment'; known are BGPConfiguration, "
    )


def test_conflicts_name_both_places() -> None:
    text = documents(
        node("a", "10.0.0.1/16"),
        node("a", "10.0.0.2"),
        node("b", "10.0.0.1"),
        pool("p", "10.0.0.0/8"),
        pool("q", "10.1.0.0/16"),
    )
    assert report(text) == [
        "m.yaml:12: Node/a: metadata.name: a second Node of this name; the first is at m.yaml:1",
        "m.yaml:23: Node/b: spec.bgp.ipv4Address: 10.0.0.1 is the address of node a at m.yaml:1",
        "m.yaml:37: IPPool/q: spec.cidr: 10.1.0.0/16 overlaps with IPPool p, 10.0.0.0/8, at m.yaml:25",
    ]


def test_an_invalid_resource_still_counts_for_the_others() -> None:
    peer = """\
apiVersion: projectcalico.org/v3
kind: BGPPeer
metadata: {name: p}
spec: {peerIP: 10.0.0.1, asNumber: 1, filters: [f, g]}
---
apiVersion: projectcalico.org/v3
kind: BGPFilter
metadata: {name: f}
spec: {importV4: [{}]}
---
apiVersion: projectcalico.org/v3
kind: BGPPeer
metadata: {name: p}
spec: {asNumber: 0}
"""
    assert report(peer) == [
        "m.yaml:4: BGPPeer/p: spec.filters[1]: BGPFilter(s) not found: g",
        "m.yaml:9: BGPFilter/f: spec.importV4[0].action: required, but missing",
        "m.yaml:13: BGPPeer/p: metadata.name: a second BGPPeer of this name; the first is at m.yaml:1",
        "m.yaml:14: BGPPeer/p: spec.asNumber: AS number 0 is not in 1..4294967295",
    ]


def test_syntax_errors_do_not_hide_the_documents_before() -> None:
    first, second = report(documents(node("N", "10.0.0.1"), "a: b: c\n"))
    assert first.startswith("m.yaml:4: Node/N: metadata.name:")
    assert second.startswith("m.yaml:9: invalid YAML:")


def test_lists() -> None:
    text = """\
apiVersion: v1
kind: List
metadata: {resourceVersion: ""}
items:
- {apiVersion: projectcalico.org/v3, kind: Node, metadata: {name: a}}
- {apiVersion: projectcalico.org/v3, kind: Node, metadata: {name: b}}
---
apiVersion: projectcalico.org/v3
kind: NodeList
items:
- metadata: {name: c}
---
- {apiVersion: projectcalico.org/v3, kind: Node, metadata: {name: d}}
---
{apiVersion: v1, kind: List, items: null}
"""
    assert [resource.metadata.name for resource in parse(text).resources] == ["a", "b", "c", "d"]


def test_lists_gone_wrong() -> None:
    text = """\
apiVersion: v2
kind: List
items: 5
extra: 1
items: 6
---
apiVersion: projectcalico.org/v3
kind: NodeList
---
[1]
"""
    assert report(text) == [
        "m.yaml:1: List: apiVersion: expected v1",
        "m.yaml:3: List: items: a list of resources is required",
        "m.yaml:4: List: extra: unknown field; known are apiVersion, kind, metadata, items",
        "m.yaml:5: List: items: the key stands here a second time, first on line 3",
        "m.yaml:7: NodeList: items: a list of resources is required",
        "m.yaml:10: expected a resource, found a single value",
    ]


def test_json() -> None:
    loaded = parse(
        '[{"apiVersion":"projectcalico.org/v3","kind":"Node",\n\t"metadata":{"name":"a","annotations":{"x":"\\ud83d\\ude00\\/"}}}]'
    )
    assert loaded.resources[0].metadata.annotations == {"x": "😀/"}


def test_bare_scalars_in_labels() -> None:
    text = "apiVersion: projectcalico.org/v3\nkind: Node\nmetadata:\n  name: a\n  labels: {a: true, b: yes, c: 1.10, d: 007, e: }\n"
    assert parse(text).resources[0].metadata.labels == {
        "a": "true",
        "b": "true",
        "c": "1.10",
        "d": "007",
        "e": "",
    }


@pytest.mark.parametrize(
    ("written", "number"),
    [
        ("64512", 64512),
        ('"64512"', 64512),
        ("1.10", 65546),
        ('"1.10"', 65546),
        ("0.1", 1),
        ("4294967295", 4294967295),
        ("65535.65535", 4294967295),
    ],
)
def test_as_numbers(written: str, number: int) -> None:
    text = f"apiVersion: projectcalico.org/v3\nkind: BGPPeer\nmetadata: {{name: p}}\nspec: {{peerIP: 10.0.0.1, asNumber: {written}}}\n"
    (peer,) = parse(text).resources
    assert isinstance(peer, BGPPeer)
    assert peer.spec.as_number == number


@pytest.mark.parametrize(
    "written",
    ["0", "4294967296", "-1", "1.65536", "65536.1", "0.0", "1.2.3", "1e3", "true", "x", "1.", "[1]"],
)
def test_no_as_numbers(written: str) -> None:
    text = f"apiVersion: projectcalico.org/v3\nkind: BGPPeer\nmetadata: {{name: p}}\nspec: {{peerIP: 10.0.0.1, asNumber: {written}}}\n"
    (problem,) = report(text)
    assert problem.startswith("m.yaml:4: BGPPeer/p: spec.asNumber: ")


def test_what_a_server_wrote_is_dropped() -> None:
    text = """\
apiVersion: projectcalico.org/v3
kind: Node
metadata:
  name: a
  creationTimestamp: null
  resourceVersion: "17"
  uid: 8e7f
  generation: 2
  managedFields: [{manager: kubectl, fieldsV1: {f:spec: {}}, n: 1}]
spec:
"""
    assert (
        parse(text).resources
        == parse("{apiVersion: projectcalico.org/v3, kind: Node, metadata: {name: a}}").resources
    )


def test_namespaces() -> None:
    endpoint = """\
apiVersion: projectcalico.org/v3
kind: WorkloadEndpoint
metadata: {name: n--1-k8s-p-eth0%s}
spec: {node: n-1, orchestrator: k8s, pod: p, endpoint: eth0, ipNetworks: [10.0.0.1/32]}
"""
    assert parse(endpoint % "").resources[0].metadata.namespace == "default"
    assert parse(endpoint % ", namespace: x").resources[0].metadata.namespace == "x"
    assert len(parse(documents(endpoint % "", endpoint % ", namespace: x")).resources) == 2
    assert (
        "a second WorkloadEndpoint" in report(documents(endpoint % "", endpoint % ", namespace: default"))[0]
    )
    text = "{apiVersion: projectcalico.org/v3, kind: Node, metadata: {name: a, namespace: x}}"
    assert report(text) == ["m.yaml:1: Node/a: metadata.namespace: Node is in no namespace"]


# -- files ------------------------------------------------------------------------------------------------------------


def test_files_directories_and_standard_input(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "b.yml").write_text(node("b", "10.0.0.2"))
    (tmp_path / "d" / "a.yaml").write_text("\ufeff" + node("a", "10.0.0.1"))
    (tmp_path / "d" / "c.json").write_text(
        '{"apiVersion": "projectcalico.org/v3", "kind": "Node", "metadata": {"name": "c"}}'
    )
    (tmp_path / "d" / "README.md").write_text("# no manifest")
    (tmp_path / "pools").write_text(pool("p", "10.0.0.0/8"))
    loaded = load([str(tmp_path / "pools"), "-", str(tmp_path / "d")], stdin=node("s", "10.0.0.9").encode())
    assert [resource.metadata.name for resource in loaded.resources] == ["p", "s", "a", "b", "c"]
    assert [type(resource) for resource in loaded.resources] == [IPPool, Node, Node, Node, Node]
    assert loaded.places[1] == Place("<stdin>", 1)
    assert loaded.places[2] == Place(str(tmp_path / "d" / "a.yaml"), 1)


def test_no_sources_are_no_resources() -> None:
    assert load([]) == Loaded()


def test_standard_input_is_utf_8_in_every_locale() -> None:
    assert load(["-"], b"\xef\xbb\xbf" + node("a", "10.0.0.1").encode()).resources
    with pytest.raises(ManifestError, match=r"^<stdin>:2: not UTF-8: invalid continuation byte$"):
        load(["-"], b"a: b\nc: \xe4\n")


def test_errors_of_files_come_in_the_order_of_the_files(tmp_path: Path) -> None:
    (tmp_path / "z.yaml").write_text(node("Z", "10.0.0.1"))
    (tmp_path / "a.yaml").write_text("# nothing\n")
    (tmp_path / "latin.yaml").write_bytes(b"a: b\nc: \xe4\n")
    (tmp_path / "empty").mkdir()
    names = ["z.yaml", "missing.yaml", "a.yaml", "latin.yaml", "empty", "nul\0"]
    with pytest.raises(ManifestError) as caught:
        load([str(tmp_path / name) for name in names])
    places = [str(problem).removeprefix(f"{tmp_path}/").split(": ")[0] for problem in caught.value.problems]
    assert places == ["z.yaml:4", "missing.yaml", "a.yaml", "latin.yaml:2", "empty", "nul\0"]
    messages = [problem.message for problem in caught.value.problems]
    assert messages[1:5] == [
        "No such file or directory",
        "no resources in this file",
        "not UTF-8: invalid continuation byte",
        "no *.yaml, *.yml, *.json in this directory",
    ]
