"""Resources that shards watch, writes to a datastore, and messages of a stream."""

from __future__ import annotations

from hypothesis import strategies as st

from protocol.sync.messages import Call, Deltas, InSync, Message, Report, Return, Snapshot, Watch
from protocol.v3.ipam import BlockAffinity, BlockAffinitySpec, IPAMHandle, IPAMHandleSpec
from protocol.v3.ippool import EncapMode, IPPool, IPPoolSpec
from protocol.v3.metadata import Metadata, Resource
from protocol.v3.node import Node
from protocol.v3.workload import WorkloadEndpoint, WorkloadEndpointSpec

NODES = ("ant", "bee", "cat")

nodes = st.sampled_from(NODES)
node_sets = st.frozensets(nodes)
watches = st.builds(Watch, node_sets, st.booleans())


def node(name: str, **labels: str) -> Node:
    return Node(Metadata(name, labels=labels))


def affinity(name: str, node: str, cidr: str = "192.168.0.0/26") -> BlockAffinity:
    return BlockAffinity(Metadata(name), spec=BlockAffinitySpec(state="confirmed", node=node, cidr=cidr))


def endpoint(name: str, node: str, namespace: str = "default") -> WorkloadEndpoint:
    return WorkloadEndpoint(
        Metadata(name, namespace),
        spec=WorkloadEndpointSpec(
            orchestrator="k8s", workload=name, node=node, container_id="c", pod=name, endpoint="eth0"
        ),
    )


def pool(*, tunnel: bool) -> IPPool:
    """With a tunnel, Felix routes to other nodes."""
    mode: EncapMode = "Always" if tunnel else "Never"
    return IPPool(Metadata("pool"), spec=IPPoolSpec(cidr="192.168.0.0/16", vxlan_mode=mode))


def handle(name: str) -> IPAMHandle:
    return IPAMHandle(Metadata(name), spec=IPAMHandleSpec(handle_id=name))


names = st.sampled_from(("a", "b"))
# Few names, so that writes meet: a create finds one, an update moves a block to another node, a delete finds none.
resources: st.SearchStrategy[Resource] = st.one_of(
    st.builds(lambda name, value: node(name, value=value), nodes, names),
    st.builds(affinity, names, nodes),
    st.builds(endpoint, names, nodes, names),
    st.builds(handle, names),  # watched by nobody
    st.builds(pool, tunnel=st.booleans()),
)

writes = st.tuples(st.sampled_from(("put", "put", "delete")), resources)
"""("put" or "delete", what)."""

values: st.SearchStrategy[object] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.text(max_size=5)
    | st.binary(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)
_text = st.text(max_size=8)
_revisions = st.integers(0, 2**63)
_metadata = st.fixed_dictionaries({"name": _text}, optional={"namespace": _text, "labels": values})
documents = st.fixed_dictionaries({"kind": _text, "metadata": _metadata}, optional={"spec": values})
_many_documents = st.lists(documents, max_size=3).map(tuple)

messages: st.SearchStrategy[Message] = st.one_of(
    st.builds(Watch, st.frozensets(_text, max_size=3), st.booleans()),
    st.builds(Snapshot, _revisions, _many_documents),
    st.builds(InSync, _revisions),
    st.builds(
        Deltas, _revisions, _many_documents, st.lists(st.tuples(_text, _text, _text), max_size=3).map(tuple)
    ),
    st.builds(Call, _revisions, _text, values),
    st.builds(Return, _revisions, values, st.none() | st.tuples(_text, _text)),
    st.builds(Report, _text, values),
)


def cut(data: bytes, sizes: list[int]) -> list[bytes]:
    """``data`` in pieces of these sizes, the rest in one."""
    pieces = []
    for size in sizes:
        pieces.append(data[:size])
        data = data[size:]
    return [*pieces, data]
