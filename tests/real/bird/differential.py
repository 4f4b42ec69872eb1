"""One set of manifests, two clusters: what real BIRD daemons know, and what the emulated ones do.

    documents ─► loader ─► resources ─┬─► whole nodes in virtual time ───────────► answers ─┐
                                      │        └─ what Felix programmed ─┐                  ├─► differences
                                      └─► confd ─► BIRD's files ─────────┴─► real daemons ──┘

Owns ``differences``. The daemons have converged when they say what the emulated ones say, twice and with a moment in
between; or never, and then what they say when the patience is over is what is different.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar

import attrs
import yaml

from agents.confd.bird import files
from agents.confd.derive import Confd
from agents.confd.still import StillView
from agents.dataplane.fib import FibRoute, RouteKind
from agents.speaker.config import PeerConfig, SpeakerConfig, Timers
from protocol.prefix import IPV4, IPV6, Prefix, family_of, format_address, format_prefix
from protocol.v3.loader import parse
from protocol.v3.metadata import Resource
from protocol.v3.node import Node
from tests.real.bird.daemons import Flock
from tests.real.bird.emulated import Emulation, emulate
from tests.real.bird.namespaces import LEG, Wire

HURRIED = Timers(connect_delay=1, connect_retry=1, error_wait_min=1, error_wait_max=2)
"""BIRD's shortest, for the real daemons."""
PATIENCE = 12.0
"""Seconds until a difference is believed."""
MOMENT = 0.2

T = TypeVar("T")


def load(documents: Sequence[Mapping[str, Any]]) -> tuple[Resource, ...]:
    """As from a file. Raises ManifestError."""
    return parse(as_yaml(documents), "manifests").resources


def as_yaml(documents: Sequence[Mapping[str, Any]]) -> str:
    return yaml.safe_dump_all(documents, sort_keys=False)


def differences(
    documents: Sequence[Mapping[str, Any]], programs: Mapping[int, str], env: Mapping[str, str]
) -> list[str]:
    """What real BIRD has otherwise, in words. ``programs`` are BIRD's, by family."""
    resources = load(documents)
    emulation = emulate(resources, env)
    names = sorted(emulation.felix)
    confd = Confd(StillView(resources), HURRIED, env=env)
    configs = {
        (index, family): config
        for index, name in enumerate(names)
        for family in (IPV4, IPV6)
        if (config := confd.derive(name, family)) is not None and config.enabled
    }
    if any(len({peer.address for peer in config.peers}) < len(config.peers) for config in configs.values()):
        return []  # two stanzas for one neighbour: see docs/differences.md
    configs = _with_one_dialler(configs)
    addresses = _addresses(resources)
    with Wire(len(names)) as wire:
        for index, name in enumerate(names):
            own = [config for (number, _), config in configs.items() if number == index]
            routes = emulation.felix[name]
            wire.lay(index, addresses[name], sorted(_devices(routes)), list(_kernel_routes(routes, own)))
        with Flock(wire, programs, {daemon: files(config) for daemon, config in configs.items()}) as flock:
            return _until_equal(flock, list(configs), emulation, names)


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


def _addresses(resources: Sequence[Resource]) -> dict[str, list[str]]:
    return {
        node.metadata.name: [
            text for text in (node.spec.bgp.ipv4_address, node.spec.bgp.ipv6_address) if text
        ]
        for node in resources
        if isinstance(node, Node) and node.spec.bgp is not None
    }


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


def _until_equal(
    flock: Flock, daemons: Sequence[tuple[int, int]], emulation: Emulation, names: Sequence[str]
) -> list[str]:
    deadline = time.monotonic() + PATIENCE
    equal = False
    while True:
        found = [
            line
            for index, family in daemons
            for line in _different(flock, (index, family), emulation, (names[index], family))
        ]
        if (not found and equal) or (found and time.monotonic() > deadline):
            return found
        equal = not found
        time.sleep(MOMENT if equal else 0.02)


def _different(
    flock: Flock, daemon: tuple[int, int], emulation: Emulation, node: tuple[str, int]
) -> Iterator[str]:
    where = f"{node[0]} IPv{node[1]}"
    sessions, emulated = flock.sessions(daemon), emulation.sessions[node]
    if sessions.keys() != emulated.keys():
        yield f"{where}: BIRD has the protocols {sorted(sessions)}, not {sorted(emulated)}"
    for name in sessions.keys() & emulated.keys():
        if (sessions[name] == "Established") != (emulated[name] == "Established"):
            yield f"{where}: {name} is {sessions[name]} in BIRD, not {emulated[name]}{flock.complaint(daemon, name)}"
    routes, expected = flock.routes(daemon), emulation.routes[node]
    for which, more, less in (("BIRD", routes, expected), ("tortie", expected, routes)):
        yield from (f"{where}: only {which} has {route}" for route in sorted((more - less).elements()))
