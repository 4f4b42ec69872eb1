"""One set of manifests, two clusters: what real BIRD daemons know, and what the emulated ones do.

    documents ─► loader ─► resources ─┬─► whole nodes in virtual time ───────────► answers ─┐
                                      │        └─ what Felix programmed ─┐                  ├─► differences
                                      └─► confd ─► BIRD's files ─────────┴─► real daemons ──┘

Owns ``load``, ``settles`` and ``differences``. The daemons have converged when they say what the emulated ones say, twice
and with a moment in between; or never, and then what they say when the patience is over is what is different.
"""

from __future__ import annotations

import time
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from ipaddress import ip_address, ip_network
from typing import Any, TypeVar

import attrs
import yaml

from agents.confd.bird import files
from agents.confd.derive import Confd
from agents.confd.still import StillView
from agents.dataplane.fib import FibRoute, RouteKind
from agents.speaker.config import PeerConfig, SpeakerConfig, Timers
from cluster.oracle import Oracle, Snapshot
from protocol.prefix import IPV4, IPV6, Address, Prefix, family_of, format_address, format_prefix
from protocol.v3.codec import encode
from protocol.v3.lab import Router
from protocol.v3.loader import parse
from protocol.v3.metadata import Resource
from protocol.v3.node import Node
from tests.real.bird.daemons import Daemon, Flock
from tests.real.bird.emulated import Emulation, emulate
from tests.real.bird.namespaces import LEG, Wire
from tests.real.bird.router import router_files
from tests.real.bird.routes import Route, undecided

HURRIED = Timers(connect_delay=1, connect_retry=1, error_wait_min=1, error_wait_max=2)
"""BIRD's shortest, for the real daemons."""
PATIENCE = 12.0
"""Seconds until a difference is believed."""
MOMENT = 0.2

T = TypeVar("T")


def load(documents: Sequence[Mapping[str, Any]]) -> tuple[Resource, ...]:
    """As from a file. Raises ManifestError."""
    return parse(yaml.safe_dump_all(documents), "manifests").resources


def configurations(resources: Sequence[Resource], env: Mapping[str, str]) -> dict[Daemon, SpeakerConfig]:
    """What each daemon that works is told."""
    names = sorted(node.metadata.name for node in resources if isinstance(node, Node | Router))
    confd = Confd(StillView(resources), HURRIED, env=env)
    found = ((name, family, confd.derive(name, family)) for name in names for family in (IPV4, IPV6))
    return {(name, family): config for name, family, config in found if config is not None and config.enabled}


def settles(configs: Mapping[Daemon, SpeakerConfig]) -> bool:
    """Whether the real daemons come to rest, and always to the same.

    Of two stanzas for one neighbour each takes the other's connections for a restart. With TTL security at one end alone a
    message or two get through, or do not, before it looks at them.
    """
    stanzas: dict[tuple[Address, Address], list[PeerConfig]] = {}
    for config in configs.values():
        for peer in config.peers:
            stanzas.setdefault((config.address, peer.address), []).append(peer)
    return all(
        len(found) == 1
        and all(
            (back.ttl_security is None) == (found[0].ttl_security is None)
            for back in stanzas.get((far, near), ())
        )
        for (near, far), found in stanzas.items()
    )


def differences(
    resources: Sequence[Resource], env: Mapping[str, str], programs: Mapping[int, str]
) -> list[str] | None:
    """What real BIRD has otherwise, in words; None for what is not compared (docs/differences.md). ``env`` is calico-node's;
    ``programs`` are BIRD's, by family.
    """
    emulation = emulate(resources, env)
    configs = _with_one_dialler(configurations(resources, env))
    if any(map(_taught_its_next_hops, emulation.routes.values())):
        return None
    names = sorted(emulation.felix)
    with Wire(names) as wire:
        for name in names:
            own = [configs[name, family] for family in (IPV4, IPV6) if (name, family) in configs]
            routes = emulation.felix[name]
            wire.lay(name, _addresses(own), sorted(_devices(routes)), list(_kernel_routes(routes, own)))
        with Flock(wire, programs, {daemon: _files(config) for daemon, config in configs.items()}) as flock:
            spared = _by_age(configs, emulation) | _by_history(resources, env)
            return _until_equal(flock, list(configs), emulation, spared)


def _files(config: SpeakerConfig) -> dict[str, str]:
    return router_files(config) if config.policy is None else files(config)


def _with_one_dialler(configs: Mapping[T, SpeakerConfig]) -> dict[T, SpeakerConfig]:
    """Where both ends of a session would dial, the one with the larger address waits.

    Real daemons that are started together dial in the same instant, and each takes the other's connection for a restart of the
    session that it has: that can go on for many rounds, which is a waste of time here.
    """
    by_address = {config.address: config for config in configs.values()}

    def waits(own: SpeakerConfig, peer: PeerConfig) -> bool:
        other = by_address.get(peer.address)
        return other is not None and any(
            back.address == own.address and not back.passive and back.port == own.listen_port
            for back in other.peers
            if own.address > other.address
        )

    return {
        key: attrs.evolve(
            config,
            peers=tuple(
                attrs.evolve(peer, passive=peer.passive or waits(config, peer)) for peer in config.peers
            ),
        )
        for key, config in configs.items()
    }


def _addresses(configs: Sequence[SpeakerConfig]) -> list[str]:
    """With the lengths of their networks."""
    return [
        f"{format_address(config.address)}/{config.subnet[0] if config.subnet else len(config.address) * 8}"
        for config in configs
    ]


def _devices(routes: Mapping[Prefix, FibRoute]) -> set[str]:
    return {route.device for route in routes.values() if route.device}


def _kernel_routes(routes: Mapping[Prefix, FibRoute], configs: Sequence[SpeakerConfig]) -> Iterator[str]:
    """Felix's routes as ``ip route add`` takes them, with the metric of normal priority."""
    metrics = {
        config.family: config.policy.normal_priority for config in configs if config.policy is not None
    }
    for prefix, route in routes.items():
        if (metric := metrics.get(family_of(prefix))) is None:
            continue
        text = f"{format_prefix(prefix)} proto boot metric {metric}"
        match route.kind:
            case RouteKind.DEVICE:
                yield f"{text} dev {route.device}"
            case RouteKind.VIA:
                (gateway,) = route.gateways
                yield f"{text} via {format_address(gateway)} dev {route.device or LEG} onlink"
            case RouteKind.BLACKHOLE | RouteKind.UNREACHABLE:
                yield f"{route.kind.value} {text}"


def _taught_its_next_hops(routes: Iterable[Route]) -> bool:
    """Whether the longest match of a BGP route's next hop is a route of BGP."""
    best = {ip_network(route.prefix): route for route in routes if route.best}
    for next_hop in {ip_address(route.next_hop) for route in routes if route.next_hop}:
        covering = [network for network in best if next_hop in network]
        if covering and best[max(covering, key=lambda network: network.prefixlen)].next_hop:
            return True
    return False


def _by_age(configs: Mapping[Daemon, SpeakerConfig], emulation: Emulation) -> set[str]:
    """Prefixes of which a neighbour without add-path is told one of several paths, by their age."""
    if all(config.add_path for config in configs.values()):
        return set()
    return {prefix for routes in emulation.routes.values() for prefix in undecided(routes)}


def _by_history(resources: Sequence[Resource], env: Mapping[str, str]) -> set[str]:
    """Prefixes of which BGP is proved to have several states that last: real daemons and emulated ones may be in different ones,
    and are in the same one nearly always.
    """
    documents: dict[str, list[dict[str, Any]]] = {}
    for resource in resources:
        documents.setdefault(resource.kind, []).append(encode(resource))
    return {format_prefix(prefix) for prefix in Oracle(env).expect(Snapshot(documents)).unsettled}


def _until_equal(
    flock: Flock, daemons: Sequence[Daemon], emulation: Emulation, spared: Container[str]
) -> list[str]:
    deadline = time.monotonic() + PATIENCE
    equal = False
    while True:
        found = [line for daemon in daemons for line in _different(flock, daemon, emulation, spared)]
        if (not found and equal) or (found and time.monotonic() > deadline):
            return found
        equal = not found
        time.sleep(MOMENT if equal else 0.02)


def _different(flock: Flock, daemon: Daemon, emulation: Emulation, spared: Container[str]) -> Iterator[str]:
    where = f"{daemon[0]} IPv{daemon[1]}"
    sessions, emulated = flock.sessions(daemon), emulation.sessions[daemon]
    if sessions.keys() != emulated.keys():
        yield f"{where}: BIRD has the protocols {sorted(sessions)}, not {sorted(emulated)}"
    for name in sessions.keys() & emulated.keys():
        if (sessions[name] == "Established") != (emulated[name] == "Established"):
            yield f"{where}: {name} is {sessions[name]} in BIRD, not {emulated[name]}{flock.complaint(daemon, name)}"
    routes, expected = flock.routes(daemon), emulation.routes[daemon]
    for which, more, less in (("BIRD", routes, expected), ("tortie", expected, routes)):
        for route in sorted((more - less).elements()):
            if route.prefix not in spared:
                yield f"{where}: only {which} has {route}"
