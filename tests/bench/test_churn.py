"""The changes of bench churn, made to a small real cluster."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from bench.churn import free_block
from bench.tortie import ROOT
from cluster.datastore.memory import MemoryStore
from protocol.v3.codec import encode
from protocol.v3.ipam import IPAMBlock, IPAMBlockSpec
from protocol.v3.ippool import IPPool, IPPoolSpec
from protocol.v3.metadata import Metadata


def test_the_last_block_that_nobody_has() -> None:
    store = MemoryStore(wall=lambda: 0.0)
    pool = IPPool(Metadata("pool"), IPPoolSpec(cidr="10.1.0.0/24", block_size=26))
    assert free_block(pool, store) == "10.1.0.192/26"
    store.create(
        encode(
            IPAMBlock(Metadata("taken"), IPAMBlockSpec(cidr="10.1.0.192/26", allocations=(), unallocated=()))
        )
    )
    assert free_block(pool, store) == "10.1.0.128/26"


def run(program: list[str]) -> None:
    """In a process of its own: it forks, which a test runner with threads must not."""
    ended = subprocess.run(
        [sys.executable, "-P", *program],
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    times = json.loads(ended.stdout)
    assert list(times) == ["announce", "withdraw", "kill"]
    assert all(0 < seconds < 30 for seconds in times.values())


@pytest.mark.slow
def test_every_change_arrives_and_is_judged_exact() -> None:
    run(["-m", "bench.churn", "4"])


@pytest.mark.slow
def test_what_shards_report_late_is_waited_for() -> None:
    """A verdict may be heard before the counts that it is of; the stop-watch goes by counts."""
    late = "import bench.live; bench.live.REPORT_INTERVAL = 1.3; bench.live.PATIENCE = 20"
    run(["-c", f"{late}; import json; from bench.churn import churn; print(json.dumps(churn(4)))"])
