"""A change is tried on a copy of a cluster, in virtual time.

Owns ``try_change``, from a ``State`` and a ``Change`` to two pictures and what was lost between them:

    State ─► Virtual ─ boot ─► settled ─► picture ─┬─ the change ─► settled ─► picture
                                                   └─ sessions that fall and what pairs lose, from here on

Before anything is booted the change is written to a store that nobody looks at. What the cluster would refuse is
refused then, and nothing is tried.

Everything that is protocol takes its time: hold times, retries, the way of a message. What a computer needs to think
about it takes none here, so real nodes lose some milliseconds more.

Left out: what is made of it (``plan``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import attrs
import trio

from agents.journal import Event
from cluster.cleanup import Cleanup
from cluster.datastore.memory import MemoryStore
from cluster.loss.report import LossReport
from cluster.rehearsal.clock import run_virtual
from cluster.rehearsal.stage import Settled
from cluster.rehearsal.virtual import Virtual, timers_in_life
from cluster.whatif.change import Change, Written, carry_out
from cluster.whatif.picture import Picture, take
from cluster.whatif.state import State

WITHIN = 600.0
"""Seconds that the copy, and then the change, may take to settle: longer than every timer of Calico's."""

SESSIONS_WITHIN = 300.0
"""Seconds that sessions may still take when every table is right already. A failed one is dialled again after 60 at
most.
"""

LOOK = 5.0

Tell = Callable[[str], object]
"""What is going on, for somebody who waits."""


class Refused(Exception):
    """``written`` are those that a cluster would refuse."""

    def __init__(self, written: Sequence[Written]) -> None:
        super().__init__("; ".join(str(each.error) for each in written))
        self.written = tuple(written)


@attrs.frozen
class SessionEvent:
    """An end of a session, by the name of its stanza, went up or down."""

    at: float
    node: str
    peer: str
    up: bool


@attrs.frozen(kw_only=True)
class Trial:
    """Times are seconds since the first node of the copy was started; ``changed`` is when the change began, and the
    loss is counted from a moment before.
    """

    before: Picture
    after: Picture
    written: tuple[Written, ...]
    events: tuple[SessionEvent, ...]
    loss: LossReport
    changed: float
    copied: Settled
    settled: Settled


def try_change(
    state: State, change: Change, *, seed: int = 0, within: float = WITHIN, tell: Tell = lambda text: None
) -> Trial:
    """Raises Refused."""
    _check(state, change)
    return run_virtual(partial(_run, state, change, seed, within, tell), seed)


def _check(state: State, change: Change) -> None:
    store = MemoryStore(wall=lambda: state.time)
    state.fill(store)
    written = run_virtual(partial(carry_out, change, store, Cleanup(store, wall=lambda: state.time)), 0)
    refused = [each for each in written if each.error is not None]
    if refused:
        raise Refused(refused)


async def _run(state: State, change: Change, seed: int, within: float, tell: Tell) -> Trial:
    events: list[SessionEvent] = []
    watching = False

    def read(name: str, event: Event) -> None:
        if watching and event.reason in ("SessionUp", "SessionDown"):
            up = event.reason == "SessionUp"
            peer = event.message if up else event.message.partition(": ")[0]
            events.append(SessionEvent(virtual.now(), name, peer, up))

    async with trio.open_nursery() as nursery:
        virtual = Virtual(
            nursery,
            seed,
            env=state.env,
            timers=timers_in_life(state.hold_time),
            fill=state.fill,
            epoch=state.time,
            reader=read,
        )
        tell(f"a copy of {len(virtual.members()):,} nodes starts")
        copied = await _copy(virtual, state, within)
        tell("the copy has converged" if not copied.differences else "the copy does not converge")
        before = await take(virtual)
        account = await virtual.watch_loss()
        watching = True
        await virtual.sleep(LOOK)
        changed = virtual.now()
        cleanup = Cleanup(virtual.store, wall=lambda: state.time + trio.current_time())
        written = await carry_out(change, virtual.store, cleanup)
        tell("the change is made")
        settled = await _settle(virtual, within)
        tell("the change has settled" if not settled.differences else "the change does not settle")
        watching = False
        trial = Trial(
            before=before,
            after=await take(virtual),
            written=tuple(written),
            events=tuple(events),
            loss=account.report(virtual.now()),
            changed=changed,
            copied=copied,
            settled=settled,
        )
        nursery.cancel_scope.cancel()
    return trial


async def _copy(virtual: Virtual, state: State, within: float) -> Settled:
    """Whoever is stopped or frozen ran before: its kernel has what it had then."""
    members = {*virtual.members()}
    for name in state.off:
        if name in members:
            await virtual.power_off(name)
    for one, other in state.cut:
        if one in members and other in members:
            await virtual.cut(one, other)
    await virtual.boot(state.pods_per_node, last=state.ill)
    settled = await _settle(virtual, within)
    halted = [name for name in (*state.stopped, *state.frozen) if name in members]
    if halted:
        for name in halted:
            await (virtual.stop if name in state.stopped else virtual.freeze)(name)
        settled = await _settle(virtual, within)
    return settled


async def _settle(virtual: Virtual, within: float) -> Settled:
    """Every table exact, and every session up that can be: one that comes later is not what the change ends with."""
    settled = await virtual.settle(within)
    wanted = sum(count.sessions for count in virtual.expected().counts(virtual.members()).values())
    deadline = virtual.now() + SESSIONS_WITHIN
    while not settled.differences and virtual.now() < deadline:
        if sum(node.established for node in virtual.host.nodes.values()) >= wanted:
            break
        await virtual.sleep(LOOK)
        settled = await virtual.settle(within)
    return settled
