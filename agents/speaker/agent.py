"""The shell around a Speaker: one loop, one task, any network.

    reconcile ─► expect, send, close, dial ─► wait for events ─► Speaker.handle ─► again

Owns nothing but the order. Whoever wants a word with the speaker from outside sets a mark that ``reconcile`` looks at, and
calls ``links.wake()``.
"""

from __future__ import annotations

from collections.abc import Callable

import attrs
import trio

from agents.journal import REMEMBERED, Event, Journal
from agents.speaker.links import Links
from agents.speaker.speaker import Speaker


async def run(speaker: Speaker, links: Links, journal: Journal, reconcile: Callable[[], bool]) -> None:
    """Drive a speaker until ``reconcile`` says that its time is over. Its neighbours are told then: of one that merely vanished
    they would believe that it restarts (RFC 4724). When this is cancelled nobody is told anything.
    """
    while reconcile():
        _carry_out(speaker, links, journal)
        events = await links.wait(speaker.next_timer())
        speaker.handle(events, trio.current_time())
    speaker.configure(attrs.evolve(speaker.config, peers=()), trio.current_time())
    _carry_out(speaker, links, journal)


def _carry_out(speaker: Speaker, links: Links, journal: Journal) -> None:
    effects = speaker.take_effects()
    if effects.expect is not None:
        links.expect(effects.expect)
    for link, data in effects.sends.items():
        links.send(link, data)
    for link in effects.closes:
        links.close(link)
    for session, remote, port in effects.dials:
        speaker.dialled(session, links.dial(remote, port))
    if effects.events:  # of a neighbour that comes back over a new connection the old one is down before
        journal.add(effects.events)
    if effects.came_up:
        names = effects.came_up if journal.reader else effects.came_up[-REMEMBERED:]
        journal.add(Event("SessionUp", name) for name in names)
