"""Resources of a running cluster change, and the cluster follows: real processes, real TCP, the command line."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from tests.real.clusters import PATIENCE, Start, Up

pytestmark = pytest.mark.slow

MANIFEST = """
apiVersion: projectcalico.org/v3
kind: BGPFilter
metadata: {name: nothing-of-node-004}
spec:
  importV4: [{cidr: %s, matchOperator: Equal, action: Reject}]
---
apiVersion: projectcalico.org/v3
kind: BGPPeer
metadata: {name: to-the-reflector}
spec: {nodeSelector: '!has(reflector)', peerSelector: has(reflector), filters: [nothing-of-node-004]}
---
apiVersion: projectcalico.org/v3
kind: BGPConfiguration
metadata: {name: default}
spec: {nodeToNodeMeshEnabled: false}
"""


def done(up: Up, *command: str) -> str:
    answer = up.ask(*command)
    assert answer.returncode == 0, answer.stderr
    return answer.stdout


def resources(up: Up, *command: str) -> Any:
    return json.loads(done(up, "get", *command, "-o", "json"))


def revision(up: Up) -> str:
    found: str = resources(up, "nodes")["metadata"]["resourceVersion"]
    return found


def settled(up: Up) -> str:
    """The status when the cluster has converged on what the datastore asks for now."""
    deadline = time.monotonic() + PATIENCE
    while "FIBs are exactly what the datastore asks for" not in (status := done(up, "status")):
        assert time.monotonic() < deadline, status
    return status


def block_of(up: Up, node: str) -> str:
    """A node's only block, when it has one: its pods come after it."""
    deadline = time.monotonic() + PATIENCE
    while "blackhole" not in (routes := up.ask("ip", "route", node).stdout):
        assert time.monotonic() < deadline, routes
    (line,) = [line for line in routes.splitlines() if line.startswith("blackhole")]
    return line.split()[1]


def test_from_a_mesh_to_a_reflector_and_a_pool_that_goes(start: Start, tmp_path: Path) -> None:
    up = start("--nodes", "4")
    up.read_until("next: ")
    assert "sessions  6/6 Established" in settled(up)
    block = block_of(up, "node-004")
    manifest = tmp_path / "reflector.yaml"
    manifest.write_text(MANIFEST % block)

    patch = '{"spec": {"bgp": {"routeReflectorClusterID": "224.0.0.1"}}}'
    assert done(up, "patch", "node", "node-001", "-p", patch) == "Successfully patched 1 'Node' resource\n"
    assert "Successfully set label" in done(up, "label", "node", "node-001", "reflector=yes")
    assert done(up, "apply", "-f", str(manifest)) == "Successfully applied 3 resource(s)\n"
    assert "sessions  3/3 Established" in settled(up)
    for node in ("node-001", "node-002"):  # a peering's filters hold at both of its ends
        assert block not in done(up, "ip", "route", node)

    before = revision(up)
    assert done(up, "apply", "-f", str(manifest)) == "Successfully applied 3 resource(s)\n"
    assert revision(up) == before, "applied twice is applied once"

    change = '{"spec": {"importV4": []}}'
    done(up, "patch", "bgpfilter", "nothing-of-node-004", "-p", change)
    settled(up)
    assert f"{block} via" in done(up, "ip", "route", "node-002"), "a changed filter lets it in"

    pods = [pod["spec"]["ipNetworks"] for pod in resources(up, "wep")["items"]]
    assert (
        done(up, "delete", "ippool", "default-ipv4-ippool") == "Successfully deleted 1 'IPPool' resource(s)\n"
    )
    settled(up)
    routes = done(up, "ip", "route", "node-003")
    assert "blackhole" not in routes, "no block is anybody's any more"
    assert " via " not in routes, "and nobody announces one"
    assert routes.count("scope link") == 2, "its own pods are there, with their addresses"
    assert [pod["spec"]["ipNetworks"] for pod in resources(up, "wep")["items"]] == pods

    up.process.terminate()
    assert up.end() == 0


NODE = """
apiVersion: projectcalico.org/v3
kind: Node
metadata: {name: late, labels: {moves: "yes"}}
spec: {bgp: {ipv4Address: 10.77.0.77/16}}
---
apiVersion: lab.tortie/v1
kind: Router
metadata: {name: border}
spec:
  addresses: [10.77.9.9/16]
  asNumber: 65000
  announce: [203.0.113.0/24]
  neighbors: [{nodeSelector: "!has(moves)"}, {peerIP: 10.77.0.78, asNumber: 64512}]
---
apiVersion: projectcalico.org/v3
kind: BGPPeer
metadata: {name: border}
spec: {peerIP: 10.77.9.9, asNumber: 65000}
"""


def test_nodes_and_routers_come_move_and_go(start: Start, tmp_path: Path) -> None:
    up = start("--nodes", "3")
    up.read_until("next: ")
    manifest = tmp_path / "late.yaml"
    manifest.write_text(NODE)
    assert done(up, "apply", "-f", str(manifest)) == "Successfully applied 3 resource(s)\n"
    block = block_of(up, "late")
    assert "sessions  9/9 Established" in settled(up)  # a mesh of four, and the router with who does not move
    routes = done(up, "ip", "route", "node-001")
    assert "203.0.113.0/24 via 10.77.9.9" in routes
    assert f"{block} via 10.77.0.77" in routes

    done(up, "patch", "node", "late", "-p", '{"spec": {"bgp": {"ipv4Address": "10.77.0.78/16"}}}')
    assert "sessions  10/10 Established" in settled(up)
    assert f"{block} via 10.77.0.78" in done(up, "ip", "route", "node-001")
    refused = up.ask("patch", "node", "late", "-p", '{"spec": {"bgp": {"ipv4Address": "10.77.0.1"}}}')
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "is the address of node node-001 in this cluster" in refused.stderr

    assert done(up, "delete", "node", "late", "node-003") == "Successfully deleted 2 'Node' resource(s)\n"
    settled(up)
    assert "Lab_10_77_0_78: Received: Peer de-configured\n" in done(up, "events", "border")
    done(up, "delete", "router", "border")
    assert "sessions  1/1 Established" in settled(up)
    assert {pod["spec"]["node"] for pod in resources(up, "wep")["items"]} == {"node-001", "node-002"}
    assert block not in done(up, "ip", "route", "node-001")
    up.process.terminate()
    assert up.end() == 0
