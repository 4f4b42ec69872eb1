"""BGPPeers, each read once for an address family: what it asks of the sessions that come of it.

Owns ``Options``, what a BGPPeer says beside who peers with whom, ``Request``, and ``read_request``. What cannot be
followed is said in ``notes`` and, as in Calico:

- a BGPFilter that does not exist is left out;
- a password that cannot be read: the session has none (``passwords``);
- a ``peerIP`` or ``reachableBy`` that is malformed, or of two families: the BGPPeer is skipped.

Some fields say nothing about neighbours that are found as Calico nodes, by ``peerSelector`` or in reverse:
``localASNumber``, ``numAllowedLocalASNumbers`` and ``keepOriginalNextHop`` (``nextHopMode`` does).

Follows confd/pkg/backends/calico/client.go: updatePeersV1, setPeerConfigFieldsFromV3Resource.
"""

from __future__ import annotations

import attrs

from agents.confd.filters import Filters
from agents.confd.passwords import Passwords
from agents.confd.settings import whole_seconds
from agents.speaker.config import Filter, NextHop
from protocol.prefix import Address, address_family, parse_address
from protocol.v3.bgp import BGPPeer, BGPPeerSpec
from protocol.v3.fields import split_peer_address
from protocol.v3.selector import Selector, SelectorError, parse

_NEXT_HOPS = {None: NextHop.AUTO, "Auto": NextHop.AUTO, "Self": NextHop.SELF, "Keep": NextHop.KEEP}


@attrs.frozen(kw_only=True)
class Options:
    source_address: bool = True
    ttl_security: int | None = None
    next_hop: NextHop = NextHop.AUTO
    keep_next_hop: bool = False  # of external neighbours only: keepOriginalNextHop
    local_as_number: int | None = None
    allow_local_as: int = 0
    restart_time: int | None = None
    keepalive_time: int | None = None
    password: str | None = attrs.field(default=None, repr=False)
    import_filters: tuple[Filter, ...] = ()
    export_filters: tuple[Filter, ...] = ()
    reachable_by: Address | None = None


@attrs.frozen(kw_only=True)
class Workloads:
    """Workloads on a node that are neighbours, instead of anything that has an address of its own."""

    selector: Selector
    as_number: int
    options: Options


@attrs.frozen(kw_only=True)
class Request:
    """One BGPPeer. Without ``address`` its neighbours are found by ``peerSelector``, or there are none."""

    name: str
    spec: BGPPeerSpec
    address: Address | None = None
    port: int | None = None
    options: Options = Options()
    workloads: Workloads | None = None
    notes: tuple[str, ...] = ()

    @property
    def everywhere(self) -> bool:
        return not self.spec.node and not self.spec.node_selector

    @property
    def node_options(self) -> Options:
        """Of a neighbour that is found as a node."""
        return attrs.evolve(self.options, local_as_number=None, allow_local_as=0, keep_next_hop=False)


def read_request(peer: BGPPeer, family: int, filters: Filters, passwords: Passwords) -> Request | None:
    """None when the BGPPeer has nothing to do with the family."""
    name, spec = f"BGPPeer/{peer.metadata.name}", peer.spec
    if spec.local_workload_selector:
        return _of_workloads(name, spec, filters)
    address, port, reachable_by = None, None, None
    if not spec.peer_selector:
        try:
            address, port = _peer_ip(spec)
            reachable_by = _reachable_by(spec, address)
        except ValueError as error:
            return Request(name=name, spec=spec, notes=(f"{name}: {error}: skipped",))
        if address_family(address) != family:
            return None
    imports, exports, missing = filters.named(spec.filters)
    password, notes = passwords.read(spec.password, name)
    options = Options(
        source_address=spec.source_address != "None",
        ttl_security=spec.ttl_security or None,
        next_hop=_NEXT_HOPS[spec.next_hop_mode],
        keep_next_hop=spec.keep_original_next_hop and spec.next_hop_mode is None,
        local_as_number=spec.local_as_number,
        allow_local_as=max(spec.num_allowed_local_as_numbers or 0, 0),
        restart_time=whole_seconds(spec.max_restart_time),
        keepalive_time=whole_seconds(spec.keepalive_time),
        password=password,
        import_filters=imports,
        export_filters=exports,
        reachable_by=reachable_by,
    )
    return Request(
        name=name,
        spec=spec,
        address=address,
        port=port,
        options=options,
        notes=(*_missing(name, missing), *notes),
    )


def _of_workloads(name: str, spec: BGPPeerSpec, filters: Filters) -> Request:
    """Passwords and times of such a BGPPeer are not looked at."""
    try:
        selector = parse(spec.local_workload_selector)
    except SelectorError as error:
        return Request(name=name, spec=spec, notes=(f"{name}: {error}: skipped",))
    if spec.as_number is None:
        note = f"{name}: localWorkloadSelector needs asNumber: skipped"
        return Request(name=name, spec=spec, notes=(note,))
    imports, exports, missing = filters.named(spec.filters)
    options = Options(
        source_address=False,
        local_as_number=spec.local_as_number,
        import_filters=imports,
        export_filters=exports,
    )
    workloads = Workloads(selector=selector, as_number=spec.as_number, options=options)
    return Request(name=name, spec=spec, workloads=workloads, notes=tuple(_missing(name, missing)))


def _missing(name: str, filters: list[str]) -> list[str]:
    return [f"{name}: BGPFilter/{each} does not exist: skipped" for each in filters]


def _peer_ip(spec: BGPPeerSpec) -> tuple[Address, int | None]:
    if not spec.peer_ip:
        raise ValueError("no peerIP, peerSelector or localWorkloadSelector")
    try:
        address, port = split_peer_address(spec.peer_ip)
    except ValueError as error:
        raise ValueError(f"peerIP: {error}") from None
    return Address(address.packed), port


def _reachable_by(spec: BGPPeerSpec, peer: Address) -> Address | None:
    if not spec.reachable_by:
        return None
    try:
        gateway = parse_address(spec.reachable_by)
    except ValueError as error:
        raise ValueError(f"reachableBy: {error}") from None
    if len(gateway) != len(peer):
        raise ValueError(f"reachableBy {spec.reachable_by} is not of the family of peerIP {spec.peer_ip}")
    return gateway
