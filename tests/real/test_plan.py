"""A running cluster is asked what a change would do: it is only read, and the answer comes true when the change is made."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from tests.real.clusters import Start
from tests.real.test_live import converged, done

pytestmark = pytest.mark.slow

MESH_OFF = """\
apiVersion: projectcalico.org/v3
kind: BGPConfiguration
metadata: {name: default}
spec: {asNumber: 64512, nodeToNodeMeshEnabled: false}
"""
REFUSED = """\
apiVersion: projectcalico.org/v3
kind: IPPool
metadata: {name: default-ipv4-ippool}
spec: {cidr: 10.0.0.0/16}
"""


def test_plan_apply_and_refuse(start: Start, tmp_path: Path) -> None:
    up = start("--nodes", "3", "--shards", "2", "--pods-per-node", "1", "--hold-time", "4")
    up.read_until("next: ")
    mesh_off, refused, to = tmp_path / "mesh-off.yaml", tmp_path / "refused.yaml", tmp_path / "to"
    mesh_off.write_text(MESH_OFF)
    refused.write_text(REFUSED)

    planned = up.ask("plan", "-f", str(refused))
    applied = up.ask("apply", "-f", str(refused))
    assert (planned.returncode, applied.returncode) == (2, 1)
    assert planned.stderr == applied.stderr
    assert "IPPool CIDR cannot be modified" in planned.stderr

    done(up, "fault", "power-off", "node-003")
    converged(up, 2)
    before = done(up, "get", "bgpconfig", "-o", "json")
    planned = up.ask("plan", "-f", str(mesh_off), "--to", str(to), "-o", "json")
    assert planned.returncode == 1, planned.stderr
    plan = json.loads(planned.stdout)
    assert plan["nodes"] == 3
    assert [(each["fate"], each["between"]) for each in plan["sessions"]] == [
        ("gone", ["node-001", "node-002"])
    ]
    assert sorted((each["source"], each["destination"]) for each in plan["pairs"]["lost"]) == [
        ("node-001", "node-002"), ("node-002", "node-001"),
    ]  # fmt: skip
    assert all(each["forGood"] for each in plan["pairs"]["lost"])
    assert done(up, "get", "bgpconfig", "-o", "json") == before, "it was only read"
    assert abs(json.loads((to / "state.json").read_text())["time"] - time.time()) < 300, (
        "IPAM's clock goes on"
    )
    again = up.ask("plan", "--from", str(to), "-f", str(mesh_off), "-o", "json")
    assert json.loads(again.stdout) == plan

    nobody = up.ask("apply", "--plan", "-f", str(mesh_off))
    assert (nobody.returncode, nobody.stderr.splitlines()[-1]) == (1, "tortie: nothing was applied")
    assert "2 pairs of nodes lose traffic for good" in nobody.stdout
    assert done(up, "get", "bgpconfig", "-o", "json") == before, "nobody said yes"
    yes = done(up, "apply", "--plan", "--yes", "-f", str(mesh_off))
    assert yes.endswith("Successfully applied 1 'BGPConfiguration' resource(s)\n")
    converged(up, 2)
    table = done(up, "ip", "route", "node-001")
    for change in plan["routes"]:
        if "node-001" in change["nodes"]:
            assert change["to"] == ""
            assert change["prefix"] not in table, "as planned"
    done(up, "down")
    assert up.end() == 0
