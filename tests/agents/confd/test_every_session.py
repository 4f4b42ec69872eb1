"""A BGPFilter for every session of the cluster, which is what ``exportFilter`` becomes."""

from __future__ import annotations

from agents.speaker.config import PeerConfig
from protocol.v3.loader import parse
from tests.strategies.confd import config_of

MANIFEST = """\
kind: Cluster
apiVersion: kind.x-k8s.io/v1alpha4
nodes: [{role: control-plane}, {role: worker}]
---
apiVersion: projectcalico.org/v3
kind: BGPConfiguration
spec:
  exportFilter: [{action: Deny, matchExpression: "!has(10.244.0.0/16)"}]
---
apiVersion: projectcalico.org/v3
kind: BGPFilter
metadata: {name: a}
spec:
  exportV4: [{action: Accept}]
  importV4: [{action: Reject}]
---
apiVersion: projectcalico.org/v3
kind: BGPPeer
metadata: {name: border}
spec: {peerIP: 172.18.0.99, asNumber: 64999, filters: [a, exportfilter-default]}
"""


def test_it_comes_first_on_every_session_and_the_mesh_has_it_too() -> None:
    peers = _peers()
    mesh, border = peers["Mesh_172_18_0_3"], peers["Global_172_18_0_99"]
    assert [filter_.name for filter_ in mesh.export_filters] == ["exportfilter-default"]
    assert not mesh.import_filters
    assert [filter_.name for filter_ in border.export_filters] == ["exportfilter-default", "a"]
    assert [filter_.name for filter_ in border.import_filters] == ["a"]


def _peers() -> dict[str, PeerConfig]:
    config = config_of("kind-control-plane", *parse(MANIFEST).resources)
    return {peer.name: peer for peer in config.peers}
