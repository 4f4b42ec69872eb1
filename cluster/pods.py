"""The pods of one process's nodes: asked for, and asked for again, as kubelets would.

Owns ``Pods``: who has no address, and why. A pod that gets none is a note of its node, and is asked for again when what
IPAM goes by is different, and when its node boots.

Left out: names of pods (``workloads``), how an address is found (``agents.ipam``).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress

import trio

from agents.ipam.errors import IPAMError
from agents.node import Host
from protocol.sync.errors import AlreadyExists, DatastoreError, NotFound
from protocol.v3.metadata import Key

IPAM_KINDS = ("IPPool", "IPReservation", "IPAMConfiguration")
"""A change of one of them may give a pod an address that had none."""


class Pods:
    def __init__(self, host: Host, nursery: trio.Nursery) -> None:
        self._host = host
        self._nursery = nursery
        self._hungry: dict[str, dict[str, str]] = {}
        """Pods without an address by node, and why; "" while one is looked for."""

    async def add(self, pods: Mapping[str, Sequence[str]]) -> list[str]:
        """These pods on these nodes, on each one after the other. Returns what did not work, in words."""
        async with trio.open_nursery() as nursery:
            for name, wanted in pods.items():
                self._hungry.setdefault(name, {}).update(dict.fromkeys(wanted, ""))
                nursery.start_soon(self._feed, name, wanted)
        failures = [
            (name, pod, self._hungry.get(name, {}).get(pod, ""))
            for name, wanted in pods.items()
            for pod in wanted
        ]
        return sorted(f"{name}: {pod}: {why}" for name, pod, why in failures if why)

    async def delete(self, name: str, pods: Iterable[tuple[str, str]]) -> int:
        """``pods``: names with their namespaces. How many of them there were, until the node stopped."""
        deleted = 0
        for pod, namespace in pods:
            node = self._host.nodes.get(name)
            if node is None:
                break  # it was stopped meanwhile
            self._hungry.get(name, {}).pop(pod, None)
            with suppress(NotFound):
                await node.delete_pod(pod, namespace)
                deleted += 1
        return deleted

    def changed(self, keys: Iterable[Key]) -> None:
        """The View is different."""
        if self._hungry:
            everyone = any(kind in IPAM_KINDS for kind, _, _ in keys)
            moved = {name for kind, _, name in keys if kind == "Node"}
            for name in [name for name in self._hungry if everyone or name in moved]:
                self.feed_again(name)

    def feed_again(self, name: str) -> None:
        pods = self._hungry.get(name, {})
        failed = [pod for pod, why in pods.items() if why]
        if failed:
            pods.update(dict.fromkeys(failed, ""))
            self._nursery.start_soon(self._feed, name, failed)

    def forget(self, name: str) -> None:
        self._hungry.pop(name, None)

    def lacking(self, name: str) -> Collection[str]:
        """Pods of the node that have no address, or not yet."""
        return self._hungry.get(name, {}).keys()

    def note(self, name: str) -> str:
        """What the node lacks; "" for nothing."""
        lacking = [f"{pod}: {why}" for pod, why in self._hungry.get(name, {}).items() if why]
        return f"pods without an address: {len(lacking)}; {lacking[0]}" if lacking else ""

    async def _feed(self, name: str, pods: Sequence[str]) -> None:
        """One after the other."""
        hungry = self._hungry.get(name, {})
        for pod in pods:
            hungry[pod] = await self._add(name, pod)
            if not hungry[pod]:
                del hungry[pod]
        if not hungry and self._hungry.get(name) is hungry:
            del self._hungry[name]

    async def _add(self, name: str, pod: str) -> str:
        """Why there is no address for it, or ""."""
        while True:
            tried = self._ipam_inputs()
            node = self._host.nodes.get(name)
            if node is None:
                return "its node does not run"
            try:
                await node.add_pod(pod)
            except AlreadyExists:
                return ""
            except (IPAMError, DatastoreError) as error:
                if tried == self._ipam_inputs():
                    return str(error)
            else:
                return ""

    def _ipam_inputs(self) -> list[int]:
        return [self._host.view.version(kind) for kind in IPAM_KINDS]
