"""A small mesh under each attack, for a moment: nobody loses a session, changes arrive, memory is bounded."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from bench.siege import ATTACKS

ROOT = Path(__file__).parent.parent.parent


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_who_means_harm_disturbs_nobody_else() -> None:
    ended = subprocess.run(
        [ROOT / "run", "bench", "siege", "--nodes", "5", "--seconds", "1", "-o", "json"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    found = {each["attack"]: each for each in json.loads(ended.stdout)}
    assert [*found] == ["nobody", *ATTACKS]
    assert not any(each["sessions_lost"] for each in found.values())
    assert all(each["changes"] >= 2 and each["most"] < 30 for each in found.values())
    # The cache of decoded frames is bounded by 16 MB of frames (protocol.bgp.wire); the rest is Adj-RIBs-In and attributes.
    assert all(each["memory_mb"] < 80 for each in found.values())
    assert found["strangers"]["done"]["connections"] > 100
    assert found["strangers"]["descriptors"] < 20
    # Strangers are not let in, of a neighbour's many connections one or two are; who mutes or floods has his session.
    assert found["slow"]["descriptors"] <= 3 * 4
    assert found["mute"]["done"]["octets"] > 10_000
    assert found["flood"]["done"]["octets"] > 10_000
    assert not found["flood"]["done"]["notifications"]
