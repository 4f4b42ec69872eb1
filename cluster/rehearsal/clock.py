"""Virtual time with one schedule a seed: the only place that touches trio's private switch for it.

Owns ``run_virtual``. In virtual time a clock stands still while anybody has something to do,
and jumps to the next deadline when nobody has: an hour costs what happens in it. The tasks of each tick run in an order
that the seed alone decides, so that a seed is a run, and another seed another order of the same causes.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import trio
from trio._core import _run
from trio.testing import MockClock

T = TypeVar("T")


def run_virtual(
    main: Callable[[], Awaitable[T]], seed: int, instruments: Sequence[trio.abc.Instrument] = ()
) -> T:
    """``trio.run`` from second 0 of a clock that jumps, the tasks of each tick in an order that depends on the seed alone."""
    allowed, state = _run._ALLOW_DETERMINISTIC_SCHEDULING, _run._r.getstate()
    _run._ALLOW_DETERMINISTIC_SCHEDULING = True  # type: ignore[misc]  # Final, but read anew every tick
    _run._r.seed(seed)
    try:
        return trio.run(main, clock=MockClock(autojump_threshold=0), instruments=instruments)
    finally:
        _run._ALLOW_DETERMINISTIC_SCHEDULING = allowed  # type: ignore[misc]  # as above
        _run._r.setstate(state)
