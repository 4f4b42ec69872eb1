"""Real BIRD and the emulated one, given the same manifests, over and over: ``tests/real/test_bird_differential.py`` at length.

Owns ``run``, which draws, compares and, when something is different, shrinks it to the smallest manifests that show it.

The manifests and the harness are the test's, and so is what it needs: hypothesis, BIRD 1.6, root.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import attrs

from bench import bird16
from bench.rows import BenchError


@attrs.define
class Outcome:
    """``difference`` is in words, with the manifests; empty when there is none."""

    examples: int = 0
    seconds: float = 0.0
    difference: str = ""


def run(examples: int, seed: int, say: Callable[[str], None]) -> Outcome:
    """Raises BenchError when something that it needs is missing. ``say`` is told of every example."""
    try:
        import hypothesis  # noqa: PLC0415  # only the tests' requirements have it
    except ImportError:
        raise BenchError(
            "hypothesis is not installed: ./run test --co -q, which installs it, and again"
        ) from None
    from tests.real.bird import differential, namespaces  # noqa: PLC0415  # as above
    from tests.strategies.manifests import Drawn, manifests  # noqa: PLC0415  # as above

    programs = bird16.find()
    if programs is None:
        raise BenchError(bird16.INSTALL)
    if why := namespaces.missing():
        raise BenchError(why)
    outcome = Outcome()
    started = time.perf_counter()

    @hypothesis.seed(seed)
    @hypothesis.settings(
        max_examples=examples,
        deadline=None,
        database=None,
        print_blob=False,
        phases=(hypothesis.Phase.generate, hypothesis.Phase.shrink),
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(manifests())
    def compare(drawn: Drawn) -> None:
        resources = differential.load(drawn.documents)
        hypothesis.assume(differential.settles(differential.configurations(resources, drawn.env)))
        found = differential.differences(resources, drawn.env, programs)
        outcome.examples += 1
        outcome.seconds = time.perf_counter() - started
        if found:
            outcome.difference = "\n".join([*found, repr(drawn)])
        say(
            f"{outcome.examples}/{examples}, {outcome.seconds / outcome.examples:.2f} s each{', shrinking' if outcome.difference else ''}"
        )
        assert not found

    try:
        compare()
    except AssertionError:
        pass  # what is different has been kept
    return outcome
