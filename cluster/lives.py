"""The nodes of one process: who runs, whose machine has power, whose daemons hang.

Owns ``Lives``: a task for each node whose daemons run, and the kernels of those whose do not.

    start ──► running ── stop ──► stopped: the kernel is kept and goes on forwarding ── start ──► running, on that kernel
                │  └──── freeze ► frozen: the task stands still where it waits for the network ── thaw ──► running
                ├─ power off, and of a stopped one as well: nothing is left ── start ──► running, empty
                └─ remove: the same, but neighbours are told

What neighbours notice of it is the network's business: the sockets of a node whose task has ended are closed, and
who must not hear of that is told nothing beforehand (``cluster.faults``).

Left out: why (``cluster.faults``), what a node is asked (``cluster.shard``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress

import attrs
import trio

from agents.dataplane.fib import Fib
from agents.node import Host, Node

LAST_WORDS = 1.0
"""Seconds that the BIRDs of a node may take to hear that it was deleted, and to say so."""


@attrs.define(eq=False)
class _Life:
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    over: trio.Event = attrs.field(factory=trio.Event)


class Lives:
    """``host.nodes`` has those whose daemons run. ``fib_made`` is told of every kernel that boots, before the node
    does.
    """

    def __init__(
        self, host: Host, nursery: trio.Nursery, fib_made: Callable[[str, Fib], None] = lambda name, fib: None
    ) -> None:
        self.stopped: dict[str, Node] = {}
        """The last Node of each, for its kernel."""
        self._host = host
        self._nursery = nursery
        self._fib_made = fib_made
        self._lives: dict[str, _Life] = {}

    async def start(self, name: str, *, bgp: bool, joins: bool = True) -> None:
        """Returns when it listens, or cannot. Harmless for one that runs. ``bgp``: dial and accept at once; and it
        ``joins`` others that run, unless the whole cluster is just coming up.
        """
        if name in self._lives:
            return
        before = self.stopped.pop(name, None)
        node = Node(name, self._host, None if before is None else before.fib, joins=bgp and joins)
        if before is None:
            self._fib_made(name, node.fib)
        self._host.nodes[name] = node
        life = self._lives[name] = _Life()

        async def live(task_status: trio.TaskStatus[None]) -> None:
            try:
                with life.scope:
                    await node.run(task_status)
            finally:
                life.over.set()
            with suppress(RuntimeError):  # it ended while it was starting, which whoever started it waits for
                task_status.started()

        await self._nursery.start(live)
        if bgp:
            node.start_bgp()

    async def stop(self, name: str) -> None:
        """The daemons are gone, at once and without a word. Harmless for one that does not run."""
        node = await self._end(name)
        if node is not None:
            self.stopped[name] = node

    async def power_off(self, name: str) -> None:
        await self._end(name)
        self.stopped.pop(name, None)

    async def remove(self, name: str) -> None:
        """Its resource is gone: its BIRDs have no configuration any more, tell their neighbours, and end by themselves.
        Of one that merely vanished a neighbour which is no node of Calico's would keep the routes.
        """
        node = self._host.nodes.get(name)
        if node is not None:
            with trio.move_on_after(LAST_WORDS):
                await node.fall_silent()
        await self.power_off(name)

    async def _end(self, name: str) -> Node | None:
        life = self._lives.pop(name, None)
        if life is None:
            return None
        node = self._host.nodes.pop(name)
        life.scope.cancel()
        await life.over.wait()
        return node

    @property
    def fibs(self) -> Mapping[str, Fib]:
        """The kernels that there are, whoever runs on them."""
        return {name: node.fib for nodes in (self._host.nodes, self.stopped) for name, node in nodes.items()}
