"""The forwarding table of one node: what its kernel would hold.

Owns ``FibRoute`` (one entry, interned) and ``Fib`` (programmed routes, longest-prefix match). Routes come from
two programs, as in a Calico node: Felix (workload /32s) and BIRD's kernel protocol (blocks of other nodes, the
blackholes of this node's own). They are kept apart, so that neither can delete what the other programmed; for one
prefix Felix's route wins, as a workload's route does in the kernel.

Flow: the agents call ``set_felix`` with all of their routes (declarative; the difference is found here), the
speaker calls ``apply`` with changes. ``routes`` is what a packet meets.

Left out: metrics and tables of the kernel; recursive next hops (the speaker resolves those).
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from typing import Protocol

import attrs

from protocol.prefix import Address, Prefix, make_prefix


class RouteKind(enum.Enum):
    VIA = "via"  # unicast through one or more gateways (more than one: ECMP)
    BLACKHOLE = "blackhole"
    DEVICE = "dev"  # scope link, on a workload's interface


@attrs.frozen(cache_hash=True)
class FibRoute:
    """One kernel route. ``gateways`` are sorted and non-empty for VIA; ``device`` is set for DEVICE."""

    kind: RouteKind
    gateways: tuple[Address, ...] = ()
    device: str = ""


BLACKHOLE = FibRoute(RouteKind.BLACKHOLE)


def via(gateways: tuple[Address, ...]) -> FibRoute:
    return FibRoute(RouteKind.VIA, gateways=gateways)


def device(name: str) -> FibRoute:
    return FibRoute(RouteKind.DEVICE, device=name)
