"""What an account is told by the datastore: which nodes there are, their addresses, and their pods.

Owns ``follow``: Nodes, Routers and WorkloadEndpoints of a store, now and as they change. Tables, power and cuts are
nobody's resources: whoever has or makes them tells.

An endpoint without an interface is nowhere yet, and is no pod to reach.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from cluster.datastore.memory import Change, MemoryStore
from cluster.loss.account import Account
from protocol.prefix import Address, network_address, parse_address, parse_prefix
from protocol.sync.messages import Document, key_of
from protocol.v3.lab import Router
from protocol.v3.metadata import Key
from protocol.v3.node import Node
from protocol.v3.workload import WorkloadEndpoint

Clock = Callable[[], float]


def follow(account: Account, store: MemoryStore, clock: Clock) -> Callable[[], None]:
    """Tell of all that is in the store now, and of every change from now on. Returns what ends it."""
    pods: dict[str, dict[Key, tuple[Address, ...]]] = {}

    def member(key: Key, document: Document | None) -> None:
        if document is None:
            account.remove_member(clock(), key[2])
        elif key[0] == Node.kind:
            account.set_member(clock(), key[2], _node_addresses(document["spec"]))
        else:
            addresses = _parsed(document["spec"].get("addresses", ()))
            account.set_member(clock(), key[2], addresses, source=False)

    def endpoint(key: Key, old: Document | None, new: Document | None) -> None:
        concerned = dict.fromkeys(each["spec"].get("node", "") for each in (old, new) if each is not None)
        for node in concerned:
            known = pods.setdefault(node, {})
            known.pop(key, None)
            if new is not None and new["spec"].get("node", "") == node:
                known[key] = _pod_addresses(new["spec"])
            tell(node)

    def tell(node: str) -> None:
        account.set_pods(clock(), node, [address for each in pods[node].values() for address in each])

    def changed(change: Change) -> None:
        if change.key[0] in (Node.kind, Router.kind):
            member(change.key, change.new)
        elif change.key[0] == WorkloadEndpoint.kind:
            endpoint(change.key, change.old, change.new)

    for kind in (Node.kind, Router.kind):
        for document in store.list(kind):
            member(key_of(document), document)
    for document in store.list(WorkloadEndpoint.kind):
        pods.setdefault(document["spec"].get("node", ""), {})[key_of(document)] = _pod_addresses(
            document["spec"]
        )
    for node in pods:
        tell(node)
    return store.watch(changed)


def _node_addresses(spec: Document) -> list[Address]:
    """Where a gateway may be this node: its own addresses, and those of its VXLAN tunnels. Over IPIP the gateway is the
    former.
    """
    bgp = spec.get("bgp") or {}
    texts = (
        bgp.get("ipv4Address"),
        bgp.get("ipv6Address"),
        spec.get("ipv4VXLANTunnelAddr"),
        spec.get("ipv6VXLANTunnelAddr"),
    )
    return _parsed(text for text in texts if text)


def _pod_addresses(spec: Document) -> tuple[Address, ...]:
    if not spec.get("interfaceName"):
        return ()
    return tuple(network_address(parse_prefix(text)) for text in spec.get("ipNetworks") or ())


def _parsed(texts: Iterable[str]) -> list[Address]:
    return [parse_address(text.partition("/")[0]) for text in texts]
