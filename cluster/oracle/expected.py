"""What all FIBs of a cluster should hold, whoever found it out.

Owns ``Expected``: one answer for everybody who asks (how many routes and sessions, which table, who announces what),
over facts that have yet to be solved (a plain cluster: ``facts``, one for each family, ``solver``) or tables that are
ready (``tables``, of ``general``). It crosses to the shards as lists; a shard is sent what concerns its own nodes.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

import attrs

from cluster.oracle.facts import Facts
from cluster.oracle.solver import Group, MakeVia, NodeCounts, Table, counts, local_routes, solve
from cluster.oracle.tables import Tables
from protocol.prefix import Address, Prefix, format_address


@attrs.frozen
class Expected:
    """``plain`` has the facts of each family there is, or ``tables`` is set."""

    plain: list[Facts] = attrs.Factory(list)
    tables: Tables | None = None

    def solve(self, own: Collection[str], via: MakeVia) -> Iterator[tuple[str, Table]]:
        """The table that each living node of ``own`` should have, one after the other. ``via``: see ``solver``."""
        if self.tables is not None:
            yield from self.tables.solve(own, via)
            return
        first, *others = self.plain
        beside = [(facts, _by_name(facts, solve(facts, own, via))) for facts in others]
        for group in solve(first, own, via):
            for number in group.members:
                name = first.names[number]
                table = group.table.copy() if len(group.members) > 1 else group.table
                table.update(local_routes(first, number))
                for facts, groups in beside:
                    other, there = groups[name]
                    table.update(other.table)
                    table.update(local_routes(facts, there))
                yield name, table

    def counts(self, own: Collection[str]) -> dict[str, NodeCounts]:
        """For each living node of ``own``. A session counts at both of its ends."""
        if self.tables is not None:
            return self.tables.counts(own)
        found: dict[str, NodeCounts] = {}
        for facts in self.plain:
            for name, count in counts(facts, own):
                before = found.get(name, NodeCounts(0, 0))
                found[name] = NodeCounts(before.sessions + count.sessions, before.routes + count.routes)
        return found

    @property
    def unsettled(self) -> Mapping[Prefix, str]:
        """What cannot be judged, and why: see ``Tables``."""
        return {} if self.tables is None else self.tables.unsettled

    def to_wire(self, own: Collection[str]) -> list[Any]:
        """For the shard that hosts ``own``: plain values."""
        tables = None if self.tables is None else self.tables.to_wire(own)
        return [[facts.to_wire(own) for facts in self.plain], tables]

    @classmethod
    def from_wire(cls, values: Iterable[Any]) -> Expected:
        plain, tables = values
        return cls([*map(Facts.from_wire, plain)], None if tables is None else Tables.from_wire(tables))

    # -- what there is to say about a difference --------------------------------------------------------------------

    def announcers(self, prefix: Prefix) -> list[str]:
        """The nodes that announce a prefix as their own."""
        if self.tables is not None:
            return self.tables.announcers(prefix)
        return [
            facts.names[number]
            for facts in self.plain
            for number in sorted(
                {
                    number
                    for announcers, _, _, prefixes in facts.announced
                    if prefix in prefixes
                    for number in announcers
                }
            )
        ]

    def name_of(self, address: Address) -> str:
        """Whose address it is; the address itself, of a stranger."""
        if self.tables is not None:
            found = self.tables.names.get(address)
        else:
            found = next(
                (
                    facts.names[facts.addresses.index(address)]
                    for facts in self.plain
                    if address in facts.addresses
                ),
                None,
            )
        return format_address(address) if found is None else found

    def is_down(self, name: str) -> bool:
        if self.tables is not None:
            return name in self.tables.down
        return any(facts.names[number] == name for facts in self.plain[:1] for number in facts.down)

    def is_cut(self, one: str, other: str) -> bool:
        if self.tables is not None:
            return [one, other] in self.tables.cut or [other, one] in self.tables.cut
        return any(
            {facts.names[left], facts.names[right]} == {one, other}
            for facts in self.plain[:1]
            for left, right in facts.cut
        )

    def neighbours(self, one: str, other: str) -> bool:
        """Whether there should be a session between two nodes; ``one`` is the shard's own."""
        if self.tables is not None:
            return other in self.tables.sessions.get(one, ())
        return any(_joined(facts, facts.names.index(one), facts.names.index(other)) for facts in self.plain)


def _by_name(facts: Facts, groups: Iterable[Group]) -> dict[str, tuple[Group, int]]:
    return {facts.names[number]: (group, number) for group in groups for number in group.members}


def _joined(facts: Facts, one: int, other: int) -> bool:
    if any({one, other} == {edge[0], edge[1]} for edge in facts.edges):
        return True
    severed = any(node == one and int.from_bytes(bits, "little") >> other & 1 for node, bits in facts.severed)
    return not severed and one in facts.clique and other in facts.clique
