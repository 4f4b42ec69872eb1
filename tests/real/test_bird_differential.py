"""The proof against something that we did not write: real BIRD 1.6 daemons and the emulated ones agree about every route.

Every example is a cluster of up to six nodes in network namespaces and takes about a second. Of many more, with progress and
the smallest manifests that show a difference: ``./run bench differential --examples 500``, which sets EXAMPLES.
"""

from __future__ import annotations

import os
import sys

import pytest
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis.errors import FlakyFailure

from bench import bird16
from bench.differential import EXAMPLES
from tests.real.bird import namespaces
from tests.real.bird.differential import configurations, differences, load, settles
from tests.strategies.manifests import Drawn, manifests

PROGRAMS = bird16.find()
MISSING = bird16.INSTALL if PROGRAMS is None else namespaces.missing()
AT_LENGTH = int(os.environ.get(EXAMPLES, "0"))


class Different(Exception):
    pass


@pytest.mark.skipif(MISSING is not None and not AT_LENGTH, reason=str(MISSING))
@pytest.mark.slow
@pytest.mark.timeout(0 if AT_LENGTH else 600)
def test_real_daemons_know_what_emulated_ones_know() -> None:
    if PROGRAMS is None or MISSING is not None:
        pytest.fail(str(MISSING), pytrace=False)
    programs = PROGRAMS
    compared = 0
    seen: list[tuple[list[str], Drawn]] = []

    @settings(
        max_examples=AT_LENGTH or 25,
        phases=(Phase.reuse, Phase.generate, *((Phase.shrink,) if AT_LENGTH else ())),
        suppress_health_check=list(HealthCheck),
    )
    @given(manifests())
    def compare(drawn: Drawn) -> None:
        nonlocal compared
        resources = load(drawn.documents)
        assume(settles(configurations(resources, drawn.env)))
        found = differences(resources, drawn.env, programs)
        assume(found is not None)
        compared += 1
        if AT_LENGTH:
            print(f"\r{compared}/{AT_LENGTH}", end="", file=sys.stderr, flush=True)
        if found:
            seen.append((found, drawn))
            raise Different(found)

    again = ""
    try:
        compare()
    except FlakyFailure:
        if not seen:
            raise
        again = ", once, and none when tried again"
    except Different:
        pass
    if seen:
        # What is different comes first: logs are cut at their end.
        found, drawn = seen[-1]
        pytest.fail("\n".join([f"{len(found)} differences{again}:", *found, repr(drawn)]), pytrace=False)
