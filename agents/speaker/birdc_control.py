"""birdc's commands that change a running BIRD: ``enable``, ``disable``, ``restart``, ``reload [in|out]``, ``configure``.

Half of ``birdc``: ``change`` finds out whom a command means and says how it went, in BIRD 1.6.8's words (``nest/proto.c``,
``conf/conf.c``); who does it is behind ``Control``, which a Speaker on its clock is (``Operator``).

``configure`` finds nothing new: confd has told the speaker before anybody can ask. Left out: the protocols beside BGP, which
cannot be turned off here, and ``configure timeout``, ``undo``, ``down``.
"""

from __future__ import annotations

from typing import Protocol

import attrs

from agents.speaker import birdc_reply as reply
from agents.speaker.birdc_reply import Line, Refusal, syntax_error
from agents.speaker.birdc_route import BUILT_IN, protocol_filter
from agents.speaker.speaker import Speaker
from agents.speaker.status import SpeakerStatus
from protocol.prefix import IPV4


class Control(Protocol):
    """What can be done to one neighbour, by its name; False when there is nothing to do."""

    def enable(self, name: str) -> bool: ...
    def disable(self, name: str) -> bool: ...
    def restart(self, name: str) -> bool: ...
    def reload(self, name: str, *, into: bool, out: bool) -> bool: ...
    def configuration(self) -> str:
        """The path of the file that BIRD would read."""


@attrs.frozen
class Operator:
    """A speaker and the moment at which somebody types."""

    _speaker: Speaker
    _now: float

    def enable(self, name: str) -> bool:
        return self._speaker.enable(name, self._now)

    def disable(self, name: str) -> bool:
        return self._speaker.disable(name, self._now)

    def restart(self, name: str) -> bool:
        return self._speaker.restart(name, self._now)

    def reload(self, name: str, *, into: bool, out: bool) -> bool:
        return self._speaker.reload(name, self._now, into=into, out=out)

    def configuration(self) -> str:
        daemon = "bird" if self._speaker.config.family == IPV4 else "bird6"
        return f"/etc/calico/confd/config/{daemon}.cfg"


def change(verb: str, words: list[str], status: SpeakerStatus, control: Control) -> list[Line]:
    if verb == "configure":
        return _configure(words, control)
    if verb not in ("enable", "disable", "restart", "reload"):
        raise Refusal(reply.DENIED, f"Access denied ({verb} is not answered)")
    into = out = True
    if verb == "reload" and words[:1] in (["in"], ["out"]):
        into = words[0] == "in"
        out = not into
        words = words[1:]
    if len(words) != 1:
        raise syntax_error()
    everybody = words[0] == "all"
    wanted = protocol_filter('"*"' if everybody else words[0], status)
    names = [peer.name for peer in status.peers if wanted(peer.name)]
    if not names:
        if any(wanted(name) for name, *_ in BUILT_IN):
            raise Refusal(reply.DENIED, f"Access denied ({words[0]} is always there)")
        raise Refusal(reply.NO_MATCH, "No protocols match")
    off = {peer.name for peer in status.peers if peer.protocol_state == "down"}
    lines: list[Line] = []
    for name in names:
        if verb == "enable":
            done = control.enable(name)
            lines.append(
                Line(
                    reply.ENABLED if done else reply.ALREADY_ENABLED,
                    f"{name}: {'' if done else 'already '}enabled",
                )
            )
        elif verb == "disable" or name in off:
            done = control.disable(name) if verb == "disable" else False
            lines.append(
                Line(
                    reply.DISABLED if done else reply.ALREADY_DISABLED,
                    f"{name}: {'' if done else 'already '}disabled",
                )
            )
        elif verb == "restart":
            control.restart(name)
            lines.append(Line(reply.RESTARTED, f"{name}: restarted"))
        elif control.reload(name, into=into, out=out):
            lines.append(Line(reply.RELOADING, f"{name}: reloading"))
        # One that is not up has nothing to reload, and BIRD does not mention it.
    return [*lines, Line(reply.OK, "")]


def _configure(words: list[str], control: Control) -> list[Line]:
    reading = Line(reply.READING, f"Reading configuration from {control.configuration()}")
    if words == ["check"]:
        return [reading, Line(reply.CONFIGURATION_OK, "Configuration OK")]
    if words in ([], ["soft"]):
        return [reading, Line(reply.RECONFIGURED, "Reconfigured")]
    raise Refusal(reply.DENIED, "Access denied")
