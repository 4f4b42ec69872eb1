"""Selectors, labels, resources and texts that pass for manifests."""

from __future__ import annotations

import json
from collections.abc import Mapping
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import attrs
from hypothesis import strategies as st

from protocol.v3 import selector
from protocol.v3.codec import KINDS, Resource
from protocol.v3.selector import Operator, Selector

# Few labels and few values, so that selectors and label sets meet.
label_names = st.sampled_from(["a", "in", "has", "not", "rack", "example.com/a-b_c"])
label_values = st.sampled_from(["", "a", "b", "ab", "true", 'say "a"'])
labels = st.dictionaries(label_names, label_values, max_size=4)


def _combined(inner: st.SearchStrategy[Selector]) -> st.SearchStrategy[Selector]:
    several = st.lists(inner, min_size=2, max_size=3).map(tuple)
    return st.one_of(
        several.map(selector.And),
        several.map(selector.Or),
        inner.map(
            lambda operand: operand.operand if isinstance(operand, selector.Not) else selector.Not(operand)
        ),
    )


_leaves: st.SearchStrategy[Selector] = st.one_of(
    st.just(selector.All()),
    st.just(selector.Global()),
    st.builds(selector.Has, label_names),
    st.builds(selector.Compare, label_names, st.sampled_from(Operator), label_values),
    st.builds(selector.In, label_names, st.lists(label_values, max_size=3), st.booleans()),
)
selectors: st.SearchStrategy[Selector] = st.recursive(_leaves, _combined, max_leaves=8)

selector_texts = st.one_of(
    selectors.map(str),
    st.lists(
        st.sampled_from(
            [
                "a",
                "has(",
                "has(a)",
                "all()",
                "(",
                ")",
                "!",
                "&&",
                "||",
                "==",
                "!=",
                "in",
                "not in",
                "{",
                "}",
                ",",
                "'x'",
                '"y"',
                " ",
                "=",
                "&",
            ]
        ),
        max_size=12,
    ).map("".join),
    st.text(max_size=20),
)


# -- resources --------------------------------------------------------------------------------------------------------

_texts = st.sampled_from(["", "a", "192.168.0.0/26", "fd00::/64", "Größe", "1", "all()"])


_basic: Mapping[Any, st.SearchStrategy[Any]] = {
    str: _texts,
    int: st.integers(0, 1 << 40),
    bool: st.booleans(),
    NoneType: st.none(),
    Any: st.one_of(_texts, st.integers(0, 9)),
}


def _values(type_: Any) -> st.SearchStrategy[Any]:
    """Values of a declared type, whether or not they would pass its checks."""
    if hasattr(type_, "__metadata__"):  # Annotated
        return _values(get_args(type_)[0])
    if attrs.has(type_):
        return instances(type_)
    origin, args = get_origin(type_), get_args(type_)
    if origin is Literal:
        return st.sampled_from(args)
    if origin is tuple:
        return st.lists(_values(args[0]), max_size=2).map(tuple)
    if origin is Mapping:
        return st.dictionaries(_texts, _values(args[1]), max_size=2)
    if origin in (UnionType, Union):
        return st.one_of(*map(_values, args))
    return _basic[type_]


def instances(cls: type) -> st.SearchStrategy[Any]:
    """Instances of an attrs class with any of its fields set or left out."""
    hints = get_type_hints(cls, include_extras=True)
    required: dict[Any, st.SearchStrategy[Any]] = {}
    optional: dict[Any, st.SearchStrategy[Any]] = {}
    for field in attrs.fields(cls):
        (required if field.default is attrs.NOTHING else optional)[field.name] = _values(hints[field.name])
    return st.fixed_dictionaries(required, optional=optional).map(lambda values: cls(**values))


resources: Mapping[str, st.SearchStrategy[Resource]] = {
    kind: instances(info.cls) for kind, info in KINDS.items()
}


# -- texts ------------------------------------------------------------------------------------------------------------

_MANIFEST = """\
apiVersion: projectcalico.org/v3
kind: Node
metadata: &m
  name: node-1
  labels: {rack: yes, "n": 1.10}
spec:
  bgp:
    asNumber: 1.10
    ipv4Address: 10.0.0.1/16
---
apiVersion: v1
kind: List
items:
- apiVersion: projectcalico.org/v3
  kind: IPPool
  metadata: {<<: {name: a}}
  spec: {cidr: 10.0.0.0/8, blockSize: 26, nodeSelector: "has(rack)"}
- {"apiVersion": "projectcalico.org/v3", "kind": "BGPPeer", "metadata": {"name": "p"},
   "spec": {"peerIP": "[fd00::1]:179", "filters": [], "asNumber": "64512"}}
---
{kind: Cluster, apiVersion: kind.x-k8s.io/v1alpha4, nodes: [{role: worker}], networking: {podSubnet: 10.244.0.0/16}}
---
apiVersion: operator.tigera.io/v1
kind: Installation
metadata: {name: default}
spec: {calicoNetwork: {ipPools: [{cidr: 172.16.0.0/16, encapsulation: None}]}}
---
apiVersion: v1
kind: Node
metadata: {name: kind-worker, annotations: {projectcalico.org/IPv4Address: 10.0.0.2/24}}
status: {addresses: [{type: InternalIP, address: 10.0.0.2}]}
---
apiVersion: projectcalico.org/v3
kind: BGPConfiguration
spec: {exportFilter: [{action: Deny, matchExpression: "!has(10.244.0.0/16)"}]}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {clusterIP: 10.96.0.1, ports: [{port: 80}], sessionAffinity: None}
---
{apiVersion: lab.tortie/v1, kind: Router, metadata: {name: tor}, spec: {addresses: [10.0.0.9/24], asNumber: 65000}}
"""
_SNIPPETS = [
    "", "*m", "&m ", "<<: *m", "\n", "\n---\n", "  ", "\t", ":", ": ", "- ", "{", "}", "[", "]", '"', "'", "#", "!!int ", "!x ", "|", ">", "%", "~",
    "\x00", "\x85", "\ufeff", "\ud800", "\U0001f600", "\\ud83d", "null", "-1", "1e999", "9" * 40, "0x10", "yes", "List", "NodeList", "spec:", "items: 5", "/33", "v1", "Cluster", "worker2", "spec: []",
]  # fmt: skip


@st.composite
def _edited(draw: st.DrawFn) -> str:
    text = _MANIFEST
    for _ in range(draw(st.integers(0, 4))):
        start = draw(st.integers(0, len(text)))
        end = draw(st.integers(start, min(len(text), start + 30)))
        text = text[:start] + draw(st.sampled_from(_SNIPPETS)) + text[end:]
    return text


_FIELDS = """
kind metadata spec name labels cidr bgp items exportFilter nodes role networking podSubnet calicoNetwork ipPools status
addresses annotations
"""

_json_values = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(-9, 1 << 40), st.floats(allow_nan=False), st.text(max_size=5)
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(_FIELDS.split()),
            inner,
        ),
    ),
    max_leaves=10,
)


@st.composite
def _json_documents(draw: st.DrawFn) -> str:
    kinds = [*KINDS, "List", "NodeList", "Cluster", "Installation", "APIServer"]
    versions = [
        *{info.api_version for info in KINDS.values()},
        "kind.x-k8s.io/v1alpha4",
        "operator.tigera.io/v1",
    ]
    doc = {"apiVersion": draw(st.sampled_from(sorted(versions))), "kind": draw(st.sampled_from(kinds))}
    doc |= draw(
        st.dictionaries(
            st.sampled_from(["metadata", "spec", "status", "items", "kind", "nodes", "networking"]),
            _json_values,
        )
    )
    return json.dumps(doc)


manifest_texts = st.one_of(_edited(), _json_documents(), st.text(max_size=40))
