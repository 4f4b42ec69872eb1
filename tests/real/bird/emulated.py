"""The same manifests in virtual time: whole nodes over memory links, asked what BIRD is asked.

Owns ``Emulation``, the answers of every node's BIRDs once nothing moves any more, and what Felix put into each kernel, which
the real daemons have to be given.

No ``cluster.rehearsal.virtual``: what IPAM would write here (addresses of tunnels, their blocks) the real daemons' configurations
would lack, so that nodes read the manifests as they were drawn, and write elsewhere.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial

import attrs
import trio

from agents.confd.derive import Confd
from agents.dataplane.fib import FibRoute
from agents.node import Host, Node
from agents.speaker import birdc
from agents.speaker.config import Timers
from agents.speaker.inspect import Inspector
from agents.speaker.memory import MemoryNetwork
from cluster.datastore.local import LocalDatastore
from cluster.datastore.memory import MemoryStore
from cluster.rehearsal.clock import run_virtual
from protocol.prefix import Prefix
from protocol.v3 import node as v3
from protocol.v3.lab import Router
from protocol.v3.metadata import Resource
from tests.real.bird.daemons import Daemon
from tests.real.bird.routes import Route, Session, read, read_sessions
from tests.strategies.confd import Writer

SETTLED_AFTER = 45.0
"""Virtual seconds: the longest chain of refused dials and error waits that still ends in a session, with air."""
WALL = 1_700_000_000.0


@attrs.define
class Emulation:
    """``routes`` and ``sessions`` of each daemon that works; ``felix`` of each node."""

    routes: dict[Daemon, Counter[Route]] = attrs.field(factory=dict)
    sessions: dict[Daemon, dict[str, Session]] = attrs.field(factory=dict)
    felix: dict[str, Mapping[Prefix, FibRoute]] = attrs.field(factory=dict)


def emulate(resources: Sequence[Resource], env: Mapping[str, str], *, seed: int = 0) -> Emulation:
    found = Emulation()
    run_virtual(partial(_run, resources, env, seed, found), seed)
    return found


async def _run(resources: Sequence[Resource], env: Mapping[str, str], seed: int, found: Emulation) -> None:
    def wall() -> float:
        return WALL + trio.current_time()

    view = Writer(*resources).view
    host = Host(
        view=view,
        datastore=LocalDatastore(MemoryStore(wall=wall)),
        network=MemoryNetwork(random.Random(seed), fragment=False),
        confd=Confd(view, Timers(), env=env),
        wall=wall,
        seed=seed,
    )
    names = sorted(each.metadata.name for each in resources if isinstance(each, v3.Node | Router))
    host.nodes.update((name, Node(name, host)) for name in names)
    async with trio.open_nursery() as nursery:
        for node in host.nodes.values():
            await nursery.start(node.run)
        for node in host.nodes.values():
            node.start_bgp()
        await trio.sleep(SETTLED_AFTER)
        for name, node in host.nodes.items():
            found.felix[name] = dict(node.felix_routes)
            for family, speaker in node.speakers.items():
                inspector = Inspector(speaker, now=trio.current_time(), wall=wall())
                ask = partial(birdc.answer, status=inspector.status(), routes=inspector.routes)
                found.routes[name, family] = read(ask("show route all"))
                found.sessions[name, family] = read_sessions(ask("show protocols"))
        nursery.cancel_scope.cancel()
