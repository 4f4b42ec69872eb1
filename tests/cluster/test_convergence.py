"""When it is worth judging, and when a cluster has converged."""

from __future__ import annotations

from cluster.convergence import MAX_DIFFERENCES, QUIET, Difference, Jury, Progress, Verdict

DIFFERENCE = Difference(node="n", prefix="10.0.0.0/26", expected="via 10.0.0.1", found="", why="w")


def verdict(revision: int = 7, missing: int = 0) -> Verdict:
    return Verdict(
        revision=revision,
        expected=10,
        programmed=10 - missing,
        missing=missing,
        extra=0,
        differences=(DIFFERENCE,) * missing,
    )


def test_a_verdict_survives_the_wire() -> None:
    assert Verdict.from_wire(verdict(missing=2).to_wire()) == verdict(missing=2)


def test_sums_keep_the_oldest_revision_and_a_readable_number_of_differences() -> None:
    total = verdict(7, missing=8) + verdict(5, missing=9)
    assert (total.revision, total.missing, total.equal) == (5, 17, False)
    assert len(total.differences) == MAX_DIFFERENCES


def test_a_shard_is_judged_when_it_has_what_is_expected() -> None:
    jury = Jury([0])
    jury.report(0, Progress(routes=9), now=1.0)
    assert not jury.ready(0, routes_expected=10, revision=7, now=1.01)
    jury.report(0, Progress(routes=10), now=1.02)
    assert jury.ready(0, routes_expected=10, revision=7, now=1.02)


def test_a_quiet_shard_is_judged_whatever_was_expected() -> None:
    jury = Jury([0])
    jury.report(0, Progress(routes=9), now=1.0)
    jury.report(0, Progress(routes=9), now=1.2)
    assert jury.ready(0, routes_expected=10, revision=7, now=1.0 + QUIET)


def test_a_good_word_is_not_asked_for_twice_but_for_a_newer_datastore() -> None:
    jury = Jury([0])
    jury.report(0, Progress(routes=10), now=1.0)
    jury.judge(0, verdict(7), Progress(routes=10), now=1.0)
    assert not jury.ready(0, routes_expected=10, revision=7, now=9.0)
    assert jury.ready(0, routes_expected=10, revision=8, now=9.0)


def test_a_good_word_is_asked_again_when_the_counts_have_moved_since() -> None:
    jury = Jury([0])
    jury.report(0, Progress(routes=10), now=1.0)
    jury.judge(0, verdict(7), Progress(routes=10), now=1.0)
    jury.report(0, Progress(routes=9), now=2.0)
    assert not jury.quiet(2.1)
    assert not jury.ready(0, routes_expected=10, revision=7, now=2.0)
    assert jury.quiet(2.0 + QUIET)
    assert jury.ready(0, routes_expected=10, revision=7, now=2.0 + QUIET)


def test_as_many_routes_with_another_content_are_judged_again() -> None:
    jury = Jury([0])
    jury.report(0, Progress(routes=10, version=3), now=1.0)
    jury.judge(0, verdict(7), Progress(routes=10, version=3), now=1.0)
    assert not jury.ready(0, routes_expected=10, revision=7, now=9.0)
    jury.report(0, Progress(routes=10, version=4), now=9.0)
    assert jury.ready(0, routes_expected=10, revision=7, now=9.0)


def test_a_word_is_current_until_the_counts_move() -> None:
    jury = Jury([0, 1])
    assert not jury.current
    for shard in (0, 1):
        jury.report(shard, Progress(routes=10), now=1.0)
        jury.judge(shard, verdict(7), Progress(routes=10), now=1.0)
    assert jury.current
    jury.report(1, Progress(routes=11), now=2.0)
    assert jury.converged(7)
    assert not jury.current


def test_a_bad_word_is_asked_again_when_something_moved_or_time_passed() -> None:
    jury = Jury([0])
    jury.report(0, Progress(routes=10), now=1.0)
    jury.judge(0, verdict(7, missing=1), Progress(routes=10), now=1.0)
    assert not jury.ready(0, routes_expected=10, revision=7, now=1.01)
    assert jury.ready(0, routes_expected=10, revision=7, now=1.0 + QUIET)
    jury.report(0, Progress(routes=10, session_ends=2), now=1.02)
    assert jury.ready(0, routes_expected=10, revision=7, now=1.02)


def test_counts_that_left_after_a_bad_word_but_came_before_it_are_news() -> None:
    jury = Jury([0])
    jury.report(0, Progress(routes=9), now=1.0)
    jury.report(0, Progress(routes=10), now=2.0)
    jury.judge(0, verdict(7, missing=1), Progress(routes=9), now=2.0)
    assert jury.ready(0, routes_expected=10, revision=7, now=2.0)


def test_the_last_words_know_better_than_the_last_reports() -> None:
    jury = Jury([0, 1])
    jury.report(0, Progress(routes=3, session_ends=1), now=1.0)
    jury.report(1, Progress(routes=5, session_ends=2), now=1.0)
    jury.judge(0, verdict(7), Progress(routes=10, session_ends=4), now=1.0)
    assert jury.judged == Progress(routes=15, session_ends=6)
    assert jury.progress == Progress(routes=8, session_ends=3)


def test_converged_is_every_living_shard_equal_at_the_last_revision() -> None:
    jury = Jury([0, 1])
    jury.judge(0, verdict(7), Progress(), now=1.0)
    assert not jury.converged(7)
    jury.judge(1, verdict(6), Progress(), now=1.0)
    assert not jury.converged(7)
    assert jury.converged(6)
    jury.dismiss(1)
    assert not jury.converged(7), "without the dead shard's nodes the others should hold something else"
    jury.judge(0, verdict(7), Progress(), now=2.0)
    assert jury.converged(7)
    jury.judge(0, verdict(8, missing=1), Progress(), now=2.0)
    assert not jury.converged(7)
    jury.dismiss(0)
    assert not jury.converged(7), "nobody is left to say so"
    jury.report(0, Progress(nodes=1), now=3.0)
    assert jury.progress == Progress(), "a late word of the dead counts nothing"
