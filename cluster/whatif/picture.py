"""A cluster at rest, as far as a change can be seen in it.

Owns ``Picture`` and ``take``: the sessions, the tables, the addresses, and what there is to say against it (what
``lint`` and the nodes themselves have to say). Two of them, before and after, and what was noted in between, are what
``plan`` compares.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import attrs

from agents.dataplane.fib import FibRoute
from cluster.datastore.memory import MemoryStore
from cluster.rehearsal.stage import SessionView
from cluster.rehearsal.virtual import Virtual
from cluster.whatif.addresses import Ipam, ipam_of
from protocol.prefix import Address, Prefix, parse_address
from protocol.v3.codec import KINDS, decode
from protocol.v3.lint import lint
from protocol.v3.rules import format_path

_IPAMS = ("BlockAffinity", "IPAMBlock", "IPAMHandle", "WorkloadEndpoint")
"""Kinds that nobody writes by hand: nothing is to be said about them."""
_TUNNELS = ("ipv4VXLANTunnelAddr", "ipv6VXLANTunnelAddr")
"""Where a gateway may be a node, besides its own addresses."""


@attrs.frozen(kw_only=True)
class Picture:
    """``names``: whose each address is. ``problems`` are notes of nodes and remarks about resources."""

    sessions: Sequence[SessionView]
    tables: Mapping[str, Mapping[Prefix, FibRoute]]
    names: Mapping[Address, str]
    ipam: Ipam
    problems: tuple[str, ...]


async def take(virtual: Virtual) -> Picture:
    """Tables are copied: they go on changing."""
    return Picture(
        sessions=tuple(await virtual.sessions()),
        tables={name: dict(await virtual.routes(name)) for name in virtual.members()},
        names=dict(_names(virtual)),
        ipam=ipam_of(virtual.store.list),
        problems=tuple(dict.fromkeys((*_remarks(virtual.store), *_notes(virtual)))),
    )


def _names(virtual: Virtual) -> Iterator[tuple[Address, str]]:
    for document in virtual.store.list("Node"):
        for field in _TUNNELS:
            if text := document["spec"].get(field):
                yield parse_address(text), document["metadata"]["name"]
    for name in virtual.members():
        for address in virtual.addresses(name):
            yield address, name


def _remarks(store: MemoryStore) -> Iterator[str]:
    resources = [decode(each) for kind in sorted(KINDS) if kind not in _IPAMS for each in store.list(kind)]
    for remark in lint(resources):
        resource = resources[remark.index]
        subject = f"{resource.kind}/{resource.metadata.name}"
        yield ": ".join(filter(None, (subject, format_path(remark.path), remark.message)))


def _notes(virtual: Virtual) -> Iterator[str]:
    """One that several nodes have is one."""
    notes: dict[str, list[str]] = {}
    for name, node in sorted(virtual.host.nodes.items()):
        for note in node.notes:
            notes.setdefault(note, []).append(name)
    for note, names in notes.items():
        whose = names[0] if len(names) == 1 else f"{len(names):,} nodes"
        yield f"{note} ({whose})"
