"""The proof against something that we did not write: real BIRD 1.6 daemons and the emulated ones agree about every route.

Every example is a cluster of up to five nodes in network namespaces and takes about a second. Of many more:
``./run bench differential --examples 500``, which also finds the smallest manifests that show a difference.
"""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, Phase, assume, given, settings

from bench import bird16
from tests.real.bird import namespaces
from tests.real.bird.differential import configurations, differences, load, settles
from tests.strategies.manifests import Drawn, manifests

PROGRAMS = bird16.find()
MISSING = bird16.INSTALL if PROGRAMS is None else namespaces.missing()

pytestmark = [pytest.mark.skipif(MISSING is not None, reason=str(MISSING)), pytest.mark.slow]


@pytest.mark.timeout(600)
@settings(
    max_examples=25,
    deadline=None,
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
    suppress_health_check=list(HealthCheck),
)
@given(manifests())
def test_real_daemons_know_what_emulated_ones_know(drawn: Drawn) -> None:
    assert PROGRAMS is not None
    resources = load(drawn.documents)
    assume(settles(configurations(resources, drawn.env)))
    found = differences(resources, drawn.env, PROGRAMS)
    assert not found, "\n".join(found)
