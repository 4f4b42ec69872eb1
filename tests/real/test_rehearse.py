"""A scenario on the real clock: shard processes are broken and mended as it says, and what comes of it is what it expects."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.real.clusters import PATIENCE, ROOT, Up, free_port

pytestmark = pytest.mark.slow

SCENARIO = """
apiVersion: lab.tortie/v1
kind: Scenario
metadata: {name: all-at-once}
spec:
  seed: 7
  holdTime: 6s
  cluster: {nodes: 5, off: [node-005]}
  steps:
    - name: broken
      when: converged
      do:
        - power-off: [node-003]
        - freeze: [node-004]
        - partition: {between: [[node-001], [node-002]]}
      expect:
        - converged: {within: 30s}
        - sessions: {nodes: [node-001], state: Established, count: 0}
        - routes: {nodes: [node-003], absent: ["192.168.0.0/16"]}
    - name: mended
      do:
        - start: [node-003, node-005]
        - thaw: [node-004]
        - heal: all
        - add-pods: {nodes: [node-001], count: 3}
        - delete-pods: {nodes: [node-002], count: 1}
        - label: {name: node-001, labels: {rack: a}}
        - apply: {apiVersion: projectcalico.org/v3, kind: Node, metadata: {name: late}, spec: {bgp: {ipv4Address: 10.77.0.99/16}}}
      expect:
        - converged: {within: 30s}
        - sessions: {nodes: all, state: Established, within: 30s}
        - loss: {pair: 30s}
    - name: a restart that nobody notices
      do:
        - restart: {nodes: [node-001, node-002], window: 1, down: 0.5s}
      expect:
        - loss: {pair: 0s}
        - converged: {within: 30s}
  expect:
    - ipam: sound
"""


def test_the_live_stage_is_a_stage(tmp_path: Path) -> None:
    path = tmp_path / "scenario.yaml"
    path.write_text(SCENARIO)
    command = ["rehearse", "--real", "--bgp-port", str(free_port()), "-o", "json", str(path)]
    done = subprocess.run(
        [sys.executable, "-m", "cluster", *command],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=2 * PATIENCE,
        check=False,
    )
    assert done.returncode in (0, 1), done.stderr
    [report] = json.loads(done.stdout)["rehearsals"]
    findings = [(step["name"], found) for step in report["steps"] for found in step["findings"]]
    assert [each for each in findings if not each[1]["ok"]] == []
    assert done.returncode == 0
    assert {"node-003", "node-005"} <= report["loss"]["powerless"].keys()
    assert report["loss"]["counted"] == 6 * 4 - 4, "who comes later has no pods"
    assert {"cut link", "no route"} <= report["loss"]["reasons"].keys()


def test_a_shard_that_dies_ends_it(tmp_path: Path) -> None:
    path = tmp_path / "scenario.yaml"
    path.write_text(
        "apiVersion: lab.tortie/v1\nkind: Scenario\nmetadata: {name: long}\n"
        "spec: {cluster: {nodes: 2}, steps: [{do: [{wait: 600s}]}]}\n"
    )
    command = ["rehearse", "--real", "--bgp-port", str(free_port()), "-o", "json", str(path)]
    with subprocess.Popen(
        [sys.executable, "-m", "cluster", *command],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            assert process.stderr is not None
            assert process.stderr.readline().startswith("long: ")  # the shards are there
            [shard] = [pid for pid in Up(process, {}).session() if pid != process.pid]
            os.kill(shard, signal.SIGKILL)
            out, err = process.communicate(timeout=PATIENCE)
        finally:
            process.kill()
    assert process.returncode == 2, err
    assert err.splitlines()[-1] == f"tortie: {path}: shard 1, which hosts 2 nodes, was killed by SIGKILL"
    [unplayed] = json.loads(out)["rehearsals"]
    assert unplayed["error"] == "shard 1, which hosts 2 nodes, was killed by SIGKILL"
