"""What a user looks at, as tables: ``calicoctl node status``, ``ip route``, events, and the cluster's own status.

Each view has two steps. Where the objects live (a shard), ``peer_rows``, ``route_rows`` and ``event_rows`` make plain rows
of them, fit for JSON and for the stream to the coordinator; where somebody asks (the API), ``node_status``, ``ip_route``,
``events`` and ``cluster_status`` write the text. The shapes are those of calicoctl's go-pretty table and of iproute2,
whose ``ip -json route`` gave the names in ``RouteRow``.

Left out: ``dev eth0`` of routes via another node, because these kernels have one uplink and it would stand in every
line, and what ``ip -6 route`` says of metrics and router preference, of which all have the same.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NotRequired, TypedDict

from agents.dataplane.fib import FibRoute, RouteKind
from agents.journal import Event
from agents.speaker.birdc_reply import format_since
from agents.speaker.config import PeerKind
from agents.speaker.status import SpeakerStatus
from protocol.prefix import Prefix, family_of, format_address, format_prefix, network_address

_PEER_TYPES = {
    PeerKind.MESH.value: "node-to-node mesh",
    PeerKind.GLOBAL.value: "global",
    PeerKind.NODE.value: "node specific",
    PeerKind.LAB.value: "lab router's",  # no peering of Calico's
}


class PeerRow(TypedDict):
    address: str
    type: str
    state: str  # of BIRD's protocol: "up", "start", "down"
    since: str
    info: str


class NextHop(TypedDict):
    gateway: str
    dev: NotRequired[str]
    weight: int
    flags: list[str]


class RouteRow(TypedDict):
    """One route as ``ip -json route`` has it."""

    type: NotRequired[str]
    dst: str
    gateway: NotRequired[str]
    dev: NotRequired[str]
    protocol: NotRequired[str]
    scope: NotRequired[str]
    flags: list[str]
    nexthops: NotRequired[list[NextHop]]


class EventRow(TypedDict):
    time: float  # Unix
    node: str
    type: str  # "Normal" or "Warning", as Kubernetes has it
    reason: str
    message: str


class ShardRow(TypedDict):
    index: int
    pid: int
    up: bool
    nodes: int
    sockets: int
    memory_mb: float


class ClusterStatus(TypedDict):
    name: str
    pid: int
    topology: str  # "full mesh", "4 route reflectors"
    uptime: float  # seconds
    nodes: int
    routers: int
    nodes_down: list[str]  # names
    routers_down: list[str]
    faults: list[str]  # what somebody has done to the cluster, in words
    notes: dict[str, list[str]]  # what is wrong -> the nodes that say so
    shards: list[ShardRow]
    sessions_expected: int
    sessions_established: int
    routes_expected: int
    routes_programmed: int
    convergence: str  # one line: what is known of the FIBs


def peer_rows(status: SpeakerStatus) -> list[PeerRow]:
    """The neighbours calicoctl knows of, in BIRD's order: it takes no Local_Workload_* for a peering."""
    return [
        PeerRow(
            address=format_address(peer.address),
            type=_PEER_TYPES[peer.kind],
            state=peer.protocol_state,
            since=format_since(peer.since, status.now),
            info=f"{peer.bgp_state} {peer.last_error}".rstrip(),
        )
        for peer in status.peers
        if peer.kind in _PEER_TYPES
    ]


def node_status(rows: Sequence[PeerRow]) -> str:
    """``calicoctl node status``."""
    text = "Calico process is running.\n"
    for family in (4, 6):
        text += f"\nIPv{family} BGP status\n"
        peers = [row for row in rows if (":" in row["address"]) == (family == 6)]
        if peers:
            table = [(row["address"], row["type"], row["state"], row["since"], row["info"]) for row in peers]
            text += _boxed(("PEER ADDRESS", "PEER TYPE", "STATE", "SINCE", "INFO"), table)
        else:
            text += f"No IPv{family} peers found.\n"
    return text + "\n"


def route_rows(
    routes: Mapping[Prefix, FibRoute], family: int, felix: Collection[Prefix] = ()
) -> list[RouteRow]:
    """One family of a FIB in the kernel's order: by address, and the longer prefix of one address first.

    ``felix`` are the prefixes whose routes are Felix's; all others are BIRD's.
    """

    def kernel_order(prefix: Prefix) -> tuple[bytes, int]:
        return prefix[1:], -prefix[0]

    prefixes = sorted((prefix for prefix in routes if family_of(prefix) == family), key=kernel_order)
    return [_route_row(prefix, routes[prefix], prefix in felix) for prefix in prefixes]


def _route_row(prefix: Prefix, route: FibRoute, by_felix: bool) -> RouteRow:
    whole = prefix[0] == (len(prefix) - 1) << 3
    if prefix[0] == 0:
        destination = "default"
    else:
        destination = format_address(network_address(prefix)) if whole else format_prefix(prefix)
    if route.kind is RouteKind.DEVICE:
        row = RouteRow(dst=destination, dev=route.device, scope="link", flags=[])
        if not by_felix:  # who programs workloads with protocol boot, which ip route does not print
            row["protocol"] = "bird"
        return row
    protocol = "80" if by_felix else "bird"
    if route.kind is not RouteKind.VIA:
        return RouteRow(type=route.kind.value, dst=destination, protocol=protocol, flags=[])
    flags = ["onlink"] if route.device else []  # through a tunnel
    if len(route.gateways) == 1:
        row = RouteRow(
            dst=destination, gateway=format_address(route.gateways[0]), protocol=protocol, flags=flags
        )
        if route.device:
            row["dev"] = route.device
        return row
    hops = [NextHop(gateway=format_address(gateway), weight=1, flags=flags) for gateway in route.gateways]
    if route.device:
        for hop in hops:
            hop["dev"] = route.device
    return RouteRow(dst=destination, protocol=protocol, flags=[], nexthops=hops)


def ip_route(rows: Iterable[RouteRow]) -> str:
    """``ip route``."""
    lines: list[str] = []
    for row in rows:
        words = [row["type"]] if "type" in row else []
        words.append(row["dst"])
        if "gateway" in row:
            words += ["via", row["gateway"]]
        if "dev" in row:
            words += ["dev", row["dev"]]
        if "protocol" in row:
            words += ["proto", row["protocol"]]
        if "scope" in row:
            words += ["scope", row["scope"]]
        lines.append(" ".join((*words, *row["flags"])))
        lines += map(_next_hop, row.get("nexthops", ()))
    return "".join(f"{line}\n" for line in lines)


def _next_hop(hop: NextHop) -> str:
    words = [
        "via",
        hop["gateway"],
        *(["dev", hop["dev"]] if "dev" in hop else []),
        "weight",
        str(hop["weight"]),
    ]
    return "\tnexthop " + " ".join((*words, *hop["flags"]))


def event_rows(node: str, journal: Iterable[tuple[float, Event]]) -> list[EventRow]:
    """The events of one node, the oldest first."""
    return [
        EventRow(
            time=time,
            node=node,
            type="Warning" if event.warning else "Normal",
            reason=event.reason,
            message=event.message,
        )
        for time, event in journal
    ]


def events(rows: Sequence[EventRow], now: float) -> str:
    """Some nodes' events, as ``kubectl events`` has them: the oldest first."""
    if not rows:
        return "No events.\n"
    table = [
        (f"{_duration(now - row['time'])} ago", row["node"], row["type"], row["reason"], row["message"])
        for row in sorted(rows, key=lambda row: row["time"])
    ]
    return "".join(
        f"{line}\n" for line in _columns(("LAST SEEN", "NODE", "TYPE", "REASON", "MESSAGE"), table)
    )


def cluster_status(status: ClusterStatus) -> str:
    """``status``: the cluster in a few lines, then its shards."""
    lines = [
        f"cluster   {status['name']}: {status['topology']}, pid {status['pid']}, up {_duration(status['uptime'])}",
        f"nodes     {_up(status['nodes'], status['nodes_down'])}",
        *([f"routers   {_up(status['routers'], status['routers_down'])}"] if status["routers"] else []),
        f"sessions  {status['sessions_established']:,}/{status['sessions_expected']:,} Established",
        f"routes    {status['routes_programmed']:,}/{status['routes_expected']:,} in the FIBs",
        f"state     {status['convergence']}",
        *[f"faults    {line}" for line in status["faults"]],
        *_notes(status["notes"]),
        "",
        *_columns(
            ("SHARD", "PID", "STATE", "NODES", "SOCKETS", "MEMORY"),
            [
                (
                    str(shard["index"]),
                    str(shard["pid"]),
                    "up" if shard["up"] else "dead",
                    f"{shard['nodes']:,}",
                    f"{shard['sockets']:,}",
                    f"{shard['memory_mb']:.0f} MB",
                )
                for shard in status["shards"]
            ],
        ),
    ]
    return "".join(f"{line}\n" for line in lines)


MANY_NOTES = 5
"""So many are shown; all of them are in the JSON."""


FEW_NAMES = 3
"""So many nodes that a note is on are named; all of them are in the JSON."""


def _notes(notes: Mapping[str, Sequence[str]]) -> list[str]:
    lines = [f"note      {text} ({_whose(names)})" for text, names in [*notes.items()][:MANY_NOTES]]
    more = len(notes) - MANY_NOTES
    return [*lines, f"          and {more} more"] if more > 0 else lines


def _whose(names: Sequence[str]) -> str:
    return ", ".join(names) if len(names) <= FEW_NAMES else f"{len(names):,} nodes"


def _up(count: int, down: Sequence[str]) -> str:
    return f"{count - len(down):,}/{count:,} up{_some(down)}"


def _some(names: Sequence[str]) -> str:
    if not names:
        return ""
    shown = ", ".join(names[:5])
    return f"; down: {shown}{f' and {len(names) - 5:,} more' if len(names) > 5 else ''}"


def _duration(seconds: float) -> str:
    minutes, left = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02} min"
    return f"{minutes} min {left:02} s" if minutes else f"{left} s"


def _widths(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[int]:
    return [max(map(len, column)) for column in zip(header, *rows, strict=True)]


def _columns(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    widths = _widths(header, rows)
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in (header, *rows)
    ]


def _boxed(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """go-pretty's default style: ASCII borders, one space of padding, everything to the left."""
    widths = _widths(header, rows)
    rule = "+" + "+".join("-" * (width + 2) for width in widths) + "+"

    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)) + " |"

    return "".join(f"{text}\n" for text in (rule, line(header), rule, *map(line, rows), rule))
