"""Few words for many things."""

from __future__ import annotations

import pytest

from cluster.whatif.words import between, counted, listed, seconds


def test_counted_and_listed() -> None:
    assert counted(1, "session") == "1 session"
    assert counted(19_900, "session") == "19,900 sessions"
    assert counted(2, "prefix", "prefixes") == "2 prefixes"
    assert listed(["a", "b", "c", "d"]) == "a, b, c, d"
    assert listed(["a", "b", "c", "d", "e"]) == "a, b, c and 2 more"


@pytest.mark.parametrize(
    ("time", "text"),
    [
        (0.0, "0 s"),
        (0.0005, "0.5 ms"),
        (0.9994, "999 ms"),
        (0.9996, "1 s"),
        (2.0341, "2.03 s"),
        (99.94, "99.9 s"),
        (99.99, "1 min 40 s"),
        (3725, "62 min 05 s"),
        (79_680, "22 h 08 min"),
    ],
)
def test_seconds(time: float, text: str) -> None:
    assert seconds(time) == text


def test_who_is_part_of_all_pairs_is_named() -> None:
    nodes = [f"n{index}" for index in range(9)]
    assert between([("a", "b")]) == "a – b"
    assert between([(min("n0", other), max("n0", other)) for other in nodes[1:]]) == "n0 with 8 others"
    clients = [(client, hub) for hub in ("r1", "r2") for client in nodes]
    assert between(clients) == "r1, r2 with 9 others"
    mesh = [(one, other) for one in nodes for other in nodes if one < other]
    assert between(mesh) == "among 9 nodes"
    assert between(mesh[:0]) == ""
