"""From resources to the configuration of one node's speaker.

Owns ``Confd``, which the nodes of a shard share, and ``derive``, the same for one node alone.

    Node, BGPConfiguration, BGPPeer ─► Fabric ─┐ (once per change, for all nodes)
                           IPPool ─► PoolRules ┤
         BlockAffinity of the node ─► blocks ──┴─► SpeakerConfig of the node

The configuration depends on the resources that exist and on nothing else. What is kept here between calls only saves
work: it is found again by the versions of the kinds it was made of, and a change that changes no configuration gives
back the very object of the last call, so that ``is`` tells whether there is anything to do.

Left out: when to derive (the shard says so after each batch of changes), and any other address family than IPv4.

Follows confd/pkg/backends/calico.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol, TypeVar, cast

import attrs

from agents.confd.fabric import Fabric, NodeFacts, Settings, build_fabric, node_facts, read_settings
from agents.confd.origination import LocalBlocks, PoolRules, local_blocks, pool_rules
from agents.confd.peers import derive_peers, local_as
from agents.speaker.config import Block, ExportPolicy, SpeakerConfig, StaticRoute, Timers
from protocol.prefix import IPV4
from protocol.v3.bgp import BGPConfiguration, BGPPeer, BGPPeerSpec
from protocol.v3.ipam import BlockAffinity
from protocol.v3.ippool import IPPool
from protocol.v3.metadata import Key, Resource
from protocol.v3.node import Node

R = TypeVar("R", bound=Resource)


class ResourceView(Protocol):
    """The part of ``agents.syncer.View`` that confd reads."""

    def all(self, kind: str) -> Mapping[Key, Resource]: ...
    def of_node(self, kind: str, node: str) -> Mapping[Key, Resource]: ...
    def version(self, kind: str) -> int: ...


@attrs.frozen
class _Derived:
    """The last answer for one node, and what it was made of."""

    fabric: Fabric
    affinities_version: int
    blocks: LocalBlocks
    config: SpeakerConfig


class Confd:
    """Derives the configurations of the nodes of one shard."""

    def __init__(self, view: ResourceView, timers: Timers) -> None:
        self._view = view
        self._timers = timers
        self._derived: dict[str, _Derived] = {}
        # Made of Node, BGPConfiguration and BGPPeer:
        self._fabric: Fabric | None = None
        self._fabric_versions = (-1, -1, -1)
        self._facts: dict[str, tuple[Resource, NodeFacts | None]] = {}  # each with the Node it was read from
        self._inputs: tuple[Settings, dict[str, NodeFacts], dict[str, BGPPeerSpec]] | None = None
        # Made of IPPool:
        self._pools = PoolRules(export_disabled=(), exported=())
        self._pools_version = -1

    def derive(self, node_name: str, family: int = IPV4) -> SpeakerConfig | None:
        """None when there is no such node or it has no IPv4 address.

        The same object as the last time when the configuration is equal.
        """
        if family != IPV4:
            return None
        fabric = self._current_fabric()
        own = fabric.nodes.get(node_name)
        if own is None:
            self._derived.pop(node_name, None)
            return None
        pools = self._current_pools()
        last = self._derived.get(node_name)
        affinities_version = self._view.version(BlockAffinity.kind)
        if last is not None and last.affinities_version == affinities_version:
            blocks = last.blocks
        else:
            affinities = self._view.of_node(BlockAffinity.kind, node_name)
            blocks = local_blocks(cast("Iterable[BlockAffinity]", affinities.values()))
        config = SpeakerConfig(
            node=node_name,
            address=own.address,
            router_id=own.address,
            local_as=local_as(fabric, own),
            peers=last.config.peers
            if last is not None and last.fabric is fabric
            else derive_peers(fabric, own),
            policy=ExportPolicy(
                blocks=tuple(Block(cidr=cidr, state="confirmed") for cidr in blocks.announced),
                export_disabled=pools.export_disabled,
                pools=pools.exported,
                normal_priority=fabric.settings.normal_priority,
            ),
            statics=tuple(StaticRoute(prefix=cidr) for cidr in blocks.blackholes),
            timers=self._timers,
        )
        if last is not None and last.config == config:
            config = last.config
        self._derived[node_name] = _Derived(fabric, affinities_version, blocks, config)
        return config

    def _current_fabric(self) -> Fabric:
        view = self._view
        versions = (view.version(Node.kind), view.version(BGPConfiguration.kind), view.version(BGPPeer.kind))
        if self._fabric is None or versions != self._fabric_versions:
            self._fabric_versions = versions
            inputs = (
                read_settings(self._all(BGPConfiguration)),
                self._read_nodes(),
                {peer.metadata.name: peer.spec for peer in self._all(BGPPeer)},
            )
            # Nodes are written for many reasons; few of them concern BGP.
            if self._fabric is None or inputs != self._inputs:
                self._inputs = inputs
                self._fabric = build_fabric(*inputs)
        return self._fabric

    def _read_nodes(self) -> dict[str, NodeFacts]:
        """Only what has changed is read again."""
        known = self._facts
        self._facts = {}
        nodes: dict[str, NodeFacts] = {}
        for node in self._all(Node):
            name = node.metadata.name
            entry = known.get(name)
            if entry is None or entry[0] is not node:
                entry = node, node_facts(node)
            self._facts[name] = entry
            if entry[1] is not None:
                nodes[name] = entry[1]
        return nodes

    def _current_pools(self) -> PoolRules:
        version = self._view.version(IPPool.kind)
        if version != self._pools_version:
            self._pools_version = version
            self._pools = pool_rules(self._all(IPPool))
        return self._pools

    def _all(self, cls: type[R]) -> list[R]:
        return cast("list[R]", list(self._view.all(cls.kind).values()))


def derive(view: ResourceView, node_name: str, timers: Timers) -> SpeakerConfig | None:
    """One node's configuration; for many nodes of one view, share a ``Confd``."""
    return Confd(view, timers).derive(node_name)
