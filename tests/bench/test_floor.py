"""The floor: really as many connections as a mesh has, over the processes that up would take."""

from __future__ import annotations

import pytest

from bench.floor import floor, shards
from bench.rows import Case


def test_every_node_is_in_exactly_one_process() -> None:
    ranges = shards(200)
    assert len(ranges) >= 2
    assert [node for first, last in ranges for node in range(first, last + 1)] == list(range(1, 201))


@pytest.mark.slow
def test_a_tiny_floor_is_measured() -> None:
    run = floor(Case(bench="floor", nodes=6, sessions=15))
    assert 0 < run.wall_s < 30
    assert run.cpu_s
    assert run.cpu_s > 0
