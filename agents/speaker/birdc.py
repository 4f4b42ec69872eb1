"""What birdc would answer on this node: a command's text in, BIRD 1.6.8's reply out.

Owns the client's part (keywords may be abbreviated as long as they stay unambiguous) and the daemon's (``show
status``, ``show protocols [all] [NAME | "pattern"]``, ``show route [all] [for X | PREFIX] [protocol P] [export P]
[primary] [count]``), in the row formats of BIRD's ``nest/proto.c``, ``nest/rt-table.c`` and ``proto/bgp/bgp.c``.

``answer`` returns what comes over BIRD's control socket, each line with its reply code, so that a program can tell
an answer from a refusal; ``birdc_reply.render`` does what birdc does with it: takes the codes off. The speaker's tables
come as values and as one callable. ``show route`` is ``birdc_route``, what changes a running BIRD (``enable``, ``disable``,
``restart``, ``reload``, ``configure``) is ``birdc_control``.

Differences from the daemon, on purpose: networks are sorted (BIRD prints them in the order of its hash table) and
times are UTC, as they are in a calico-node container. What prints rooms that this speaker does not have is refused as in a
restricted session (``birdc -r``), and so is any change to somebody who only looks.

Left out: filter expressions (``where``, ``filter``), ``preexport``, ``noexport`` and tables other than master.
"""

from __future__ import annotations

import re
import time

from agents.speaker import birdc_reply as reply
from agents.speaker import birdc_route as route
from agents.speaker.birdc_control import Control, change
from agents.speaker.birdc_reply import Line, Refusal, format_since, syntax_error
from agents.speaker.birdc_route import BUILT_IN, Routes
from agents.speaker.recovery import WAIT
from agents.speaker.status import BgpStatus, RouteStatus, SpeakerStatus
from protocol.prefix import format_address

BIRD_VERSION = "1.6.8"

_TOP = (
    "add", "configure", "debug", "delete", "disable", "down", "dump", "echo", "enable", "eval", "exit", "flush",
    "help", "mrtdump", "quit", "reload", "restart", "restrict", "show",
)  # fmt: skip
_SHOW = (
    "bfd", "interfaces", "memory", "ospf", "protocols", "rip", "roa", "route", "static", "status", "symbols",
)  # fmt: skip

_TOKEN = re.compile(r'\s*("[^"]*"|/|[^\s"/]+|.)')


def answer(command: str, status: SpeakerStatus, routes: Routes, control: Control | None = None) -> str:
    """The reply of this node's BIRD to one command, with reply codes. Never raises for what a user may type.

    ``control`` does what changes something; None refuses it.
    """
    try:
        lines = _dispatch(command, status, routes, control)
    except Refusal as refusal:
        lines = refusal.lines
    return reply.frame([Line(reply.WELCOME, f"BIRD {BIRD_VERSION} ready.")]) + reply.frame(lines)


# The client: which command is meant.


def _dispatch(command: str, status: SpeakerStatus, routes: Routes, control: Control | None) -> list[Line]:
    words = _TOKEN.findall(command.partition("#")[0].strip())
    verb = _expand(words, _TOP, "")
    if verb != "show":
        if control is None:
            raise Refusal(reply.DENIED, "Access denied")
        return change(verb, words[1:], status, control)
    noun = _expand(words[1:], _SHOW, "show ")
    rest = words[2:]
    if noun == "status":
        if rest:
            raise syntax_error()
        return _show_status(status)
    if noun == "protocols":
        return _show_protocols(rest, status, routes)
    if noun == "route":
        return route.show(route.parse(rest, status), status, routes)
    raise Refusal(reply.DENIED, f"Access denied (show {noun} is not answered)")


def _expand(words: list[str], choices: tuple[str, ...], before: str) -> str:
    word = words[0] if words else ""
    found = [choice for choice in choices if choice.startswith(word)] if word else []
    if not found:
        raise Refusal(reply.PARSE, "No such command. Press `?' for help.")
    # As in birdc, `roa` gives way, so that `sh ro` is `show route`.
    wanted = [choice for choice in found if choice != "roa"] or found
    if word in found or len(wanted) == 1:
        return word if word in found else wanted[0]
    expansions = (before + choice for choice in found)
    raise Refusal(reply.PARSE, "Ambiguous command, possible expansions are:", *expansions)


# show status


def _show_status(status: SpeakerStatus) -> list[Line]:
    def date(moment: float) -> str:
        return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(moment))

    return [
        Line(reply.VERSION, f"BIRD {BIRD_VERSION}"),
        Line(reply.UPTIME, f"Router ID is {format_address(status.router_id)}"),
        Line(reply.UPTIME, f"Current server time is {date(status.now)}"),
        Line(reply.UPTIME, f"Last reboot on {date(status.started)}"),
        Line(reply.UPTIME, f"Last reconfiguration on {date(status.reconfigured)}"),
        *(Line(reply.RECOVERY, text) for text in _recovery(status)),
        Line(reply.STATUS_END, "Daemon is up and running"),
    ]


def _recovery(status: SpeakerStatus) -> list[str]:
    if status.recovery_left is None:
        return []
    return [
        "Graceful restart recovery in progress",
        f"  Waiting for {sum(peer.locks_recovery for peer in status.peers)} protocols to recover",
        f"  Wait timer is {status.recovery_left:.0f}/{WAIT:.0f}",
    ]


# show protocols


def _show_protocols(words: list[str], status: SpeakerStatus, routes: Routes) -> list[Line]:
    details = bool(words) and "all".startswith(words[0])
    if details:
        words = words[1:]
    if len(words) > 1:
        raise syntax_error()
    wanted = route.protocol_filter(words[0], status) if words else lambda name: True
    # Only the protocols beside BGP need it: it is the whole table, with every path.
    table = routes() if details and any(wanted(name) for name, *_ in BUILT_IN) else []

    lines: list[Line] = []
    recovers = status.recovery_left is not None
    started = format_since(status.started, status.now)
    for name, kind, preference, output in BUILT_IN:
        if wanted(name):
            # A BIRD that recovers leaves the kernel as it is, and tells it nothing.
            held = recovers and name == route.KERNEL
            lines.append(_protocol_row(name, kind, "wait" if held else "up", started, ""))
            if details:
                exported = len(routes(export_to=name)) if name == route.KERNEL and not held else 0
                recovery = _gr_recovery(recovers, waiting=held)
                lines += _details(
                    _built_in_details(name, preference, output, table, exported, recovery=recovery)
                )
    for peer in status.peers:
        if wanted(peer.name):
            since = format_since(peer.since, status.now)
            info = f"{peer.bgp_state:<14}{peer.last_error}"
            lines.append(_protocol_row(peer.name, "BGP", peer.protocol_state, since, info))
            if details:
                held = peer.protocol_state == "wait"
                recovery = _gr_recovery(recovers, pending=peer.locks_recovery, waiting=held)
                lines += _details(_bgp_details(peer, recovery))
    if not lines:
        raise Refusal(reply.NO_MATCH, "No protocols match")
    heading = Line(reply.HEADING, "name     proto    table    state  since       info")
    return [heading, *lines, Line(reply.OK, "")]


def _protocol_row(name: str, kind: str, state: str, since: str, info: str) -> Line:
    return Line(reply.PROTOCOL, f"{name:<8} {kind:<8} {'master':<8} {state:<5}  {since:<10}  {info}")


def _details(texts: list[str]) -> list[Line]:
    return [Line(reply.DETAILS, text) for text in (*texts, "")]


def _statistics(
    updates_in: int, withdraws_in: int, updates_out: int, withdraws_out: int, filtered: int = 0
) -> list[str]:
    # What the export policy holds back is never offered to a peer.
    return [
        "  Route change stats:     received   rejected   filtered    ignored   accepted",
        f"    Import updates:     {updates_in:10} {0:10} {filtered:10} {0:10} {updates_in - filtered:10}",
        f"    Import withdraws:   {withdraws_in:10} {0:10} {'---':>10} {0:10} {withdraws_in:10}",
        f"    Export updates:     {updates_out:10} {0:10} {0:10} {'---':>10} {updates_out:10}",
        f"    Export withdraws:   {withdraws_out:10} {'---':>10} {'---':>10} {'---':>10} {withdraws_out:10}",
    ]


def _gr_recovery(recovers: bool, *, pending: bool = False, waiting: bool = False) -> list[str]:
    return [f"  GR recovery:   {' pending' * pending}{' waiting' * waiting}"] * recovers


def _built_in_details(
    name: str, preference: int, output: str, table: list[RouteStatus], exported: int, *, recovery: list[str]
) -> list[str]:
    imported = sum(entry.protocol == name for entry in table)
    preferred = sum(entry.protocol == name and entry.best for entry in table)
    return [
        f"  Preference:     {preference}",
        "  Input filter:   ACCEPT",
        f"  Output filter:  {output}",
        *recovery,
        f"  Routes:         {imported} imported, {exported} exported, {preferred} preferred",
        *_statistics(imported, 0, exported, 0),
    ]


def _bgp_details(peer: BgpStatus, recovery: list[str]) -> list[str]:
    lines = [
        "  Description:    Connection to BGP peer",
        "  Preference:     100",
        "  Input filter:   (unnamed)",
        "  Output filter:  (unnamed)",
        *recovery,
        f"  Routes:         {peer.imported} imported, {peer.exported} exported, {peer.preferred} preferred",
        *_statistics(
            peer.updates_received,
            peer.withdraws_received,
            peer.updates_sent,
            peer.withdraws_sent,
            peer.updates_filtered,
        ),
        f"  BGP state:          {peer.bgp_state}",
        f"    Neighbor address: {format_address(peer.address)}",
        f"    Neighbor AS:      {peer.peer_as}",
    ]
    if peer.restarting:
        lines.append("    Neighbor graceful restart active")
    if peer.restart_left:
        lines.append(f"    {'Restart timer:':<15}   {peer.restart_left:.0f}/-")
    if peer.protocol_state in ("up", "wait"):
        session = ["internal" if peer.internal else "external", "multihop"]
        if peer.rr_client:
            session.append("route-reflector")
        session += ["AS4"] * ("AS4" in peer.capabilities)
        session += peer.add_path
        lines += [
            f"    Neighbor ID:      {format_address(peer.peer_id) if peer.peer_id else '0.0.0.0'}",
            f"    Neighbor caps:    {' '.join(peer.capabilities)}",
            f"    Session:          {' '.join(session)}",
            f"    Source address:   {format_address(peer.local_address)}",
            f"    Hold timer:       {peer.hold_left:.0f}/{peer.hold_time:.0f}",
            f"    Keepalive timer:  {peer.keepalive_left:.0f}/{peer.keepalive_time:.0f}",
        ]
    if peer.last_error:
        lines.append(f"    Last error:       {peer.last_error}")
    return lines
