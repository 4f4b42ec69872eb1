"""What an account says of pairs, as what a change did."""

from __future__ import annotations

import attrs

from cluster.loss.report import Interval, LossReport, PairLoss
from cluster.whatif.pairs import compare_pairs, pair_lines

CHANGED = 10.0


def pair(source: str, destination: str, *times: tuple[float, float], for_good: bool = False) -> PairLoss:
    why = f"{source} has no route to {destination}'s"
    return PairLoss(
        source=source,
        destination=destination,
        seconds=sum(end - start for start, end in times),
        intervals=tuple(
            Interval(start=start, end=end, reason="no route", cause="no route", why=why)
            for start, end in times
        ),
        lost_at_end=for_good,
    )


def report(*pairs: PairLoss) -> LossReport:
    return LossReport(
        start=5.0,
        end=100.0,
        counted=12,
        lost_pairs=len(pairs),
        lost_at_end=sum(each.lost_at_end for each in pairs),
        total=sum(each.seconds for each in pairs),
        off=0.0,
        new=0.0,
        pairs=pairs,
        causes=(),
        timeline=(),
    )


def test_nobody_loses_anything() -> None:
    found = compare_pairs(report(), CHANGED)
    assert (found.lost, found.for_good, [*pair_lines(found)]) == ((), (), [])


def test_what_was_lost_before_is_not_the_change_s_doing() -> None:
    found = compare_pairs(
        report(
            pair("a", "b", (5.0, 100.0), for_good=True),
            pair("a", "c", (5.0, 11.0)),
            pair("b", "a", (10.0, 12.0), (20.0, 20.5)),
            pair("c", "a", (10.5, 100.0), for_good=True),
        ),
        CHANGED,
    )
    assert [(each.source, each.destination, each.seconds, each.for_good) for each in found.lost] == [
        ("c", "a", 89.5, True), ("b", "a", 2.5, False),
    ]  # fmt: skip
    assert found.before == (("a", "b"), ("a", "c"))
    assert found.regained == (("a", "c"),)
    assert [*pair_lines(found)] == [
        "1 of 12 pairs loses traffic and does not get it back: c -> a",
        "  c has no route to a's",
        "1 of 12 pairs loses traffic for 2.5 s: b -> a",
        "  b has no route to a's",
        "1 pair without traffic before the change has it now: a – c",
        "1 pair had no traffic before the change either",
    ]
    assert found.to_json()["lost"][1] == {
        "source": "b", "destination": "a", "seconds": 2.5, "forGood": False, "why": ["b has no route to a's"],
    }  # fmt: skip


def test_many_pairs_are_told_by_their_reason() -> None:
    many = [pair("hub", f"n{number}", (10.0, 10.0 + number)) for number in range(1, 6)]
    loop = attrs.evolve(many[0].intervals[0], reason="loop", why="x goes round: a, b")
    many[0] = attrs.evolve(many[0], intervals=(loop,))
    assert [*pair_lines(compare_pairs(report(*many), CHANGED))] == [
        "5 of 12 pairs lose traffic for up to 5 s, 15 s over all of them: hub with 5 others",
        "  4 pairs, no route; such as: hub has no route to n5's",
        "  x goes round: a, b",
    ]
