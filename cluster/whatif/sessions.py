"""What becomes of sessions: which go, come, start again, or are asked for in vain.

Owns ``sessions_of`` (both ends of a session made one), ``Falls`` (how often and for how long a session was down while
somebody watched), and ``compare_sessions``. A session is told by who has it and the family, not by the names of BIRD's
stanzas: one that the mesh had and a BGPPeer has now is the same session, which started again.

Left out: why a session is down beyond BIRD's own words.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal

import attrs

from cluster.rehearsal.stage import SessionView
from cluster.whatif.words import between, counted, seconds

Ends = tuple[str, str, int]
"""Two names in order, and the family."""

ESTABLISHED = "Established"

Fate = Literal["gone", "new", "restarted", "failing"]


def ends_of(node: str, neighbour: str, family: int) -> Ends:
    return (min(node, neighbour), max(node, neighbour), family)


@attrs.frozen
class Session:
    """``why``: the words of an end that is not up."""

    up: bool
    why: str = ""


def sessions_of(views: Iterable[SessionView]) -> dict[Ends, Session]:
    """An end that is up has another that is. Of those that are not, one that says why is asked first."""
    found: dict[Ends, Session] = {}
    for view in views:
        ends = ends_of(view.node, view.neighbour, view.family)
        known = found.get(ends)
        if view.state == ESTABLISHED:
            found[ends] = _UP
        elif known is None or not (known.up or known.why):
            found[ends] = Session(up=False, why=f"{view.state} {view.error}".rstrip() if view.error else "")
    return found


_UP = Session(up=True)


@attrs.define
class Falls:
    """Of one session: how often it went down, and for how long in all. It is up while both of its ends are."""

    times: int = 0
    seconds: float = 0.0
    _down: set[str] = attrs.field(factory=set)
    _since: float = 0.0

    def end(self, now: float, node: str, *, up: bool) -> None:
        """One of its ends, ``node``'s, went up or down."""
        was = bool(self._down)
        if not up:
            if not was:
                self.times += 1
                self._since = now
            self._down.add(node)
            return
        self._down.discard(node)
        if was and not self._down:
            self.seconds += now - self._since


@attrs.frozen(kw_only=True)
class SessionChange:
    """``falls`` and ``seconds``: how often it went down meanwhile, and for how long until it was up again."""

    fate: Fate
    ends: Ends
    falls: int = 0
    seconds: float = 0.0
    why: str = ""

    def to_json(self) -> dict[str, Any]:
        one, other, family = self.ends
        found: dict[str, Any] = {"fate": self.fate, "between": [one, other], "family": family}
        if self.fate in ("restarted", "new"):
            found |= {"falls": self.falls, "seconds": round(self.seconds, 6)}
        return found | ({"why": self.why} if self.why else {})


def compare_sessions(
    before: Mapping[Ends, Session], after: Mapping[Ends, Session], falls: Mapping[Ends, Falls]
) -> list[SessionChange]:
    """In the order of their ends. What was not up before and is not asked for any more is no loss to anybody."""
    found: list[SessionChange] = []
    for ends in sorted({**before, **after}):
        old, new, fell = before.get(ends), after.get(ends), falls.get(ends, _NEVER)
        was, is_ = old is not None and old.up, new is not None and new.up
        fate: Fate
        why = ""
        if was and not is_:
            fate = "gone"
            why = new.why or "not up" if new is not None else ""
        elif is_ and not was:
            fate = "new"
        elif is_ and fell.times:
            fate = "restarted"
        elif new is not None and old is None:
            fate, why = "failing", new.why or "nobody is there, or does not ask for it"
        else:
            continue
        found.append(SessionChange(fate=fate, ends=ends, falls=fell.times, seconds=fell.seconds, why=why))
    return found


_NEVER = Falls()

_VERBS: Mapping[Fate, tuple[str, str]] = {
    "gone": ("goes", "go"),
    "new": ("comes", "come"),
    "restarted": ("starts again", "start again"),
    "failing": ("is asked for and does not come up", "are asked for and do not come up"),
}


def session_lines(changes: Sequence[SessionChange]) -> Iterator[str]:
    """A line a fate and reason."""
    groups: dict[tuple[Fate, str], list[SessionChange]] = {}
    for change in changes:
        groups.setdefault((change.fate, change.why), []).append(change)
    order = [*_VERBS]
    for (fate, why), members in sorted(
        groups.items(), key=lambda item: (order.index(item[0][0]), item[0][1])
    ):
        verb = _VERBS[fate][len(members) != 1]
        words = f"{counted(len(members), 'session')} {verb}"
        families = {each.ends[2] for each in members}
        if families == {6}:
            words += " (IPv6)"
        longest = max(each.seconds for each in members)
        often = max(each.falls for each in members)
        if fate == "restarted":
            words += f", down for {'up to ' if len(members) > 1 else ''}{seconds(longest)}"
            if often > 1:
                words += f", {'up to ' if len(members) > 1 else ''}{often} times"
        elif fate == "new" and often:
            words += f", and {'fall' if len(members) > 1 else 'falls'} again {often} times first"
        words += f": {between([each.ends[:2] for each in members])}"
        yield f"{words} ({why})" if why else words
