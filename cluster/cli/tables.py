"""Resources as tables, the way calicoctl's ``get`` prints them.

Owns the columns of each kind and the layout of Go's tabwriter (cells at least 5 wide, 3 spaces between, spaces at the
end kept). Works on documents as the API gives them, in which Go's zero values are left out. The columns of kinds that
calicoctl does not have are kubectl's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

Document = Mapping[str, Any]
Cell = Callable[[Document], str]

_MIN_WIDTH, _PADDING = 5, 3
DEFAULT_AS: Final = 64512


class UnknownColumn(ValueError):
    """A column that the kind does not have."""


def table(
    kind: str,
    documents: Sequence[Document],
    *,
    wide: bool = False,
    namespaces: bool = False,
    columns: Sequence[str] = (),
    as_number: int = DEFAULT_AS,
) -> str:
    """The table and the empty line after it.

    Args:
        columns: those that are wanted, instead of the usual ones.
        namespaces: whether the first column is the namespace, where there is one.
        as_number: what a node has that does not say its own.

    Raises:
        UnknownColumn.
    """
    cells = _cells(kind, as_number)
    usual, more = _HEADINGS.get(kind, ("NAME", "NAME"))
    if columns:
        headings = [column.upper() for column in columns]
    else:
        headings = (more if wide else usual).split()
        if namespaces and "NAMESPACE" in cells:
            headings.insert(0, "NAMESPACE")
    for heading in headings:
        if heading not in cells:
            raise UnknownColumn(f"unknown heading {heading}, valid values are: {', '.join(cells)}")
    rows = [headings, *([cells[heading](document) for heading in headings] for document in documents)]
    return layout(rows) + "\n"


def layout(rows: Sequence[Sequence[str]]) -> str:
    """Columns as Go's tabwriter aligns them when every cell is ended by a tab."""
    widths = [
        max(_MIN_WIDTH, *(len(cell) + _PADDING for cell in column)) for column in zip(*rows, strict=True)
    ]
    return "".join(
        "".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + "\n" for row in rows
    )


# -- cells ------------------------------------------------------------------------------------------------------------


def _get(document: Document, path: str) -> Any:
    value: Any = document
    for step in path.split("."):
        value = value.get(step) if isinstance(value, Mapping) else None
    return value


def _go(value: Any) -> str:
    """As Go's templates print it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return ",".join(map(_go, value))
    return "" if value is None else str(value)


def _text(path: str, unset: str = "") -> Cell:
    def cell(document: Document) -> str:
        value = _get(document, path)
        return unset if value is None else _go(value)

    return cell


def _count(path: str) -> Cell:
    return lambda document: str(len(_get(document, path) or ()))


def _cut(cell: Cell) -> Cell:
    def short(document: Document) -> str:
        text = cell(document)
        return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."

    return short


_LONGEST = 80


def _peer_node(document: Document) -> str:
    spec = document.get("spec", {})
    return spec.get("nodeSelector") or spec.get("node") or "(global)"


def _workload(document: Document) -> str:
    field = "pod" if _get(document, "spec.orchestrator") == "k8s" else "workload"
    return _go(_get(document, f"spec.{field}"))


def _nats(document: Document) -> str:
    nats = _get(document, "spec.ipNATs") or ()
    return ",".join(f"{nat.get('externalIP', '')}->{nat.get('internalIP', '')}" for nat in nats)


def _external_ips(document: Document) -> str:
    ingress = _get(document, "status.loadBalancer.ingress") or ()
    given = [one.get("ip") or one.get("hostname") or "" for one in ingress]
    return ",".join([*given, *(_get(document, "spec.externalIPs") or ())]) or "<none>"


def _ports(document: Document) -> str:
    def port(one: Document) -> str:
        node_port = f":{one['nodePort']}" if one.get("nodePort") else ""
        return f"{one.get('port', '')}{node_port}/{one.get('protocol', 'TCP')}"

    return ",".join(map(port, _get(document, "spec.ports") or ())) or "<none>"


def _endpoints(document: Document) -> str:
    endpoints = document.get("endpoints") or ()
    return ",".join(address for one in endpoints for address in one.get("addresses", ())) or "<unset>"


_CELLS: Final[Mapping[str, Mapping[str, Cell]]] = {
    "BGPConfiguration": {
        "LOGSEVERITY": _text("spec.logSeverityScreen"),
        "MESHENABLED": _text("spec.nodeToNodeMeshEnabled", "-"),
        "ASNUMBER": _text("spec.asNumber", "-"),
    },
    "BGPFilter": {
        "NUMEXPORTV4": _count("spec.exportV4"),
        "NUMIMPORTV4": _count("spec.importV4"),
        "NUMEXPORTV6": _count("spec.exportV6"),
        "NUMIMPORTV6": _count("spec.importV6"),
    },
    "BGPPeer": {"PEERIP": _text("spec.peerIP"), "NODE": _peer_node, "ASN": _text("spec.asNumber", "0")},
    "EndpointSlice": {
        "ADDRESSTYPE": _text("addressType"),
        "PORTS": lambda document: _go([one.get("port") for one in document.get("ports") or ()]) or "<unset>",
        "ENDPOINTS": _endpoints,
    },
    "IPAMConfiguration": {
        "STRICTAFFINITY": _text("spec.strictAffinity", "false"),
        "AUTOALLOCATEBLOCKS": _text("spec.autoAllocateBlocks", "false"),
        "MAXBLOCKSPERHOST": _text("spec.maxBlocksPerHost", "0"),
    },
    "IPPool": {
        "CIDR": _text("spec.cidr"),
        "NAT": _text("spec.natOutgoing", "false"),
        "IPIPMODE": _text("spec.ipipMode"),
        "VXLANMODE": _text("spec.vxlanMode"),
        "DISABLED": _text("spec.disabled", "false"),
        "DISABLEBGPEXPORT": _text("spec.disableBGPExport", "false"),
        "SELECTOR": _text("spec.nodeSelector"),
        "ASSIGNMENTMODE": _text("spec.assignmentMode"),
    },
    "IPReservation": {"CIDRS": _cut(_text("spec.reservedCIDRs"))},
    "Node": {"IPV4": _text("spec.bgp.ipv4Address"), "IPV6": _text("spec.bgp.ipv6Address")},
    "Router": {
        "ASN": _text("spec.asNumber"),
        "ADDRESSES": _text("spec.addresses"),
        "ANNOUNCES": _cut(_text("spec.announce")),
    },
    "Secret": {"TYPE": _text("type"), "DATA": _count("data")},
    "Service": {
        "TYPE": _text("spec.type"),
        "CLUSTER-IP": _text("spec.clusterIP", "<none>"),
        "EXTERNAL-IP": _external_ips,
        "PORT(S)": _ports,
    },
    "WorkloadEndpoint": {
        "WORKLOAD": _workload,
        "NODE": _text("spec.node"),
        "NETWORKS": _text("spec.ipNetworks"),
        "INTERFACE": _text("spec.interfaceName"),
        "PROFILES": _text("spec.profiles"),
        "NATS": _nats,
    },
}

_HEADINGS: Final[Mapping[str, tuple[str, str]]] = {
    "BGPConfiguration": ("NAME LOGSEVERITY MESHENABLED ASNUMBER",) * 2,
    "BGPFilter": ("NAME NUMEXPORTV4 NUMIMPORTV4 NUMEXPORTV6 NUMIMPORTV6",) * 2,
    "BGPPeer": ("NAME PEERIP NODE ASN",) * 2,
    "EndpointSlice": ("NAME ADDRESSTYPE PORTS ENDPOINTS",) * 2,
    "IPAMConfiguration": (
        "NAME STRICTAFFINITY AUTOALLOCATEBLOCKS",
        "NAME STRICTAFFINITY AUTOALLOCATEBLOCKS MAXBLOCKSPERHOST",
    ),
    "IPPool": (
        "NAME CIDR SELECTOR",
        "NAME CIDR NAT IPIPMODE VXLANMODE DISABLED DISABLEBGPEXPORT SELECTOR ASSIGNMENTMODE",
    ),
    "IPReservation": ("NAME", "NAME CIDRS"),
    "Node": ("NAME", "NAME ASN IPV4 IPV6"),
    "Router": ("NAME ASN ADDRESSES", "NAME ASN ADDRESSES ANNOUNCES"),
    "Secret": ("NAME TYPE DATA",) * 2,
    "Service": ("NAME TYPE CLUSTER-IP EXTERNAL-IP PORT(S)",) * 2,
    "WorkloadEndpoint": (
        "WORKLOAD NODE NETWORKS INTERFACE",
        "NAME WORKLOAD NODE NETWORKS INTERFACE PROFILES NATS",
    ),
}
"""The usual columns, and those of ``-o wide``. Kinds that are not here have their names to show."""

_NAMESPACED: Final = ("EndpointSlice", "Secret", "Service", "WorkloadEndpoint")


def _cells(kind: str, as_number: int) -> dict[str, Cell]:
    """Heading to cell, the kind's own after those of all."""
    common: dict[str, Cell] = {"NAME": _text("metadata.name")}
    if kind in _NAMESPACED:
        common["NAMESPACE"] = _text("metadata.namespace")
    if kind == "Node":

        def asn(document: Document) -> str:
            bgp = _get(document, "spec.bgp")
            return "" if bgp is None else _go(bgp.get("asNumber")) or f"({as_number})"

        common["ASN"] = asn
    return {**common, **_CELLS.get(kind, {})}
