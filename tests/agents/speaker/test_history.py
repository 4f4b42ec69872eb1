"""The law of speakers: whatever happened, in the end each holds what its configuration and its neighbours' make it hold.

Two thousand drawn histories of speakers without trio (``tests.strategies.histories``); the oracle's fixpoint says what is right.
"""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.strategies.histories import History, histories, play


@pytest.mark.slow
@pytest.mark.timeout(480)  # of which hypothesis may take 300 to make an example small
@pytest.mark.parametrize("shape", ["internal", "reflectors", "external", "mixed"])
def test_any_history_ends_where_the_configuration_points(shape: str, depth: int) -> None:
    @settings(max_examples=500 * depth, report_multiple_bugs=False)
    @given(
        history=histories(shape=shape),
        clog=st.sampled_from((None, None, 0, 100)),
        seed=st.integers(0, 1000),
    )
    def law(history: History, clog: int | None, seed: int) -> None:
        assert play(history, seed=seed, clog=clog) == []

    law()
