"""Nodes and routers come, move and go while a cluster runs: real processes, real TCP, the command line."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.real.clusters import PATIENCE, Start, Up, free_port

pytestmark = pytest.mark.slow

ROUTER = """
apiVersion: lab.tortie/v1
kind: Router
metadata: {name: tor}
spec:
  addresses: [10.77.9.1/16, "fd00:77::901/112"]
  asNumber: 65001
  listenPort: 1179
  announce: [203.0.113.0/24, "2001:db8::/32"]
  neighbors: [{nodeSelector: all(), password: {secretKeyRef: {name: bgp, key: tor}}}]
---
apiVersion: projectcalico.org/v3
kind: BGPPeer
metadata: {name: tor}
spec: {peerIP: "10.77.9.1:1179", asNumber: 65001, password: {secretKeyRef: {name: bgp, key: tor}}}
---
apiVersion: projectcalico.org/v3
kind: BGPPeer
metadata: {name: tor6}
spec: {peerIP: "[fd00:77::901]:1179", asNumber: 65001, password: {secretKeyRef: {name: bgp, key: tor}}}
---
apiVersion: v1
kind: Secret
metadata: {name: bgp, namespace: calico-system}
stringData: {tor: ToR-and-back}
"""

NODE = """
apiVersion: projectcalico.org/v3
kind: Node
metadata: {name: late}
spec: {bgp: {ipv4Address: %s/16}}
"""


POOL = """
apiVersion: projectcalico.org/v3
kind: IPPool
metadata: {name: later}
spec: {cidr: 172.30.0.0/16}
"""


def done(up: Up, *command: str) -> str:
    answer = up.ask(*command)
    assert answer.returncode == 0, answer.stderr
    return answer.stdout


def until(up: Up, fits: Callable[[str], bool]) -> str:
    """The status when it is so."""
    deadline = time.monotonic() + PATIENCE
    while not fits(status := done(up, "status")):
        assert time.monotonic() < deadline, status
        time.sleep(0.1)  # each look is a process, and the cluster has better to do
    return status


def converged(up: Up, fibs: int) -> str:
    return until(up, lambda status: f"all {fibs} FIBs are exactly what the datastore asks for" in status)


def test_both_families_a_router_and_a_node_that_comes_moves_and_goes(start: Start, tmp_path: Path) -> None:
    manifest = tmp_path / "node.yaml"
    up = start("--nodes", "3", "--ip-family", "dual", "--shards", "2", "-f", "-", stdin=ROUTER)
    assert up.read_until("tortie:").startswith(
        "tortie: 3 nodes, 1 router, mesh and 6 explicit sessions: 12 sessions"
    )
    assert up.read_until("converged in ").endswith(": all 4 FIBs are exactly what the datastore asks for")
    up.read_until("next: ")
    assert "nodes     3/3 up\nrouters   1/1 up\nsessions  12/12 Established\n" in done(up, "status")
    assert done(up, "node", "status", "node-001").count("Established") == 6
    assert "203.0.113.0/24 via 10.77.9.1 proto bird\n" in done(up, "ip", "route", "node-001")
    six = done(up, "ip", "-6", "route", "node-001")
    assert "2001:db8::/32 via fd00:77::901 proto bird\n" in six
    assert six.count(" via fd00:77::") == 3
    assert "203.0.113.0/24" in done(up, "birdc", "tor", "show", "route")
    assert "2001:db8::/32" in done(up, "birdc", "-6", "tor", "show", "route")

    manifest.write_text(NODE % "10.99.0.1")
    done(up, "apply", "-f", str(manifest))
    assert "nodes     4/4 up\n" in converged(up, 5)
    assert done(up, "node", "status", "late").count("Established") == 4
    assert " via 10.99.0.1 " in done(up, "ip", "route", "node-001")

    manifest.write_text(NODE % "10.99.0.2")
    done(up, "apply", "-f", str(manifest))
    until(up, lambda _: " via 10.99.0.2 " in done(up, "ip", "route", "node-001"))
    assert "AddressMoved  from 10.99.0.1 to 10.99.0.2\n" in done(up, "events", "late")

    done(up, "delete", "-f", str(manifest))
    until(up, lambda status: "nodes     3/3 up\n" in status)
    assert up.ask("ip", "route", "late").returncode == 1
    assert "Mesh_10_99_0_2" in done(up, "events", "node-001")
    done(up, "delete", "router", "tor")
    assert "routers" not in converged(up, 3)
    in_vain = until(up, lambda status: "note      peers without a session: nobody is there" in status)
    assert "(node-001, node-002, node-003)\n" in in_vain
    assert up.ask("down").returncode == 0
    assert up.end() == 0


def test_a_node_that_cannot_listen_is_down_and_tries_again(start: Start, tmp_path: Path) -> None:
    port = free_port()
    up = start("--nodes", "2", port=port)
    up.read_until("next: ")
    manifest = tmp_path / "node.yaml"
    manifest.write_text(NODE % "10.77.0.200")
    with socket.socket() as squatter:
        squatter.bind(("127.77.0.200", port))
        squatter.listen()
        done(up, "apply", "-f", str(manifest))
        status = until(up, lambda status: "down: late" in status)
        why = f"cannot listen on 10.77.0.200 (127.77.0.200:{port}): Address already in use"
        assert f"note      {why} (late)\n" in status
        assert f"NodeDown  {why}\n" in done(up, "events", "late")
        assert up.ask("node", "status", "late").stderr == f"tortie: Calico process is not running: {why}\n"
        assert "not running on late" in up.ask("birdc", "late", "show", "status").stderr
        converged(up, 2)
    assert "nodes     3/3 up\n" in converged(up, 3)
    assert up.ask("down").returncode == 0
    assert up.end() == 0


def test_pods_without_an_address_are_said_and_get_one_when_there_is_a_pool(
    start: Start, tmp_path: Path
) -> None:
    up = start("--nodes", "1")
    up.read_until("next: ")
    done(up, "delete", "ippool", "default-ipv4-ippool")
    manifest = tmp_path / "resource.yaml"
    manifest.write_text(NODE % "10.77.0.200")
    done(up, "apply", "-f", str(manifest))
    lacking = "note      pods without an address: 2; late-pod-1: no configured Calico pools for node late"
    until(up, lambda status: lacking in status)
    manifest.write_text(POOL)
    done(up, "apply", "-f", str(manifest))
    until(up, lambda status: "pods without an address" not in status)
    assert done(up, "get", "wep", "-o", "custom-columns=NETWORKS").count("172.30.") == 2
    converged(up, 2)
    assert up.ask("down").returncode == 0
    assert up.end() == 0
