"""``show route``: its words, and the rows of BIRD 1.6.8's ``nest/rt-table.c`` and ``proto/bgp/attrs.c``.

Half of ``birdc``: ``parse`` reads what stands behind ``show route``, ``show`` answers it. What is exported to kernel1 may
have several gateways: it is the one multipath route that BIRD's ``merge paths`` makes of all.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Protocol

import attrs

from agents.speaker import birdc_reply as reply
from agents.speaker.birdc_reply import Line, Refusal, format_since, syntax_error
from agents.speaker.config import UPLINK
from agents.speaker.decision import UNKNOWN_METRIC, RouteSource
from agents.speaker.status import RouteStatus, SpeakerStatus
from protocol.bgp.attributes import AS_SET, DEFAULT_LOCAL_PREF, Attributes, Origin
from protocol.prefix import (
    Prefix,
    format_address,
    format_prefix,
    host_prefix,
    make_prefix,
    network_int,
    parse_address,
    sort_key,
)

# Name, kind, preference and output filter of the protocols that every calico-node's BIRD runs beside BGP.
KERNEL = RouteSource.KERNEL.value
BUILT_IN = (
    ("static1", "Static", 200, "REJECT"),
    (KERNEL, "Kernel", 10, "calico_kernel_programming"),
    ("device1", "Device", 240, "REJECT"),
    ("direct1", "Direct", 240, "REJECT"),
)

_SYMBOL = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_DOTTED = re.compile(r"\d+\.\d+\.\d+\.\d+")

_TYPES = {
    RouteSource.STATIC: "static",
    RouteSource.KERNEL: "inherit",
    RouteSource.DIRECT: "device",
    RouteSource.BGP: "BGP",
}
_ORIGINS = {Origin.IGP: ("i", "IGP"), Origin.EGP: ("e", "EGP"), Origin.INCOMPLETE: ("?", "Incomplete")}


class Routes(Protocol):
    """``Inspector.routes``: all routes, those of one prefix, or those exported to one protocol."""

    def __call__(
        self, *, prefix: Prefix | None = None, export_to: str | None = None
    ) -> list[RouteStatus]: ...


@attrs.frozen(kw_only=True)
class Query:
    verbose: bool
    primary: bool
    count: bool
    prefix: Prefix | None
    longest: bool  # `for`: the longest match, not the prefix itself
    protocol: str | None
    export: str | None


def parse(words: list[str], status: SpeakerStatus) -> Query:
    words = list(words)
    flags: set[str] = set()
    named: dict[str, str] = {}
    prefix: Prefix | None = None
    longest = False
    while words:
        word = words[0]
        if word in ("all", "primary", "count"):
            flags.add(words.pop(0))
        elif word in ("protocol", "export"):
            words.pop(0)
            name = protocol_name(words, status, reply.PARSE)
            if word in named:
                raise Refusal(reply.PARSE, "Protocol specified twice")
            named[word] = name
        elif word in ("where", "filter", "preexport", "noexport", "table", "filtered", "stats"):
            raise Refusal(reply.DENIED, f"Access denied (show route {word} is not answered)")
        else:
            is_for = word == "for"
            if is_for:
                words.pop(0)
            found = _parse_network(words, bare=is_for)
            if prefix is not None:
                raise Refusal(reply.PARSE, "Only one prefix expected")
            prefix, longest = found, is_for
    if (export := named.get("export")) is not None:
        peer = next((peer for peer in status.peers if peer.name == export), None)
        if peer is not None and peer.protocol_state != "up":
            raise Refusal(reply.IS_DOWN, "Protocol is down")
    return Query(
        verbose="all" in flags,
        primary="primary" in flags,
        count="count" in flags,
        prefix=prefix,
        longest=longest,
        protocol=named.get("protocol"),
        export=export,
    )


def protocol_name(words: list[str], status: SpeakerStatus, code: int) -> str:
    """Takes a known protocol's name from the head of ``words``."""
    if not words or not _SYMBOL.fullmatch(words[0]):
        raise syntax_error()
    name = words.pop(0)
    if all(name != row[0] for row in BUILT_IN) and all(name != peer.name for peer in status.peers):
        raise Refusal(code, f"{name} is not a protocol")
    return name


def protocol_filter(word: str, status: SpeakerStatus) -> Callable[[str], bool]:
    """A name, or a pattern in quotes."""
    if word.startswith('"'):
        if len(word) < 2 or not word.endswith('"'):
            raise syntax_error()
        pattern = re.compile(re.escape(word[1:-1]).replace(r"\*", ".*").replace(r"\?", "."))
        return lambda name: pattern.fullmatch(name) is not None
    name = protocol_name([word], status, reply.NOT_A_PROTOCOL)
    return lambda other: other == name


def _parse_network(words: list[str], *, bare: bool) -> Prefix:
    """Takes ADDRESS/LENGTH (or with ``bare``, ADDRESS) from the head of ``words``."""
    if not words:
        raise syntax_error()
    text = words.pop(0)
    try:
        address = parse_address(text)
    except ValueError:
        if _SYMBOL.fullmatch(text):
            raise Refusal(reply.PARSE, "IP address expected") from None
        if _DOTTED.fullmatch(text):
            raise Refusal(reply.PARSE, f"Invalid IPv4 address {text}") from None
        raise syntax_error() from None
    if words[:1] != ["/"]:
        if not bare:
            raise syntax_error()
        return host_prefix(address)
    if len(words) < 2 or not words[1].isdecimal() or not words[1].isascii():
        raise syntax_error()
    length = words[1]
    del words[:2]
    if len(length) > 3 or int(length) > len(address) << 3:
        raise Refusal(reply.PARSE, f"Invalid prefix length {length}")
    prefix = make_prefix(int.from_bytes(address, "big"), int(length), len(address))
    if prefix[1:] != address:
        raise Refusal(reply.PARSE, "Invalid prefix")
    return prefix


def show(query: Query, status: SpeakerStatus, routes: Routes) -> list[Line]:
    if query.prefix is None:
        table = sorted(routes(), key=lambda route: sort_key(route.prefix))
    else:
        table = _longest_match(query.prefix, routes) if query.longest else routes(prefix=query.prefix)
        if not table:
            raise Refusal(reply.NO_ROUTE, "Network not in table")
    shown = _select(query, table, routes)

    if query.count:
        if query.prefix is not None:
            return [Line(reply.OK, "")]  # as BIRD: one network is not counted
        networks = len({route.prefix for route in table})
        total = networks if query.primary else len(table)
        return [Line(reply.ROUTE_COUNT, f"{len(shown)} of {total} routes for {networks} networks")]

    lines: list[Line] = []
    previous: Prefix | None = None
    for route in shown:
        network = "" if route.prefix == previous else format_prefix(route.prefix)
        previous = route.prefix
        lines += [Line(reply.ROUTE, text) for text in _route_rows(route, network, status.now)]
        if query.verbose:
            lines += _route_details(route)
    return [*lines, Line(reply.OK, "")]


def _longest_match(prefix: Prefix, routes: Routes) -> list[RouteStatus]:
    network, family = network_int(prefix), len(prefix) - 1
    for length in range(prefix[0], -1, -1):
        if found := routes(prefix=make_prefix(network, length, family)):
            return found
    return []


def _select(query: Query, table: list[RouteStatus], routes: Routes) -> list[RouteStatus]:
    if query.export is None:
        shown = table
    elif query.export != KERNEL and any(query.export == row[0] for row in BUILT_IN):
        shown = []  # static, device and direct take no routes
    else:
        prefixes = {route.prefix for route in table}
        exported = (route for route in routes(export_to=query.export) if route.prefix in prefixes)
        shown = sorted(exported, key=lambda route: sort_key(route.prefix))
    if query.protocol is not None:
        shown = [route for route in shown if route.protocol == query.protocol]
    if query.primary:
        shown = [route for route in shown if route.best]
    return shown


def _route_rows(route: RouteStatus, network: str, now: float) -> list[str]:
    device = route.device or UPLINK
    several = len(route.gateways) > 1
    if several:
        via = "multipath"
    elif route.gateways:
        via = f"via {format_address(route.gateways[0])} on {device}"
    elif route.source is RouteSource.BGP:
        via = "unreachable"  # its next hop resolves to nothing
    elif route.device:
        via = f"dev {device}"
    else:
        via = "blackhole"
    sender = ""
    if route.neighbour is not None and route.neighbour not in route.gateways:
        sender = f" from {format_address(route.neighbour)}"
    star = " *" if route.best and not several else ""
    since = format_since(route.since, now)
    first = f"{network:<18} {via} [{route.protocol} {since}{sender}]{star} ({_metric(route)}){_origin(route.attributes)}"
    ways = [f"\tvia {format_address(hop)} on {device} weight 1" for hop in route.gateways]
    return [first, *ways] if several else [first]


def _metric(route: RouteStatus) -> str:
    """The preference, and the IGP metric to the next hop of a recursive route."""
    if route.source is not RouteSource.BGP:
        return str(route.preference)
    if not route.gateways:
        return f"{route.preference}/-"
    return f"{route.preference}/{'?' if route.metric >= UNKNOWN_METRIC else route.metric}"


def _origin(attributes: Attributes | None) -> str:
    if attributes is None:
        return ""
    origin = _ORIGINS[attributes.origin][0]
    if not attributes.as_path:
        return f" [{origin}]"
    kind, numbers = attributes.as_path[-1]
    return f" [AS{numbers[0] if kind == AS_SET else numbers[-1]}{origin}]"


def _route_details(route: RouteStatus) -> list[Line]:
    lines = [Line(reply.ROUTE_DETAILS, f"\tType: {_TYPES[route.source]} unicast univ")]
    if route.source is RouteSource.KERNEL:
        lines += [Line(reply.ATTRIBUTES, "\tKernel.source: 3"), Line(reply.ATTRIBUTES, "\tKernel.metric: 0")]
    if route.attributes is not None:
        lines += [Line(reply.ATTRIBUTES, f"\tBGP.{text}") for text in _attribute_texts(route.attributes)]
    return lines


def _attribute_texts(attributes: Attributes) -> list[str]:
    """In the order of the attributes' type codes."""
    path = " ".join(
        "{" + " ".join(map(str, numbers)) + "}" if kind == AS_SET else " ".join(map(str, numbers))
        for kind, numbers in attributes.as_path
    )
    local_pref = DEFAULT_LOCAL_PREF if attributes.local_pref is None else attributes.local_pref
    texts = [
        f"origin: {_ORIGINS[attributes.origin][1]}",
        f"as_path: {path}",
        f"next_hop: {format_address(attributes.next_hop)}",
    ]
    if attributes.med is not None:
        texts.append(f"med: {attributes.med}")
    texts.append(f"local_pref: {local_pref}")
    if attributes.atomic_aggregate:
        texts.append("atomic_aggr: ")
    if attributes.aggregator is not None:
        asn, router = attributes.aggregator
        texts.append(f"aggregator: {format_address(router)} AS{asn}")
    if attributes.communities:
        texts.append("community: " + " ".join(f"({c >> 16},{c & 0xFFFF})" for c in attributes.communities))
    if attributes.originator_id is not None:
        texts.append(f"originator_id: {format_address(attributes.originator_id)}")
    if attributes.cluster_list:
        texts.append("cluster_list: " + " ".join(map(format_address, attributes.cluster_list)))
    if attributes.large_communities:
        texts.append(
            "large_community: " + " ".join(f"({a}, {b}, {c})" for a, b, c in attributes.large_communities)
        )
    return texts
