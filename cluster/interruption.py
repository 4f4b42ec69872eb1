"""Ctrl-C and SIGTERM, in a run of trio that is to end well.

Owns ``interruptible``, a nursery that a signal ends, and ``Interrupted``, for whoever waits for the run. Signals are
received until the nursery has ended: a second one hinders nothing that the first one takes down, and has its usual
effect after that.
"""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio


class Interrupted(Exception):
    """SIGINT or SIGTERM came before the end."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


@asynccontextmanager
async def interruptible(received: list[int]) -> AsyncIterator[trio.Nursery]:
    """A nursery that is cancelled at its end, or by a signal, whose number is ``received`` then."""
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with trio.open_nursery() as nursery:

            async def stop() -> None:
                async for number in signals:
                    received.append(number)
                    nursery.cancel_scope.cancel()

            nursery.start_soon(stop)
            yield nursery
            nursery.cancel_scope.cancel()
