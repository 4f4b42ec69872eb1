"""BIRD's control socket language: reply codes, refusals, and what birdc makes of a reply.

A reply is a list of (code, text). On the socket a line is ``CODE-text``, a further one of the same code starts with
a space, and the last one is ``CODE text``. ``frame`` writes that, ``render`` is the client that takes it apart.
"""

from __future__ import annotations

import time
from typing import NamedTuple

# Reply codes, those of BIRD's doc/reply_codes.
OK, WELCOME, READING, RECONFIGURED = 0, 1, 2, 3
ALREADY_DISABLED, DISABLED, ALREADY_ENABLED, ENABLED, RESTARTED = 8, 9, 10, 11, 12
STATUS_END, ROUTE_COUNT, RELOADING, CONFIGURATION_OK = 13, 14, 15, 20
RECOVERY = 24
VERSION, PROTOCOL, DETAILS, UPTIME, HEADING = 1000, 1002, 1006, 1011, 2002
ROUTE, ROUTE_DETAILS, ATTRIBUTES = 1007, 1008, 1012
NO_ROUTE, NO_MATCH, IS_DOWN, DENIED = 8001, 8003, 8005, 8007
PARSE, NOT_A_PROTOCOL = 9001, 9002

FIRST_REFUSAL = 8000
"""Reply codes from here on say that there is no answer."""

_RECENT = 20 * 3600
"""BIRD prints the time of what is younger than 20 hours, else the date (its default ``timeformat``)."""


class Line(NamedTuple):
    code: int
    text: str


class Refusal(Exception):
    """The reply to a command that gets no answer."""

    def __init__(self, code: int, *texts: str) -> None:
        super().__init__(*texts)
        self.lines = [Line(code, text) for text in texts]


def syntax_error() -> Refusal:
    return Refusal(PARSE, "syntax error")


def frame(lines: list[Line]) -> str:
    """One reply as it goes over the socket."""
    out: list[str] = []
    previous = -1
    for code, text in lines[:-1]:
        out.append(f" {text}\n" if code == previous else f"{code:04}-{text}\n")
        previous = code
    code, text = lines[-1]
    out.append(f"{code:04} {text}\n")
    return "".join(out)


def render(reply: str) -> tuple[str, int]:
    """What birdc prints of a reply, and the last reply code (``FIRST_REFUSAL`` and above: no answer)."""
    shown: list[str] = []
    code = OK
    for line in reply.splitlines():
        if line[:1] == " ":
            shown.append(line[1:])
            continue
        code = int(line[:4])
        if len(line) > 5:
            shown.append(line[5:])
    return "".join(f"{line}\n" for line in shown), code


def format_since(moment: float, now: float) -> str:
    """A time as BIRD's tables have it: the hour when it is recent, else the day. UTC."""
    return time.strftime("%H:%M:%S" if abs(now - moment) < _RECENT else "%Y-%m-%d", time.gmtime(moment))
