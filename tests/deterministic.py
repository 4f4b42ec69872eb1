"""One schedule per seed: the only place that touches trio's private switch for it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

import trio
from trio._core import _run

T = TypeVar("T")


def run_deterministic(main: Callable[[], Awaitable[T]], seed: int, clock: trio.abc.Clock | None = None) -> T:
    """``trio.run``, the tasks of each tick in an order that depends on the seed alone."""
    allowed, state = _run._ALLOW_DETERMINISTIC_SCHEDULING, _run._r.getstate()
    _run._ALLOW_DETERMINISTIC_SCHEDULING = True  # type: ignore[misc]  # Final, but read anew every tick
    _run._r.seed(seed)
    try:
        return trio.run(main, clock=clock)
    finally:
        _run._ALLOW_DETERMINISTIC_SCHEDULING = allowed  # type: ignore[misc]  # as above
        _run._r.setstate(state)
