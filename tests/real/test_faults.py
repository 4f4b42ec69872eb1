"""A running cluster is broken on purpose and mended: real processes, real TCP, the command line."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.real.clusters import PATIENCE, ROOT, Start
from tests.real.test_live import converged, done, until

pytestmark = pytest.mark.slow


def test_power_links_daemons_and_what_was_lost(start: Start) -> None:
    up = start("--nodes", "4", "--shards", "2", "--hold-time", "4")
    up.read_until("next: ")
    counting = subprocess.Popen(
        [sys.executable, "-m", "cluster", "loss", "-o", "json"],
        cwd=ROOT,
        env=up.environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    with counting:
        until(up, lambda _: "one count at a time" in up.ask("loss", "--for", "0.01").stderr)

        done(up, "fault", "stop", "node-004")
        assert " via 10.77.0.1 " in done(up, "ip", "route", "node-004"), "the kernel lives on"
        assert "calico-node is stopped on node-004" in up.ask("birdc", "node-004", "show", "status").stderr
        assert " via 10.77.0.4 " in done(up, "ip", "route", "node-001"), "it may restart"
        done(up, "fault", "start", "node-004")
        converged(up, 4)

        done(up, "fault", "freeze", "node-004")
        done(up, "fault", "cut", "node-002", "node-001")
        assert "without power: node-003\n" in done(up, "fault", "power-off", "node-003")
        assert up.ask("ip", "route", "node-003").returncode == 1
        assert " via 10.77.0.1 " in done(up, "ip", "route", "node-004")
        assert "it is frozen" in up.ask("node", "status", "node-004").stderr
        broken = converged(up, 2)
        assert "nodes     2/4 up; down: node-004, node-003\n" in broken
        assert "faults    without power: node-003\n" in broken
        assert "faults    cut: node-001 from node-002\n" in broken
        assert "Mesh_10_77_0_3: BGP Error: Hold timer expired" in done(up, "events", "node-001"), "all silent"

        done(up, "fault", "start", "node-003")
        done(up, "fault", "thaw", "node-004")
        assert done(up, "fault", "heal") == "no faults\n"
        assert "faults" not in converged(up, 4)

        counting.send_signal(2)
        text, _ = counting.communicate(timeout=PATIENCE)
    report = json.loads(text)
    assert counting.returncode == 0
    assert [*report["powerless"]] == ["node-003"]
    assert report["off"] > 0
    lost = {(pair["source"], pair["destination"]): pair for pair in report["pairs"]}
    assert {each["reason"] for each in lost["node-001", "node-002"]["intervals"]} == {"cut link", "no route"}
    assert up.ask("down").returncode == 0
    assert up.end() == 0
