"""Which routes BIRD puts into the kernel, and which are Felix's: calico_kernel_programming.

Owns ``Ownership``, what BGPConfiguration.programClusterRoutes gives to BIRD, and ``kernel_pools``:

====================  ===================================  ================================================
pool                  routes are BIRD's when               else
====================  ===================================  ================================================
VXLAN                 never                                Felix's
IPIP                  Enabled, EnabledIPIPOnly             Felix's
without a tunnel      Enabled, EnabledNoEncapOnly,         Felix's
                      or nothing is said
====================  ===================================  ================================================

Felix reads its own programClusterRoutes (``agents.felix``). Nothing holds the two against each other: where neither
programs a pool its routes are missing, where both do they write over each other.

The order is that of the CIDRs' text. IPv6 has no tunnels of BIRD's, and what BIRD programs needs no rule there.

Follows confd/pkg/backends/calico/bgp_processor.go: processIPPool, clusterRoutePolicy.
"""

from __future__ import annotations

from collections.abc import Iterable

import attrs

from agents.speaker.config import KernelPool, PoolRoutes
from protocol.prefix import IPV4, family_of, format_prefix, parse_prefix
from protocol.v3.ippool import IPPool, IPPoolSpec


@attrs.frozen(kw_only=True)
class Ownership:
    """Whose routes BIRD programs."""

    ipip: bool
    direct: bool


BY_DEFAULT = Ownership(ipip=False, direct=True)


def ownership(program_cluster_routes: str | None) -> Ownership:
    """Of a value that is not known (or None) the default."""
    match program_cluster_routes:
        case "Enabled":
            return Ownership(ipip=True, direct=True)
        case "EnabledIPIPOnly":
            return Ownership(ipip=True, direct=False)
        case "Disabled":
            return Ownership(ipip=False, direct=False)
        case _:
            return BY_DEFAULT


def kernel_pools(pools: Iterable[IPPool], owned: Ownership, family: int) -> tuple[KernelPool, ...]:
    rules = []
    for pool in pools:
        cidr = parse_prefix(pool.spec.cidr)
        routes = _routes(pool.spec, owned)
        if family_of(cidr) == family and (family == IPV4 or routes in (PoolRoutes.VXLAN, PoolRoutes.FELIX)):
            rules.append(KernelPool(cidr=cidr, routes=routes))
    return tuple(sorted(rules, key=lambda rule: (format_prefix(rule.cidr), rule.routes.value)))


def _routes(spec: IPPoolSpec, owned: Ownership) -> PoolRoutes:
    if spec.vxlan_mode != "Never":
        return PoolRoutes.VXLAN
    match spec.ipip_mode:
        case "Always" if owned.ipip:
            return PoolRoutes.TUNNEL
        case "CrossSubnet" if owned.ipip:
            return PoolRoutes.CROSS_SUBNET
        case "Never" if owned.direct:
            return PoolRoutes.DIRECT
        case _:
            return PoolRoutes.FELIX
