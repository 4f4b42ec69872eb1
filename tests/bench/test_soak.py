"""Two minutes without rest for a small cluster on real TCP; and that growth is seen."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import attrs
import pytest

from bench.soak import Limits, Round, grown
from cluster.census import Census

ROOT = Path(__file__).parent.parent.parent
NODES = 6


@pytest.mark.first
@pytest.mark.slow
@pytest.mark.timeout(420)
def test_two_minutes_leave_nothing_behind() -> None:
    ended = subprocess.run(
        [ROOT / "run", "bench", "soak", "--nodes", str(NODES), "--minutes", "2", "-o", "json"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr + ended.stdout
    found = json.loads(ended.stdout)
    assert not found["wrong"]
    assert all(each["sessions"] == NODES * (NODES - 1) // 2 for each in found["rounds"])
    assert sum(found["done"].values()) >= 40


def rounds(count: int = 9) -> list[Round]:
    """Of a cluster whose datastore alone remembers something."""
    return [
        Round(
            at=10.0 * number,
            took=1.0,
            sessions=15,
            revision=100 * number,
            coordinator=Census(10, 50_000 + 600 * number, 20, 30_000_000),
            shards=Census(40, 60_000, 60, 40_000_000),
        )
        for number in range(count)
    ]


def test_the_same_again_is_no_growth() -> None:
    assert grown(rounds(), NODES, Limits()) == []


@pytest.mark.parametrize(
    ("field", "each_round", "said"),
    [
        ("tasks", 1, "tasks: 55 after the warm-up, 56 in the end"),
        ("descriptors", 1, "descriptors: 85 after the warm-up, 86 in the end"),
        ("objects", 2_000, "objects of the shards: 70,000 after the warm-up, 72,000 in the end"),
        ("memory", 10_000_000, "MB of memory: 120 after the warm-up, 130 in the end"),
    ],
)
def test_what_a_shard_keeps_of_every_round_is_growth(field: str, each_round: int, said: str) -> None:
    growing = [
        attrs.evolve(
            each,
            shards=attrs.evolve(each.shards, **{field: getattr(each.shards, field) + each_round * number}),
        )
        for number, each in enumerate(rounds())
    ]
    limits = Limits(objects_of_node=100, memory=0.0)
    assert grown(growing, NODES, limits) == [said]


def test_one_round_that_had_more_is_no_growth() -> None:
    found = rounds()
    found[-1] = attrs.evolve(found[-1], shards=Census(90, 600_000, 900, 400_000_000))
    assert grown(found, NODES, Limits()) == []
