"""A scenario on the real clock: shard processes are broken and mended as it says, and what comes of it is what it expects."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.real.clusters import PATIENCE, ROOT, free_port

pytestmark = pytest.mark.slow

SCENARIO = """
apiVersion: lab.tortie/v1
kind: Scenario
metadata: {name: all-at-once}
spec:
  seed: 7
  holdTime: 3s
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
    assert {"cut link", "no route"} <= report["loss"]["reasons"].keys()
