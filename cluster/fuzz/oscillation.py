"""Routes that chase each other for ever: a state of everybody's tables that comes again and again.

Owns ``Looks`` (what everybody has chosen, look by look), ``Cycle`` (what comes again, prefix by prefix) and ``watch``,
which looks at a cluster in virtual time.

BGP has no memory but its tables and what is on its way. Where nobody changes anything, and all that everybody has
chosen for a prefix comes again, and what follows is what followed the last time, and so ``TIMES`` times in a row, it
will go on like that as long as nobody does anything: persistent oscillation (RFC 3345). Two reasons are known. MEDs are
only compared among the routes of one neighbouring AS, so that hiding one route changes the order of the others; and
filters may prefer each other's way in a ring. Either is the configuration's fault; that it is, the oracle has to say,
which finds no stable state then.

A cycle shorter than the time between two looks may look like another, longer one; it is a cycle all the same.

Left out: whose fault it is (``checks``).
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Final

import attrs

from agents.speaker.decision import Path
from agents.speaker.speaker import Speaker
from cluster.rehearsal.virtual import Virtual
from protocol.bgp.attributes import Attributes
from protocol.prefix import IPV4, IPV6, Prefix, format_address, format_prefix

TIMES: Final = 3
"""How often a cycle must have been seen: once may be chance, as the way from a change to a stable state has detours."""
LONGEST: Final = 64
"""States of a cycle. Those that are known have a handful."""

WATCHED: Final = 0.2
STEP: Final = 0.0001
"""Seconds, of links that take half a millisecond: nothing that goes round escapes."""
ENOUGH: Final = 250
"""Looks after which it is seen whether something goes round already."""

Choice = tuple[str, Attributes]
"""Whose route, and what it says."""
State = tuple[tuple[str, Choice | None], ...]
"""What each node has chosen for a prefix."""


@attrs.frozen(kw_only=True)
class Cycle:
    """``states`` follow one another, and the first one the last. ``nodes`` are those who change their minds."""

    prefix: Prefix
    nodes: tuple[str, ...]
    states: tuple[State, ...]
    seconds: float  # from a state until it comes again

    def __str__(self) -> str:
        who = " and ".join(filter(None, (", ".join(self.nodes[:-1]), self.nodes[-1])))
        mind = "changes its mind" if len(self.nodes) == 1 else "change their minds in turn"
        turns = "; then ".join(", ".join(self._turn(state)) for state in self.states)
        return f"{format_prefix(self.prefix)}: {who} {mind}, and all comes again after {self.seconds:.4g} s: {turns}"

    def _turn(self, state: State) -> Iterable[str]:
        """What those who change have now."""
        return (f"{name} {choice_words(choice)}" for name, choice in state if name in self.nodes)


def choice_words(choice: Choice | None) -> str:
    if choice is None:
        return "has none"
    whose, attributes = choice
    numbers = [str(number) for _, segment in attributes.as_path for number in segment]
    said = [
        f"next hop {format_address(attributes.next_hop)}" if attributes.next_hop else "",
        f"AS path {' '.join(numbers)}" if numbers else "",
        f"MED {attributes.med}" if attributes.med else "",
    ]
    return f"takes {whose}'s ({', '.join(filter(None, said))})"


def chosen(path: Path) -> Choice:
    return (path.source.value if path.peer is None else path.peer.config.name), path.attributes


@attrs.define
class Looks:
    """Of each prefix the states that it went through since it was first looked at, as far as the longest cycle needs
    them.
    """

    _now: float = 0.0
    _seen: dict[Prefix, list[tuple[float, State]]] = attrs.field(factory=dict)

    def look(self, now: float, speakers: Mapping[str, Speaker]) -> None:
        """``speakers`` of one address family, always the same ones."""
        self._now = now
        prefixes = dict.fromkeys(prefix for speaker in speakers.values() for prefix in speaker.rib.best)
        for prefix in dict.fromkeys((*self._seen, *prefixes)):
            state = tuple(
                (name, None if path is None else chosen(path))
                for name, speaker in speakers.items()
                for path in [speaker.rib.best.get(prefix)]
            )
            seen = self._seen.setdefault(prefix, [])
            if not seen or seen[-1][1] != state:
                seen.append((now, state))
                del seen[: -(TIMES + 1) * LONGEST]

    def cycles(self) -> list[Cycle]:
        found = []
        for prefix, seen in self._seen.items():
            length = period([state for _, state in seen])
            if not length:
                continue
            seconds = (seen[-1][0] - seen[-1 - length * (TIMES - 1)][0]) / (TIMES - 1)
            if self._now - seen[-1][0] <= seconds:  # else it has come to rest
                states = [state for _, state in seen[-length:]]
                found.append(
                    Cycle(
                        prefix=prefix,
                        nodes=_movers(states),
                        states=tuple(_from_the_first(states)),
                        seconds=seconds,
                    )
                )
        return found


def period(states: Sequence[Hashable]) -> int:
    """After how many states all comes again, if the latest ones have done so TIMES times; 0 when they have not."""
    for length in range(2, min(LONGEST, len(states) // TIMES) + 1):
        tail = states[-length * TIMES :]
        if all(tail[index] == tail[index % length] for index in range(length, len(tail))):
            return length
    return 0


def _movers(states: Sequence[State]) -> tuple[str, ...]:
    return tuple(
        name for index, (name, _) in enumerate(states[0]) if len({state[index][1] for state in states}) > 1
    )


def _from_the_first(states: Sequence[State]) -> list[State]:
    """A cycle has no beginning; it is told from the same one whenever it was noticed."""
    start = min(range(len(states)), key=lambda index: str(states[index]))
    return [*states[start:], *states[:start]]


async def watch(stage: Virtual, seconds: float = WATCHED, step: float = STEP) -> list[Cycle]:
    """What goes round on a stage in which nothing else happens meanwhile."""
    families = {
        family: {
            name: node.speakers[family]
            for name, node in sorted(stage.host.nodes.items())
            if family in node.speakers
        }
        for family in (IPV4, IPV6)
    }
    looks = {family: Looks() for family in families}
    for number in range(1, round(seconds / step) + 1):
        for family, speakers in families.items():
            looks[family].look(stage.now(), speakers)
        await stage.sleep(step)
        if number % ENOUGH == 0 and (found := [cycle for each in looks.values() for cycle in each.cycles()]):
            return found
    return []
