"""Which routes are Felix's: pools by encapsulation, and what FelixConfigurations say of each class.

Owns ``PoolClass`` (a pool as far as routes go), ``FelixSettings`` of one node, and ``clusterwide``: whether any Felix programs
routes to other nodes at all. A node needs to know the blocks of all others only then.

====================  ====================================================================================
pool                  its routes are Felix's
====================  ====================================================================================
VXLAN                 always
IPIP                  programClusterRoutes Enabled, EnabledIPIPOnly, or nothing is said
without a tunnel      programClusterRoutes Enabled, EnabledNoEncapOnly
====================  ====================================================================================

A FelixConfiguration "node.<name>" overrides, field by field, what "default" sets. ``ipipEnabled`` and ``vxlanEnabled`` of false
switch the tunnel off, whatever pools say. BIRD reads a programClusterRoutes of its own (``agents.confd.kernel``).

Follows felix/calc/encapsulation_resolver.go and felix/dataplane/driver.go; design/cluster-route-programming.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from typing import cast

import attrs

from agents.confd.parts import ResourceView
from protocol.prefix import Prefix, contains, format_prefix, parse_prefix
from protocol.v3.felix import FelixConfiguration, FelixConfigurationSpec
from protocol.v3.ippool import IPPool, IPPoolSpec


class Encapsulation(enum.Enum):
    NONE = "none"
    IPIP = "ipip"
    VXLAN = "vxlan"


@attrs.frozen(cache_hash=True)
class PoolClass:
    cidr: Prefix
    encapsulation: Encapsulation
    cross_subnet: bool = False  # neighbours in the node's own subnet are reached without the tunnel


@attrs.frozen(kw_only=True, cache_hash=True)
class FelixSettings:
    """The classes of routes that a node's Felix programs."""

    classes: frozenset[Encapsulation] = frozenset({Encapsulation.VXLAN, Encapsulation.IPIP})

    def programs(self, pool: PoolClass) -> bool:
        return pool.encapsulation in self.classes


@attrs.frozen
class AllSettings:
    default: FelixSettings = FelixSettings()
    of_node: Mapping[str, FelixSettings] = attrs.field(factory=dict)

    def of(self, node: str) -> FelixSettings:
        return self.of_node.get(node, self.default)


def pool_classes(pools: Iterable[IPPool]) -> tuple[PoolClass, ...]:
    """In the order of their CIDRs' text. A disabled pool's blocks are routed as ever."""
    found = (PoolClass(parse_prefix(pool.spec.cidr), *_encapsulation(pool.spec)) for pool in pools)
    return tuple(sorted(found, key=lambda pool: format_prefix(pool.cidr)))


def _encapsulation(spec: IPPoolSpec) -> tuple[Encapsulation, bool]:
    if spec.vxlan_mode != "Never":
        return Encapsulation.VXLAN, spec.vxlan_mode == "CrossSubnet"
    if spec.ipip_mode != "Never":
        return Encapsulation.IPIP, spec.ipip_mode == "CrossSubnet"
    return Encapsulation.NONE, False


def class_of(pools: Iterable[PoolClass], prefix: Prefix) -> PoolClass | None:
    return next((pool for pool in pools if contains(pool.cidr, prefix)), None)


def read_settings(configurations: Iterable[FelixConfiguration]) -> AllSettings:
    specs = {each.metadata.name: each.spec for each in configurations}
    default = specs.get("default", FelixConfigurationSpec())
    return AllSettings(
        _settings(default, default),
        {
            name.removeprefix("node."): _settings(spec, default)
            for name, spec in specs.items()
            if name.startswith("node.")
        },
    )


def _settings(own: FelixConfigurationSpec, default: FelixConfigurationSpec) -> FelixSettings:
    program = own.program_cluster_routes or default.program_cluster_routes or "EnabledIPIPOnly"
    classes = {Encapsulation.VXLAN}
    if program in ("Enabled", "EnabledIPIPOnly"):
        classes.add(Encapsulation.IPIP)
    if program in ("Enabled", "EnabledNoEncapOnly"):
        classes.add(Encapsulation.NONE)
    for switch, tunnel in (("vxlan_enabled", Encapsulation.VXLAN), ("ipip_enabled", Encapsulation.IPIP)):
        said = getattr(own, switch)
        if (getattr(default, switch) if said is None else said) is False:
            classes.discard(tunnel)
    return FelixSettings(classes=frozenset(classes))


ROUTING_KINDS = frozenset({IPPool.kind, FelixConfiguration.kind})
"""What ``clusterwide`` follows from."""


def clusterwide(view: ResourceView) -> bool:
    """Whether some Felix routes to blocks of other nodes."""
    pools = pool_classes(cast("Iterable[IPPool]", view.all(IPPool.kind).values()))
    settings = read_settings(cast("Iterable[FelixConfiguration]", view.all(FelixConfiguration.kind).values()))
    everyone = (settings.default, *settings.of_node.values())
    return any(each.programs(pool) for each in everyone for pool in pools)
