"""Loc-RIB to FIB: what BIRD's kernel protocol lets through, and by which way.

Owns ``Kernel``, the protocol, which keeps the Fib in step; a BIRD that recovers (``recovery``) leaves it as it found it until
``resume``. And ``KernelExport``: the filter calico_kernel_programming (``bird.cfg``, and the fork's krt_tunnel) as a function of a
prefix and its best path:

- services are announced and never in a kernel; routes of pools that Felix programs are Felix's;
- a path through a neighbour with WireGuard is WireGuard's;
- a pool with IPIP goes over tunl0 to the NEXT_HOP itself, always or where that is in another subnet;
- all else as the Loc-RIB has it. What the kernel knew before BIRD does not come back to it.

Nothing of this depends on the prefix on a node without services and tunnels, and then a change of a thousand prefixes costs
one call and no look.

Left out: the kernel's metrics (krt_metric), as BIRD has one route a prefix there and Felix's are elsewhere.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping, Sequence

from agents.dataplane.fib import BLACKHOLE, TUNL0, UNREACHABLE, Fib, FibRoute, Routes, device
from agents.speaker.config import KernelPolicy, PoolRoutes
from agents.speaker.decision import Path, RouteSource
from agents.speaker.rib import Change
from protocol.prefix import Prefix, contains, host_prefix

MAX_MEMO = 1 << 17
"""Prefixes remembered before it starts anew."""


class _Way(enum.Enum):
    PLAIN = 0
    TUNNEL = 1
    CROSS_SUBNET = 2
    REJECT = 3


_WAYS = {
    PoolRoutes.DIRECT: _Way.PLAIN,
    PoolRoutes.TUNNEL: _Way.TUNNEL,
    PoolRoutes.CROSS_SUBNET: _Way.CROSS_SUBNET,
    PoolRoutes.VXLAN: _Way.REJECT,
    PoolRoutes.FELIX: _Way.REJECT,
}


class Kernel:
    """See the module. ``held``: it recovers."""

    def __init__(
        self, fib: Fib, family: int, policy: KernelPolicy | None, routes: Routes, *, held: bool
    ) -> None:
        self._fib = fib
        self._family = family
        self._routes = routes
        self._held = held
        self._export = KernelExport(policy, routes)

    def route(self, prefix: Prefix, path: Path) -> FibRoute | None:
        """What the kernel has, or will have, for a prefix whose best path this is."""
        [(_, route)] = self._export.export((prefix,), path)
        return route

    def follow(self, changes: Iterable[Change]) -> None:
        if self._held:
            return
        for prefixes, path in changes:
            if path is None:
                self._fib.program(prefixes, None)
            else:
                for found, route in self._export.export(prefixes, path):
                    self._fib.program(found, route)

    def set_policy(self, policy: KernelPolicy | None, best: Mapping[Prefix, Path]) -> None:
        self._export = KernelExport(policy, self._routes)
        if not self._held:
            self.resume(best)

    def resume(self, best: Mapping[Prefix, Path]) -> int:
        """The whole Loc-RIB, and nothing else; how many routes of an earlier BIRD that were not in it are gone."""
        self._held = False
        found = ((prefix, self.route(prefix, path)) for prefix, path in best.items())
        return self._fib.replace(
            self._family, {prefix: route for prefix, route in found if route is not None}
        )


class KernelExport:
    """See the module. ``policy`` None: everything, as it is."""

    def __init__(self, policy: KernelPolicy | None, routes: Routes) -> None:
        self._policy = policy or KernelPolicy()
        self._routes = routes
        self._uniform = not self._policy.rejected and all(
            pool.routes is PoolRoutes.DIRECT for pool in self._policy.pools
        )
        self._ways: dict[Prefix, _Way] = {}

    def export(
        self, prefixes: Sequence[Prefix], path: Path
    ) -> Iterable[tuple[Sequence[Prefix], FibRoute | None]]:
        """The kernel's route for prefixes whose best path this is, None for no route; those with one route together."""
        if path.source is RouteSource.KERNEL or path.source is RouteSource.DIRECT:
            return ((prefixes, None),)
        if self._uniform:
            return ((prefixes, self._route(path, _Way.PLAIN)),)
        ways: dict[_Way, list[Prefix]] = {}
        for prefix in prefixes:
            way = self._ways.get(prefix)
            if way is None:
                if len(self._ways) >= MAX_MEMO:
                    self._ways.clear()
                way = self._ways[prefix] = self._way(prefix)
            ways.setdefault(way, []).append(prefix)
        return [(found, self._route(path, way)) for way, found in ways.items()]

    def _way(self, prefix: Prefix) -> _Way:
        if any(contains(cidr, prefix) for cidr in self._policy.rejected):
            return _Way.REJECT
        for pool in self._policy.pools:
            if contains(pool.cidr, prefix):
                return _WAYS[pool.routes]
        return _Way.PLAIN

    def _route(self, path: Path, way: _Way) -> FibRoute | None:
        if way is _Way.REJECT:
            return None
        hops = path.hops
        if path.peer is None:
            if not hops:
                return device(path.ifname) if path.ifname else BLACKHOLE
            return self._routes.via(hops, "" if way is _Way.PLAIN else TUNL0)
        if not hops:
            return UNREACHABLE
        next_hop, policy = path.attributes.next_hop, self._policy
        if policy.wireguard:
            if next_hop in policy.wireguard:
                return None
            hops = tuple(hop for hop in hops if hop not in policy.wireguard) or hops
        if way is _Way.CROSS_SUBNET and policy.subnet and contains(policy.subnet, host_prefix(next_hop)):
            way = _Way.PLAIN
        if way is _Way.PLAIN:
            return self._routes.via(hops)
        # A tunnel ends at the NEXT_HOP, whatever router is on the way there. An ECMP set's are its gateways.
        return self._routes.via((next_hop,) if len(hops) == 1 else hops, TUNL0)
