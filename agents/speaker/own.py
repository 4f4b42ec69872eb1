"""The node's own routes as paths: what BIRD's static, direct and kernel protocols put into its table.

Owns ``OwnRoutes``: configuration and kernel in, the Loc-RIB's own candidates out, by source. Equal routes are one Path, so
that what has not changed is found by identity.

A static route through a gateway is there only while the gateway is on the node's own network, as in BIRD. The network itself is
there unless BGPConfiguration's ignoredInterfaces have the interface among them.

Left out: who prefers which (``decision``), BIRD's device protocol, which has no routes.
"""

from __future__ import annotations

from collections.abc import Mapping

from agents.dataplane.fib import FibRoute
from agents.speaker.config import UPLINK, SpeakerConfig
from agents.speaker.decision import (
    PREFERENCE_DIRECT,
    PREFERENCE_KERNEL,
    PREFERENCE_STATIC,
    Path,
    RouteSource,
)
from agents.speaker.filters import interface_pattern
from protocol.bgp.attributes import Attributes
from protocol.prefix import Address, Prefix, contains, host_prefix

_PREFERENCES = {
    RouteSource.STATIC: PREFERENCE_STATIC,
    RouteSource.KERNEL: PREFERENCE_KERNEL,
    RouteSource.DIRECT: PREFERENCE_DIRECT,
}


class OwnRoutes:
    """See the module. ``attributes`` are those that an own route starts with."""

    def __init__(self, attributes: Attributes) -> None:
        self._attributes = attributes
        self._known: dict[tuple[RouteSource, tuple[Address, ...], str], Path] = {}

    def statics(self, config: SpeakerConfig) -> dict[Prefix, Path]:
        subnet = config.subnet
        return {
            route.prefix: self._path(
                RouteSource.STATIC, () if route.via is None else (route.via,), route.device
            )
            for route in config.statics
            if route.via is None or subnet is None or contains(subnet, host_prefix(route.via))
        }

    def direct(self, config: SpeakerConfig) -> dict[Prefix, Path]:
        ignored = any(interface_pattern(each).fullmatch(UPLINK) for each in config.ignored_interfaces)
        if config.subnet is None or ignored:
            return {}
        return {config.subnet: self._path(RouteSource.DIRECT, (), UPLINK)}

    def kernel(self, routes: Mapping[Prefix, FibRoute]) -> dict[Prefix, Path]:
        return {
            prefix: self._path(RouteSource.KERNEL, route.gateways, route.device)
            for prefix, route in routes.items()
        }

    def _path(self, source: RouteSource, hops: tuple[Address, ...], ifname: str = "") -> Path:
        ifname = ifname or (UPLINK if hops else "")
        key = (source, hops, ifname)
        path = self._known.get(key)
        if path is None:
            path = self._known[key] = Path(
                None, self._attributes, hops, _PREFERENCES[source], source=source, ifname=ifname
            )
        return path
