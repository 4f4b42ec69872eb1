"""What is refused before anything is started, and what the nodes are told."""

from __future__ import annotations

from pathlib import Path

import pytest

import cluster.launch
from cluster.launch import Refused, prepare
from cluster.spec import Spec
from protocol.prefix import parse_address
from tests.real.clusters import free_port

SIGNED = """
apiVersion: projectcalico.org/v3
kind: BGPConfiguration
metadata: {name: default}
spec: {nodeMeshPassword: {secretKeyRef: {name: bgp, key: mesh}}}
---
apiVersion: projectcalico.org/v3
kind: BGPPeer
metadata: {name: tor}
spec: {peerIP: 10.9.9.9, asNumber: 65001, password: {secretKeyRef: {name: bgp, key: tor}}}
---
apiVersion: lab.tortie/v1
kind: Router
metadata: {name: tor}
spec:
  addresses: [10.9.9.9/24]
  asNumber: 65001
  listenPort: 1179
  neighbors: [{nodeSelector: all(), password: {secretKeyRef: {name: bgp, key: tor}}}]
---
apiVersion: v1
kind: Secret
metadata: {name: bgp, namespace: calico-system}
stringData: {tor: secret, mesh: secret}
"""


@pytest.fixture
def signed(tmp_path: Path) -> Spec:
    manifest = tmp_path / "signed.yaml"
    manifest.write_text(SIGNED)
    return Spec(nodes=2, bgp_port=free_port(), manifests=(str(manifest),))


def test_without_signatures_every_password_is_refused_by_its_field(
    signed: Spec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster.launch, "can_sign", lambda: False)
    with pytest.raises(Refused) as caught:
        prepare(signed)
    assert caught.value.problems == (
        "BGPPeer/tor: spec.password: this computer has no TCP MD5 signatures (RFC 2385)",
        "BGPConfiguration/default: spec.nodeMeshPassword: this computer has no TCP MD5 signatures (RFC 2385)",
        "Router/tor: spec.neighbors: this computer has no TCP MD5 signatures (RFC 2385)",
    )


def test_where_all_share_an_address_there_are_no_signatures_either(
    signed: Spec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster.launch, "has_wide_loopback", lambda: False)
    with pytest.raises(Refused, match="no TCP MD5 signatures"):
        prepare(signed)


def test_routers_are_prepared_like_nodes(signed: Spec, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster.launch, "can_sign", lambda: True)
    prepared = prepare(signed)
    assert prepared.endpoints.table[parse_address("10.9.9.9")][0].startswith("127.77.")
    assert {name for shard in prepared.plan.shards for name in shard} == {"node-001", "node-002", "tor"}
    assert prepared.env == {}


def test_nodes_without_ipv4_take_their_router_id_from_their_names() -> None:
    assert prepare(Spec(nodes=2, ip_family="ipv6", bgp_port=free_port())).env == {"CALICO_ROUTER_ID": "hash"}
    assert prepare(Spec(nodes=2, ip_family="dual", bgp_port=free_port())).env == {}
