"""From the mesh to route reflectors, in the order that Calico documents: what sessions and routes do at each step.

And without any care: what turning the mesh off costs whose other sessions wait for that.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import attrs
import trio
import trio.testing

from agents.dataplane.fib import RouteKind
from agents.speaker.config import Timers
from cluster.rehearsal.clock import run_virtual
from cluster.rehearsal.virtual import Virtual
from tests.conftest import Golden
from tests.strategies.clusters import Document, affinity, bgp_configuration, bgp_peer, node, pool

NAMES = [f"node-{index}" for index in range(1, 6)]
REFLECTORS = NAMES[:2]
LABEL = "route-reflector"
STEP = 0.01
QUIET = 45.0
"""Virtual seconds that a step is looked at: no session waits longer for its next dial."""


def member(name: str, *, label: bool = False, cluster: str = "") -> Document:
    address = f"10.77.0.{name[-1]}/24"
    return node(name, address, cluster=cluster, labels={LABEL: "true"} if label else {})


def mesh(on: bool) -> Document:
    return bgp_configuration(asNumber=64512, nodeToNodeMeshEnabled=on)


def steps() -> Iterator[tuple[str, list[Document]]]:
    yield (
        f"calicoctl label node node-1 {LABEL}=true, and node-2",
        [member(name, label=True) for name in REFLECTORS],
    )
    yield (
        f"calicoctl apply: BGPPeer, every node with those that have {LABEL}",
        [bgp_peer("reflectors", nodeSelector="all()", peerSelector=f"has({LABEL})")],
    )
    for name in REFLECTORS:
        yield (
            f"calicoctl patch node {name}: routeReflectorClusterID 244.0.0.1",
            [member(name, label=True, cluster="244.0.0.1")],
        )
    yield "calicoctl patch bgpconfig default: nodeToNodeMeshEnabled false", [mesh(False)]


@attrs.define
class Watch:
    """One step, looked at every few milliseconds."""

    cluster: Virtual
    lowest: int = 1 << 30
    settled: float = 0.0  # when the last table became right
    broke: Counter[str] = attrs.Factory(Counter)

    async def look(self) -> None:
        began = trio.current_time()
        right = self.cluster.expected()
        tables = dict(right.solve(NAMES, self.cluster.host.routes.via))
        before = self._up()
        while trio.current_time() < began + QUIET:
            await trio.sleep(STEP)
            self.lowest = min(self.lowest, self.reached())
            now = self._up()
            self.broke.update(name.partition("_")[0] for _, name in before - now)
            before = now
            if any(self.cluster.node(name).fib.routes != table for name, table in tables.items()):
                self.settled = trio.current_time() - began

    def reached(self) -> int:
        """Blocks of others that nodes have a way to, all together."""
        return sum(
            route.kind is RouteKind.VIA
            for name in NAMES
            for route in self.cluster.node(name).fib.routes.values()
        )

    def sessions(self) -> str:
        ends = Counter(name.partition("_")[0] for _, name in self._up())
        return ", ".join(f"{count // 2} {kind}" for kind, count in sorted(ends.items()))

    def _up(self) -> set[tuple[str, str]]:
        return {
            (name, peer.config.name)
            for name in NAMES
            for speaker in self.cluster.node(name).speakers.values()
            for peer in speaker.peers.values()
            if peer.up
        }


def report(watch: Watch) -> str:
    broke = ", ".join(f"{count} ends of {kind}" for kind, count in sorted(watch.broke.items()))
    settled = f"right after {watch.settled:.2f} s" if watch.settled else "right all the time"
    return (
        f"  sessions  {watch.sessions()}; broke: {broke or 'none'}\n"
        f"  routes    {watch.reached()}; never fewer than {watch.lowest}; {settled}\n"
    )


def client(cluster: Virtual) -> str:
    """The table of a node that is no reflector."""
    rows = []
    for speaker in cluster.node("node-5").speakers.values():
        for peer in speaker.peers.values():
            state = "Established" if peer.up else "not up"
            rows.append(f"  node-5  {peer.config.name:<18}{state:<14}{peer.imported} paths")
    return "\n".join(rows) + "\n"


async def in_a_mesh(nursery: trio.Nursery) -> Virtual:
    cluster = Virtual(nursery, 1, fragment=True)
    cluster.apply(pool("default", "192.168.0.0/16", blockSize=26))
    cluster.apply(mesh(True))
    for index, name in enumerate(NAMES, 1):
        cluster.apply(member(name))
        cluster.apply(affinity(name, f"192.168.{index}.0/26"))
        await cluster.start(name)
    return cluster


async def migrate() -> str:
    text = ""
    async with trio.open_nursery() as nursery:
        cluster = await in_a_mesh(nursery)
        for title, documents in (("five nodes, a block each, in a mesh", []), *steps()):
            for document in documents:
                cluster.apply(document)
            watch = Watch(cluster)
            await watch.look()
            assert cluster.differences() == []
            text += f"{title}\n{report(watch)}"
        text += f"\n{client(cluster)}"
        nursery.cancel_scope.cancel()
    return text


def test_from_the_mesh_to_reflectors(golden: Golden) -> None:
    golden("migration", run_virtual(migrate, 1))


async def turn_the_mesh_off() -> tuple[Watch, Watch]:
    async with trio.open_nursery() as nursery:
        cluster = await in_a_mesh(nursery)
        cluster.apply(bgp_peer("everybody", nodeSelector="all()", peerSelector="all()"))
        await trio.sleep(QUIET)
        watches = []
        for on in (False, True):
            cluster.apply(mesh(on))
            watch = Watch(cluster)
            await watch.look()
            assert cluster.differences() == []
            watches.append(watch)
        nursery.cancel_scope.cancel()
    off, on_again = watches
    return off, on_again


def test_sessions_that_wait_for_the_mesh_to_go_take_a_connect_delay() -> None:
    off, on_again = run_virtual(turn_the_mesh_off, 1)
    delay = Timers().connect_delay
    assert off.broke == {"Mesh": 20}
    assert off.lowest == 0
    assert 0.75 * delay <= off.settled <= delay + 2 * STEP
    # Nobody waits for a connect delay before the mesh: it was not there before.
    assert on_again.broke.keys() == {"Node"}
    assert on_again.settled < 0.75 * delay
