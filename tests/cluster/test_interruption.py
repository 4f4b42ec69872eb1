"""A run that a signal ends."""

from __future__ import annotations

import signal

import pytest
import trio
import trio.testing

from cluster.interruption import interruptible


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_ends_what_runs_and_is_told(number: signal.Signals) -> None:
    received: list[int] = []
    ended = []

    async def run() -> None:
        try:
            await trio.sleep_forever()
        finally:
            ended.append("in peace")

    async with interruptible(received) as nursery:
        nursery.start_soon(run)
        await trio.testing.wait_all_tasks_blocked()
        signal.raise_signal(number)
        await trio.sleep_forever()
    assert received == [number]
    assert ended == ["in peace"]


async def test_what_is_still_running_ends_with_it() -> None:
    received: list[int] = []
    async with interruptible(received) as nursery:
        nursery.start_soon(trio.sleep_forever)
    assert received == []
