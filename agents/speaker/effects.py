"""What a speaker wants of the world: values for the shell to act on (``agent``)."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from agents.journal import Event
from agents.speaker.links import Link, LinkOptions
from protocol.bgp.session import Session
from protocol.prefix import Address


@attrs.define
class Effects:
    """What the shell has to do, in this order. All that a link is to be sent goes out together."""

    expect: Mapping[Address, LinkOptions] | None = (
        None  # of connections with these neighbours; None: as before
    )
    sends: dict[Link, bytes] = attrs.field(factory=dict)
    closes: list[Link] = attrs.field(factory=list)
    dials: list[tuple[Session, Address, int]] = attrs.field(factory=list)
    came_up: list[str] = attrs.field(factory=list)  # names of stanzas: hundreds at once when a node starts
    events: list[Event] = attrs.field(factory=list)  # all others

    def send(self, link: Link, data: bytes) -> None:
        before = self.sends.get(link)
        self.sends[link] = data if before is None else before + data
