"""From resources to the configurations of the speakers of one node: one for each address family.

Owns ``Confd``, which the nodes of a shard share, and ``derive``, the same for one node alone.

    Node, BGPConfiguration, BGPPeer, BGPFilter, Secret ─► Fabric ──────┐
    IPPool, BGPConfiguration ─► what is exported, what the kernel gets ┤ once per change and family, for all nodes
    Service, EndpointSlice, BGPConfiguration ─► ServiceRoutes ─────────┤
    BlockAffinity (and WorkloadEndpoint) of the node ──────────────────┴─► SpeakerConfig of the node
    Router, Node, Secret ─► SpeakerConfig of a lab Router

The configuration depends on the resources that exist and on nothing else. What is kept here between calls only saves
work: it is found again by the versions of the kinds it was made of, and a change that changes no configuration gives
back the very object of the last call, so that ``is`` tells whether there is anything to do.

Left out: when to derive (the shard says so after each batch of changes).

Follows confd/pkg/backends/calico.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import TypeVar, cast

import attrs

from agents.confd.fabric import Fabric, build_fabric
from agents.confd.filters import Filters, read_filter
from agents.confd.kernel import kernel_pools
from agents.confd.nodes import NodeFacts, node_facts
from agents.confd.origination import LocalBlocks, PoolRules, local_blocks, pool_rules
from agents.confd.parts import Part, Reader, ResourceView
from agents.confd.passwords import Passwords
from agents.confd.peers import Sessions, derive_sessions, local_as
from agents.confd.requests import Request, read_request
from agents.confd.router import RouterFacts, Surroundings, derive_router, router_facts
from agents.confd.router_id import router_id_of
from agents.confd.services import ServiceRoutes, read_service_settings, service_routes
from agents.confd.settings import Settings, read_settings
from agents.speaker.config import (
    ExportPolicy,
    KernelPolicy,
    KernelPool,
    SpeakerConfig,
    Timers,
)
from protocol.prefix import IPV4, host_prefix
from protocol.v3.bgp import BGPConfiguration, BGPConfigurationSpec, BGPFilter, BGPPeer
from protocol.v3.core import EndpointSlice, Secret, Service
from protocol.v3.ipam import BlockAffinity
from protocol.v3.ippool import IPPool
from protocol.v3.lab import Router
from protocol.v3.metadata import Resource
from protocol.v3.node import Node
from protocol.v3.workload import WorkloadEndpoint

R = TypeVar("R", bound=Resource)

_NO_ENVIRONMENT: Mapping[str, str] = MappingProxyType({})

_COMMON_KINDS = tuple(
    kind.kind for kind in (Node, BGPConfiguration, BGPPeer, BGPFilter, Secret, IPPool, Service, EndpointSlice)
)
"""What the nodes have in common is made of. A node that starts writes other kinds, for which nothing of it is looked at."""


class Confd:
    """Derives the configurations of the nodes of one shard. ``env`` is the environment of all of them."""

    def __init__(self, view: ResourceView, timers: Timers, env: Mapping[str, str] = _NO_ENVIRONMENT) -> None:
        self._view = view
        self._timers = timers
        self._env = env
        self._families: dict[int, _Family] = {}

    def derive(self, name: str, family: int = IPV4) -> SpeakerConfig | None:
        """None when there is no Node, and no Router, of that name.

        The same object as the last time when the configuration is equal.
        """
        state = self._families.get(family)
        if state is None:
            state = self._families[family] = _Family(self._view, family, self._timers, self._env)
        return state.derive(name)


def derive(
    view: ResourceView,
    name: str,
    timers: Timers,
    family: int = IPV4,
    env: Mapping[str, str] = _NO_ENVIRONMENT,
) -> SpeakerConfig | None:
    """One node's configuration; for many nodes of one view, share a ``Confd``."""
    return Confd(view, timers, env).derive(name, family)


@attrs.frozen(kw_only=True, eq=False)
class _Common:
    """What the nodes have in common. Compared by identity."""

    settings: Settings
    nodes: dict[str, NodeFacts]
    fabric: Fabric
    filters: Filters
    pools: PoolRules
    kernel_pools: tuple[KernelPool, ...]
    services: ServiceRoutes

    def made_of(self, other: _Common) -> bool:
        """The very same parts."""
        return (
            self.fabric is other.fabric
            and self.nodes is other.nodes
            and self.settings is other.settings
            and self.filters is other.filters
            and self.pools is other.pools
            and self.kernel_pools is other.kernel_pools
            and self.services is other.services
        )


@attrs.frozen(kw_only=True, eq=False)
class _Own:
    """The last answer for one node, and what it was made of."""

    common: _Common
    facts: NodeFacts
    affinities: int  # version
    workloads: int  # version
    blocks: LocalBlocks
    sessions: Sessions
    config: SpeakerConfig


class _Family:
    """One address family."""

    def __init__(self, view: ResourceView, family: int, timers: Timers, env: Mapping[str, str]) -> None:
        self._view = view
        self._family = family
        self._timers = timers
        self._env = env
        self._derived: dict[str, _Own] = {}
        self._surroundings: tuple[tuple[object, ...], Surroundings] | None = None
        self._routers_derived: dict[str, SpeakerConfig] = {}
        self._common: _Common | None = None
        self._common_made_of: tuple[int, ...] = ()
        self._fabric: Fabric | None = None
        self._fabric_made_of: object = None

        nodes = Reader(view, Node, lambda node: node_facts(node, family))
        filters = Reader(view, BGPFilter, lambda resource: read_filter(resource, family))
        routers = Reader(view, Router, lambda resource: router_facts(resource, family))
        self._nodes = Part(view, (Node,), nodes.all)
        self._filters = Part(view, (BGPFilter,), lambda: Filters(filters.all()))
        self._routers = Part(view, (Router,), routers.all)
        self._passwords = Part(
            view, (Secret,), lambda: Passwords(dict(view.all(Secret.kind)), env.get("NAMESPACE"))
        )
        self._settings = Part(
            view, (BGPConfiguration,), lambda: read_settings(self._all(BGPConfiguration), family)
        )
        self._requests = Part(view, (BGPPeer, BGPFilter, Secret), self._read_requests)
        self._mesh_password = Part(view, (BGPConfiguration, Secret), self._read_mesh_password)
        self._pools = Part(view, (IPPool,), lambda: pool_rules(self._all(IPPool), family))
        self._kernel_pools = Part(view, (IPPool, BGPConfiguration), self._read_kernel_pools)
        self._services = Part(view, (Service, EndpointSlice, BGPConfiguration), self._read_services)

    def derive(self, name: str) -> SpeakerConfig | None:
        common = self._current()
        own = common.nodes.get(name)
        if own is not None:
            return self._derive_node(common, own)
        self._derived.pop(name, None)
        facts = self._routers.current().get(name)
        if facts is not None:
            return self._derive_router(common, facts)
        self._routers_derived.pop(name, None)
        return None

    # -- what is in common --------------------------------------------------------------------------------------

    def _current(self) -> _Common:
        versions = tuple(map(self._view.version, _COMMON_KINDS))
        if self._common is not None and versions == self._common_made_of:
            return self._common
        self._common_made_of = versions
        settings = self._settings.current()
        common = _Common(
            settings=settings,
            nodes=self._nodes.current(),
            fabric=self._current_fabric(settings),
            filters=self._filters.current(),
            pools=self._pools.current(),
            kernel_pools=self._kernel_pools.current(),
            services=self._services.current(),
        )
        if self._common is None or not self._common.made_of(common):
            self._common = common
        return self._common

    def _current_fabric(self, settings: Settings) -> Fabric:
        inputs = (
            settings.peering,
            self._nodes.current(),
            self._requests.current(),
            self._mesh_password.current(),
            self._filters.current().named(())[:2],
        )
        if self._fabric is None or inputs != self._fabric_made_of:
            self._fabric_made_of = inputs
            fabric = build_fabric(*inputs)
            # Nodes and BGPPeers are written for many reasons; few of them concern who peers with whom.
            if self._fabric != fabric:
                self._fabric = fabric
        return self._fabric

    def _read_requests(self) -> dict[str, Request]:
        filters, passwords = self._filters.current(), self._passwords.current()
        found = ((peer, read_request(peer, self._family, filters, passwords)) for peer in self._all(BGPPeer))
        return {peer.metadata.name: request for peer, request in found if request is not None}

    def _read_mesh_password(self) -> tuple[str | None, tuple[str, ...]]:
        password = self._settings.current().peering.mesh_password
        return self._passwords.current().read(password, "BGPConfiguration/default")

    def _read_kernel_pools(self) -> tuple[KernelPool, ...]:
        return kernel_pools(self._all(IPPool), self._settings.current().owned, self._family)

    def _read_services(self) -> ServiceRoutes:
        default = self._view.all(BGPConfiguration.kind).get((BGPConfiguration.kind, "", "default"))
        spec = default.spec if isinstance(default, BGPConfiguration) else BGPConfigurationSpec()
        settings = read_service_settings(spec, self._env.get("CALICO_ADVERTISE_CLUSTER_IPS", ""))
        return service_routes(settings, self._all(Service), self._all(EndpointSlice), self._family)

    # -- one of many ----------------------------------------------------------------------------------------------

    def _derive_node(self, common: _Common, own: NodeFacts) -> SpeakerConfig:
        name, fabric, last = own.name, common.fabric, self._derived.get(own.name)
        affinities = self._view.version(BlockAffinity.kind)
        workloads = self._view.version(WorkloadEndpoint.kind) if fabric.workloads else 0
        same_sessions = (
            last is not None
            and last.common.fabric is fabric
            and last.facts is own
            and last.workloads == workloads
        )
        if last is not None and same_sessions and last.common is common and last.affinities == affinities:
            return last.config
        if last is not None and same_sessions:
            sessions = last.sessions
        else:
            sessions = derive_sessions(
                fabric, own, self._of_node(WorkloadEndpoint, name) if workloads else ()
            )
            if last is not None and last.sessions == sessions:
                sessions = last.sessions  # a thousand stanzas need not be there twice
        if last is not None and last.affinities == affinities:
            blocks = last.blocks
        else:
            blocks = local_blocks(self._of_node(BlockAffinity, name), self._family)
        config = self._node_config(common, own, sessions, blocks)
        if last is not None and last.config == config:
            config = last.config
        self._derived[name] = _Own(
            common=common,
            facts=own,
            affinities=affinities,
            workloads=workloads,
            blocks=blocks,
            sessions=sessions,
            config=config,
        )
        return config

    def _node_config(
        self, common: _Common, own: NodeFacts, sessions: Sessions, blocks: LocalBlocks
    ) -> SpeakerConfig:
        name, settings, fabric = own.name, common.settings, common.fabric
        router_id, router_notes = router_id_of(own, self._env.get("CALICO_ROUTER_ID", ""))
        advertised = settings.advertised_by(name)
        announced = common.services.of_node(name, excluded=own.excluded)
        # BIRD compares next hops with it; an address without a prefix length is a subnet of its own.
        subnet = own.subnet or (host_prefix(own.address) if own.address else None)
        return SpeakerConfig(
            node=name,
            address=own.address,
            router_id=router_id,
            local_as=local_as(fabric, own),
            family=self._family,
            subnet=own.subnet,
            peers=sessions.peers,
            filters=common.filters.all,
            policy=ExportPolicy(
                normal_priority=settings.normal_priority,
                export_disabled=common.pools.export_disabled,
                tunnel_kept=not settings.owned.ipip,
                communities=advertised.communities,
                blocks=blocks.blocks,
                services=announced.prefixes,
                reflected=common.services.reflected if own.cluster_id is not None else (),
                pools=common.pools.exported,
            ),
            kernel=KernelPolicy(
                normal_priority=settings.normal_priority,
                rejected=common.services.rejected,
                wireguard=tuple(address for address in fabric.wireguard if address != own.address)
                if own.wireguard
                else (),
                # Without an address of its own a node has no line about IPv4 pools.
                pools=common.kernel_pools if own.address or self._family != IPV4 else (),
                subnet=subnet,
            ),
            statics=(*blocks.blackholes, *announced.statics, *sessions.statics),
            timers=self._timers,
            listen_port=settings.peering.port_of(name),
            listen_address=own.address if settings.bind_node_ip and own.address else None,
            ignored_interfaces=settings.ignored_interfaces,
            debug=settings.debug_of(name),
            notes=(*router_notes, *common.services.notes, *advertised.notes, *sessions.notes),
        )

    def _derive_router(self, common: _Common, facts: RouterFacts) -> SpeakerConfig:
        routers, passwords = self._routers.current(), self._passwords.current()
        made_of = common.settings.peering, common.nodes, routers
        if self._surroundings is None or any(
            new is not old for new, old in zip(made_of, self._surroundings[0], strict=True)
        ):
            self._surroundings = made_of, Surroundings(*made_of)
        config = derive_router(facts, self._surroundings[1], passwords, self._family, self._timers)
        last = self._routers_derived.get(facts.name)
        if last is not None and last == config:
            return last
        self._routers_derived[facts.name] = config
        return config

    def _all(self, cls: type[R]) -> Iterable[R]:
        return cast("Iterable[R]", self._view.all(cls.kind).values())

    def _of_node(self, cls: type[R], node: str) -> Iterable[R]:
        return cast("Iterable[R]", self._view.of_node(cls.kind, node).values())
