"""When a cluster in virtual time has come to rest, and whether it is right then.

Owns ``Quiet``, which is told whatever moves, and asks the oracle only when nothing has for a while: for a large cluster
an answer costs more than an hour in which nothing happens.

Routes without a stable state never come to rest. So it is asked in the midst of unrest too, ever more seldom; and once
the oracle has named such prefixes, what they do is no unrest.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable

import trio

from protocol.prefix import Prefix

QUIET = 1.0
"""Seconds without a movement after which it is worth asking what is wrong: nothing that is under way pauses for so
long, except for timers.
"""
RESTLESS = 2.0
"""Seconds of unrest after which it is asked all the same; then twice as many, and so on."""


class Quiet:
    """``look`` returns what is wrong, in words, and the prefixes that have no stable state, or several."""

    def __init__(self, look: Callable[[], tuple[list[str], Collection[Prefix]]]) -> None:
        self.moved_at = 0.0
        """When anything last moved, in seconds of the clock."""
        self._look = look
        self._moves = 0
        self._unsettled: Collection[Prefix] = ()

    def moved(self) -> None:
        self.moved_at = trio.current_time()
        self._moves += 1

    def programmed(self, prefixes: Iterable[Prefix]) -> None:
        """Somebody may have other routes for these."""
        if not self._unsettled or any(prefix not in self._unsettled for prefix in prefixes):
            self.moved()

    async def settle(self, within: float) -> list[str]:
        """Until nothing is wrong and nothing moves; what is wrong after ``within`` seconds otherwise."""
        now = trio.current_time()
        deadline, patience = now + within, RESTLESS
        look_at = now + patience
        judged = -1
        wrong: list[str] = []
        while True:
            quiet_at = self.moved_at + QUIET
            if now >= min(quiet_at, look_at, deadline) and judged != self._moves:
                if now >= look_at:
                    patience *= 2
                    look_at = now + patience
                judged = self._moves
                wrong, self._unsettled = self._look()
            if now >= deadline or (judged == self._moves and not wrong and now >= quiet_at):
                return wrong
            await trio.sleep_until(min(max(quiet_at, now + QUIET), deadline))
            now = trio.current_time()
