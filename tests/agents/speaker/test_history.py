"""The law of speakers: whatever happened, in the end each holds what its configuration and its neighbours' make it hold.

Two thousand drawn histories of speakers without trio (``tests.strategies.histories``); the oracle's fixpoint says what is right.
"""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.strategies.histories import History, histories, play

seeds = st.integers(0, 1000)
clogs = st.sampled_from((None, None, 0, 100))


@pytest.mark.slow
@settings(max_examples=500, report_multiple_bugs=False)
@given(history=histories(shape="internal"), clog=clogs, seed=seeds)
def test_of_one_as(history: History, clog: int | None, seed: int) -> None:
    assert play(history, seed=seed, clog=clog) == []


@pytest.mark.slow
@settings(max_examples=500, report_multiple_bugs=False)
@given(history=histories(shape="reflectors"), clog=clogs, seed=seeds)
def test_behind_reflectors(history: History, clog: int | None, seed: int) -> None:
    assert play(history, seed=seed, clog=clog) == []


@pytest.mark.slow
@settings(max_examples=500, report_multiple_bugs=False)
@given(history=histories(shape="external"), clog=clogs, seed=seeds)
def test_of_an_as_each(history: History, clog: int | None, seed: int) -> None:
    assert play(history, seed=seed, clog=clog) == []


@pytest.mark.slow
@settings(max_examples=500, report_multiple_bugs=False)
@given(history=histories(shape="mixed"), clog=clogs, seed=seeds)
def test_of_everything(history: History, clog: int | None, seed: int) -> None:
    assert play(history, seed=seed, clog=clog) == []
