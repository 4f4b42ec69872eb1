"""The promise: whatever is done to a cluster, it always converges.

Three hundred drawn rehearsals, of the same values that scenario files are read to, played as ``rehearse`` plays them and looked
at as ``fuzz`` does. ``--depth N`` plays N times as many: what a night is for.
"""

from __future__ import annotations

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from cluster.fuzz.draw import scenarios
from cluster.fuzz.trial import attempt
from cluster.scenario.model import Scenario
from cluster.scenario.write import write

LARGE = 12
SMALL = 5, 7
"""Nodes at most. Two sizes, and not one twice: who gives hypothesis a seed has other examples of each all the same."""


def holds(examples: st.SearchStrategy[Scenario], count: int) -> None:
    """What fails is told as the file that ``rehearse`` plays; it is ``fuzz`` that has the time to make it smaller."""

    @settings(max_examples=count, phases=[Phase.generate])
    @given(examples)
    def law(scenario: Scenario) -> None:
        findings = attempt(scenario).findings
        assert not findings, "\n".join([*map(str, findings), write(scenario)])

    law()


@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.parametrize("most", SMALL)
@pytest.mark.parametrize("shape", ["mesh", "reflectors", "peers", "racks"])
def test_any_small_cluster(shape: str, most: int, depth: int) -> None:
    holds(scenarios(most=most, shapes=(shape,)), 36 * depth)


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_any_cluster(depth: int) -> None:
    holds(scenarios(most=LARGE), 20 * depth)
