"""All that decides what the FIBs of a plain cluster should hold, in one address family, small enough to send to every shard.

Owns ``Facts`` and ``gather``, which reads them from the datastore's documents: the session graph (``sessions``), who
announces which prefixes, who must not pass them on, and what each node holds by itself.

What a node announces follows Calico's export filter. Of a node's confirmed blocks the whole block, and nothing inside
it; of the rest what lies in a pool that exports: blocks that are being given back, and the /32 of a workload with
a borrowed address. Pools with disableBGPExport come before everything. The same filter stands at every node that
passes routes on, so a prefix outside of the pools goes no further than its announcer's neighbours, and the owner
of a block never passes on what lies inside.

Prefixes with the same announcers and the same restrictions fare alike everywhere. They are kept together, and solved
once, however many they are.

Documents of blocks and workloads are read as they are: there may be a million, and two fields of each matter.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, cast

import attrs

from cluster.oracle.sessions import Pair, Station, derive
from protocol.prefix import IPV4, IPV6, Prefix, parse_address, parse_prefix
from protocol.v3.bgp import DEFAULT_AS_NUMBER, BGPConfiguration, BGPPeer
from protocol.v3.codec import decode
from protocol.v3.ippool import IPPool
from protocol.v3.node import Node

Document = Mapping[str, Any]

BITS = {IPV4: 32, IPV6: 128}


@attrs.frozen
class Facts:
    """Nodes are numbers: places in ``names``, which is in the order of their addresses.

    Every field is made of lists, numbers, texts and bytes, so ``to_wire`` is shallow.
    """

    names: list[str]
    addresses: list[bytes]  # b"": a node without one of this family
    clusters: list[bytes]  # b"": no reflector
    down: list[int]
    cut: list[Pair]  # both ways round
    clique: list[int]  # see sessions.Graph
    severed: list[tuple[int, bytes]]
    edges: list[tuple[int, int, bool, bool]]
    announced: list[tuple[list[int], list[int], bool, list[Prefix]]]
    """(announcers, who never passes it on: it lies in a block of theirs, whether anybody may, prefixes)."""
    blackholes: list[list[Prefix]]  # by node: its blocks
    workloads: list[
        list[tuple[Prefix, str]]
    ]  # by node: (/32, interface); of two with one address the first counts

    def to_wire(self, own: Collection[str]) -> list[Any]:
        """For the shard that hosts ``own``: what is local to other nodes stays behind."""
        kept = [name in own for name in self.names]
        *shared, blackholes, workloads = attrs.astuple(self, recurse=False)
        return [
            *shared,
            [routes if keep else [] for keep, routes in zip(kept, blackholes, strict=True)],
            [routes if keep else [] for keep, routes in zip(kept, workloads, strict=True)],
        ]

    @classmethod
    def from_wire(cls, values: list[Any]) -> Facts:
        return cls(*values)


def gather(
    list_kind: Callable[[str], Iterable[Document]],
    *,
    down: Collection[str] = (),
    cut: Iterable[tuple[str, str]] = (),
) -> list[Facts]:
    """Those of IPv4, and of IPv6 when there is anything of it.

    ``list_kind("Node")`` gives the documents of a kind, in the order of their keys as a datastore lists them.
    ``down`` nodes are dead, ``cut`` pairs cannot talk.
    """
    configurations = {
        document["metadata"]["name"]: cast("BGPConfiguration", decode(document)).spec
        for document in list_kind("BGPConfiguration")
    }
    default = configurations.get("default")
    nodes = [cast("Node", decode(document)) for document in list_kind("Node")]
    pools = [cast("IPPool", decode(document)) for document in list_kind("IPPool")]
    peers = [cast("BGPPeer", decode(document)) for document in list_kind("BGPPeer")]
    stations = {family: _stations(nodes, family) for family in BITS}
    origins = {family: _Origins(pools, stations[family], down, family) for family in BITS}
    for document in list_kind("BlockAffinity"):
        spec = document["spec"]
        origins[_family(spec["cidr"])].add_block(spec)
    for document in list_kind("WorkloadEndpoint"):
        spec = document["spec"]
        for text in spec.get("ipNetworks", ()):
            origins[_family(text)].add_workload(spec, text)
    cuts = [*cut]
    found = []
    for family in BITS:
        numbers = {station.name: station.number for station in stations[family]}
        pairs = {
            (numbers[one], numbers[other])
            for one, other in (*cuts, *((other, one) for one, other in cuts))
            if one in numbers and other in numbers
        }
        dead = {numbers[name] for name in down if name in numbers}
        graph = derive(
            stations[family],
            mesh=default is None or default.node_to_node_mesh_enabled is not False,
            asn=(default and default.as_number) or DEFAULT_AS_NUMBER,
            peers=peers,
            down=dead,
            cut=pairs,
        )
        own = origins[family]
        facts = Facts(
            names=[station.name for station in stations[family]],
            addresses=[station.address for station in stations[family]],
            clusters=[station.cluster for station in stations[family]],
            down=sorted(dead),
            cut=sorted(pairs),
            clique=graph.clique,
            severed=graph.severed,
            edges=graph.edges,
            announced=own.announced(),
            blackholes=own.blackholes,
            workloads=own.workloads,
        )
        if family == IPV4 or any(facts.addresses) or any(facts.workloads):
            found.append(facts)
    return found


def _family(text: str) -> int:
    return IPV6 if ":" in text else IPV4


def _stations(nodes: Iterable[Node], family: int) -> list[Station]:
    found = []
    for node in nodes:
        bgp = node.spec.bgp
        written = (bgp.ipv4_address if family == IPV4 else bgp.ipv6_address) if bgp else ""
        address = written.partition("/")[0]
        found.append((parse_address(address) if address else b"", node.metadata.name, node))
    stations = []
    # In the order of addresses, so that the lowest numbers are the lowest next hops.
    for number, (octets, name, node) in enumerate(sorted(found, key=lambda entry: entry[:2])):
        cluster = node.spec.bgp.route_reflector_cluster_id if node.spec.bgp else ""
        stations.append(
            Station(
                number=number,
                name=name,
                labels=node.metadata.labels,
                address=octets,
                cluster=parse_address(cluster) if cluster else b"",
            )
        )
    return stations


class _Cover:
    """Prefixes of one family to be found by what they contain."""

    def __init__(self, bits: int) -> None:
        self._bits = bits
        self._tables: dict[int, dict[int, list[int]]] = {}  # length -> network -> values
        self._shortest = bits + 1

    def add(self, prefix: Prefix, value: int) -> None:
        length = prefix[0]
        network = int.from_bytes(prefix[1:], "big") >> (self._bits - length)
        self._shortest = min(self._shortest, length)
        self._tables.setdefault(length, {}).setdefault(network, []).append(value)

    def around(self, prefix: Prefix, *, itself: bool) -> list[int]:
        """The values of all prefixes that ``prefix`` lies in."""
        length = prefix[0] + itself
        if length <= self._shortest:
            return []
        network = int.from_bytes(prefix[1:], "big")
        found: list[int] = []
        for shorter, table in self._tables.items():
            if shorter < length:
                found += table.get(network >> (self._bits - shorter), ())
        return found


class _Origins:
    """Who announces what, from affinities and workloads as they come."""

    def __init__(
        self, pools: Iterable[IPPool], stations: Sequence[Station], down: Collection[str], family: int
    ) -> None:
        self._numbers = {station.name: station.number for station in stations if station.name not in down}
        self._bits = BITS[family]
        self._pools = _Cover(self._bits)  # 1: exports, 0: does not
        for pool in pools:
            if _family(pool.spec.cidr) == family:
                self._pools.add(parse_prefix(pool.spec.cidr), not pool.spec.disable_bgp_export)
        self._confirmed = _Cover(self._bits)
        self._blocks: list[tuple[Prefix, int, bool]] = []  # (block, node, whether confirmed)
        self.blackholes: list[list[Prefix]] = [[] for _ in stations]
        self.workloads: list[list[tuple[Prefix, str]]] = [[] for _ in stations]

    def add_block(self, spec: Mapping[str, Any]) -> None:
        """A BlockAffinity's spec."""
        node, state, cidr = self._numbers.get(spec["node"]), spec.get("state", ""), spec["cidr"]
        if node is None or state == "pending" or spec.get("deleted") or spec.get("type", "host") != "host":
            return
        prefix = _prefix(cidr)
        confirmed = state != "pendingDeletion"
        if confirmed:
            self._confirmed.add(prefix, node)
        if prefix[0] < self._bits:
            self.blackholes[node].append(prefix)
        self._blocks.append((prefix, node, confirmed))

    def add_workload(self, spec: Mapping[str, Any], address: str) -> None:
        """A WorkloadEndpoint's spec, and one of its addresses."""
        node, interface = self._numbers.get(spec["node"]), spec.get("interfaceName", "")
        if node is not None and interface:
            self.workloads[node].append((_prefix(address), interface))

    def announced(self) -> list[tuple[list[int], list[int], bool, list[Prefix]]]:
        announcers: dict[Prefix, tuple[int, ...]] = {}
        transit: dict[Prefix, bool] = {}
        whole: set[tuple[Prefix, int]] = set()  # confirmed /32 blocks: announced when the workload is there

        def announce(prefix: Prefix, node: int, *, own_block: bool) -> None:
            # What stands in a confirmed block of its node passes before the pools are asked, but not before the
            # pools that are not exported.
            pools = self._pools.around(prefix, itself=True)
            if 0 not in pools and (pools or own_block):
                transit[prefix] = bool(pools)
                announcers[prefix] = (*announcers.get(prefix, ()), node)

        for prefix, node, confirmed in self._blocks:
            if prefix[0] < self._bits:
                announce(prefix, node, own_block=confirmed)
            elif confirmed:
                whole.add((prefix, node))
        for node, workloads in enumerate(self.workloads):
            for prefix, _ in workloads:
                if node not in self._confirmed.around(prefix, itself=False):
                    announce(prefix, node, own_block=(prefix, node) in whole)
        groups: dict[tuple[tuple[int, ...], tuple[int, ...], bool], list[Prefix]] = {}
        for prefix, nodes in announcers.items():
            silent = tuple(self._confirmed.around(prefix, itself=False))
            key = nodes if len(nodes) == 1 else tuple(sorted(nodes)), silent, transit[prefix]
            groups.setdefault(key, []).append(prefix)
        return [
            (list(nodes), list(silent), passed, prefixes)
            for (nodes, silent, passed), prefixes in groups.items()
        ]


def _prefix(cidr: str) -> Prefix:
    # Validated long ago; parse_prefix takes ten times as long.
    address, _, length = cidr.partition("/")
    if ":" in address:
        return Prefix(bytes((int(length or 128),)) + socket.inet_pton(socket.AF_INET6, address))
    return Prefix(bytes((int(length or 32),)) + socket.inet_aton(address))
