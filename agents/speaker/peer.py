"""One neighbour of a speaker: its sessions, and what it told.

Owns ``Peer``: the configuration, the Adj-RIB-In, and up to two sessions, because two neighbours that both dial can
end up with two connections. RFC 4271 section 6.8 says which one lives: that of the side with the higher identifier.
``session`` is the one that counts; ``rival`` exists only while the two collide.

A neighbour that restarts dials anew, and we may not have noticed that it went: while ``session`` is Established the new
connection is its ``rival``, too. Which one is real shows when the rival is Established: nobody goes as far on two connections
(BIRD drops the first as soon as it accepts another; RFC 4724 4.2 waits for the OPEN, which one may have sent and gone).

The flow of a collision: an accepted connection goes to ``session`` if that waits for one (Active), else becomes the
``rival``. When either has heard an OPEN, ``loser`` picks the one that goes, which says Cease and goes. If ``session`` dies
while there is a rival, the rival takes its place.

Left out: what is done with routes (``rib``), sending (``groups``).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import attrs

from protocol.bgp.fsm import State
from protocol.prefix import Address, Prefix

if TYPE_CHECKING:
    from agents.speaker.config import PeerConfig
    from agents.speaker.groups import UpdateGroup
    from agents.speaker.links import Link
    from agents.speaker.policy import ImportPolicy
    from protocol.bgp.attributes import Attributes
    from protocol.bgp.session import Session


@attrs.define(eq=False)
class Restart:
    """A neighbour's graceful restart, as ``helper`` sees it: what of its routes is stale, by path ID; until when that is
    believed.
    """

    stale: dict[int, dict[Prefix, None]]
    until: float


class Peer:
    """See the module. Mutable; owned by one Speaker."""

    __slots__ = (
        "address", "adj_rib_in", "config", "disabled", "end_of_rib_owed", "group", "identifier", "import_policy", "internal", "link", "more_adj_ribs_in",
        "owed", "restart", "restart_time", "rival", "session", "since", "told_on", "up", "updates_filtered", "updates_received", "updates_sent", "withdraws_received",
        "withdraws_sent",
    )  # fmt: skip

    def __init__(self, config: PeerConfig, session: Session, import_policy: ImportPolicy, now: float) -> None:
        self.config = config
        self.address: Address = config.address
        self.internal: bool = config.internal
        self.identifier: Address = Address(b"")
        """The neighbour's BGP identifier, while the session is up."""
        self.import_policy = import_policy
        self.session = session
        self.rival: Session | None = None
        self.up = False
        """Whether ``session`` is Established and counted."""
        self.disabled = False
        """By an operator, with birdc."""
        self.link: Link | None = None
        """The connection of an Established session."""
        self.restart_time: int | None = None
        """Seconds that its routes are kept when its connection breaks, by its last OPEN; None: they are not."""
        self.restart: Restart | None = None
        self.adj_rib_in: dict[Prefix, Attributes] = {}
        """What the neighbour told with path ID 0 and import policy let in, with the attributes that policy gave it."""
        self.more_adj_ribs_in: dict[int, dict[Prefix, Attributes]] | None = None
        """The same for other path IDs (RFC 7911). Apart, because few neighbours have them; those have few IDs, as
        ``groups`` allocates them, so that it is a dict for each of these and not for each route."""
        self.told_on = False
        """Whether any neighbour with add-path may be told what this one tells."""
        self.owed: dict[int, dict[Prefix, bool]] | None = None
        """Routes it must still be told, when it can not be told all at once: path ID -> prefix -> whether it holds a route
        for these now. None when it has everything its update group has."""
        self.end_of_rib_owed = False
        self.group: UpdateGroup | None = None
        """Its update group, while the session is up: it depends on the configuration and on what the OPENs agreed."""
        self.since = now
        self.updates_received = self.updates_filtered = self.updates_sent = 0
        self.withdraws_received = self.withdraws_sent = 0

    def adj_ribs_in(self) -> Iterator[tuple[int, dict[Prefix, Attributes]]]:
        """All tables, by path ID."""
        yield 0, self.adj_rib_in
        if self.more_adj_ribs_in is not None:
            yield from self.more_adj_ribs_in.items()

    def more(self, path_id: int) -> dict[Prefix, Attributes]:
        """The table of a path ID other than 0."""
        if self.more_adj_ribs_in is None:
            self.more_adj_ribs_in = {}
        table = self.more_adj_ribs_in.get(path_id)
        if table is None:
            table = self.more_adj_ribs_in[path_id] = {}
        return table

    def drop(self, path_id: int) -> None:
        """That table is empty: a neighbour that never uses an ID twice costs no more than its routes."""
        if self.more_adj_ribs_in is not None:
            self.more_adj_ribs_in.pop(path_id, None)

    def clear_adj_ribs_in(self) -> list[tuple[int, dict[Prefix, Attributes]]]:
        """What was in them."""
        tables = list(self.adj_ribs_in())
        self.adj_rib_in, self.more_adj_ribs_in = {}, None
        return tables

    @property
    def imported(self) -> int:
        return sum(len(table) for _, table in self.adj_ribs_in())

    @property
    def accepts(self) -> bool:
        """Whether it waits for a connection. Idle it does not, nor Established when it is unable to restart: BIRD
        refuses too.
        """
        state = self.session.state
        if state is State.ACTIVE:
            return self.session.link is None
        if state is State.ESTABLISHED:
            return self.up and self.restart_time is not None
        return self.rival is None and state in (State.CONNECT, State.OPEN_SENT, State.OPEN_CONFIRM)

    def loser(self, opened: Session, local_identifier: Address) -> Session | None:
        """After an OPEN on one session: which of the two must go (RFC 4271 6.8), if it can be told yet.

        The other one is let be while it has no connection: it may never get one.
        """
        other = self.rival if opened is self.session else self.session
        if (
            other is None
            or opened.peer_open is None
            or other.state not in (State.OPEN_SENT, State.OPEN_CONFIRM)
        ):
            return None
        if other.outgoing == opened.outgoing:
            # Both are the neighbour's, which has one at a time: it has given up the first, and we have yet to hear of it.
            return self.session
        ours_wins = local_identifier > opened.peer_open.identifier
        return other if opened.outgoing == ours_wins else opened

    def promote_rival(self) -> None:
        """The rival is the session from now on."""
        assert self.rival is not None
        self.session, self.rival = self.rival, None
