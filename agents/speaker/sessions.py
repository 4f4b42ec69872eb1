"""From a stanza to a session: what BIRD's options mean to the protocol.

Owns ``Sessions``, which makes the sessions of one speaker. Sessions with the same options share their
configuration and the bytes of their OPEN, because a mesh has a session for every pair of nodes.

Left out: what a session does (``protocol.bgp.session``), which neighbours there are (``roster``), what their connections
need (``links.options_of``).
"""

from __future__ import annotations

import random

from agents.speaker.config import PeerConfig, SpeakerConfig
from protocol.bgp.messages import AddPath, Capabilities, GracefulRestart, Open
from protocol.bgp.negotiation import SessionConfig
from protocol.bgp.session import Session
from protocol.bgp.signals import Outputs
from protocol.bgp.wire import Codec

DEFAULT_RESTART_TIME = 120
"""BIRD's ``graceful restart time``."""

RESTART_TIME_BITS = 12
"""RFC 4724 section 3. BIRD takes a longer time, and what does not fit is lost on the way to the neighbour."""


class Sessions:
    """See the module."""

    def __init__(self, config: SpeakerConfig, codec: Codec, rng: random.Random) -> None:
        self._config = config
        self._codec = codec
        self._rng = rng
        self._outputs: Outputs = ([], [])  # 150 octets less for every session of a mesh
        self._known: dict[object, tuple[SessionConfig, bytes]] = {}

    def new(self, stanza: PeerConfig, *, recovering: bool = False) -> Session:
        config, wire_open = self._of(stanza, recovering=recovering)
        return Session(config, self._codec, self._rng, wire_open, self._outputs)

    def wire_open(self, stanza: PeerConfig) -> bytes:
        """The OPEN of a speaker that does not recover (any more)."""
        return self._of(stanza, recovering=False)[1]

    def _of(self, stanza: PeerConfig, *, recovering: bool) -> tuple[SessionConfig, bytes]:
        key = (
            stanza.local_as, stanza.peer_as, stanza.passive, stanza.keepalive_time, stanza.restart_time, recovering,
        )  # fmt: skip
        known = self._known.get(key)
        if known is None:
            config = self._session_config(stanza, recovering=recovering)
            wire_open = self._codec.encode(
                Open(
                    asn=config.local_as,
                    hold_time=round(config.hold_time),
                    identifier=config.identifier,
                    capabilities=config.capabilities,
                )
            )
            known = self._known[key] = config, wire_open
        return known

    def _session_config(self, stanza: PeerConfig, *, recovering: bool) -> SessionConfig:
        timers = self._config.timers
        return SessionConfig(
            local_as=stanza.local_as,
            peer_as=stanza.peer_as,
            identifier=self._config.router_id,
            capabilities=self._capabilities(stanza, recovering=recovering),
            passive=stanza.passive,
            hold_time=timers.hold,
            keepalive_time=timers.keepalive if stanza.keepalive_time is None else stanza.keepalive_time,
            start_delay=timers.start_delay,
            connect_delay=timers.connect_delay,
            connect_retry=timers.connect_retry,
            idle_hold_min=timers.error_wait_min,
            idle_hold_max=timers.error_wait_max,
            idle_hold_forget=timers.error_forget,
            open_hold=timers.open_hold,
        )

    def _capabilities(self, stanza: PeerConfig, *, recovering: bool) -> Capabilities:
        family = self._config.family
        restart_time = DEFAULT_RESTART_TIME if stanza.restart_time is None else stanza.restart_time
        return Capabilities(
            families=(family,),
            four_octet_as=stanza.local_as,
            add_path=((family, AddPath.BOTH),) if self._config.add_path else (),
            graceful_restart=GracefulRestart(
                restarting=recovering,
                time=restart_time % (1 << RESTART_TIME_BITS),
                families=((family, recovering),),
            ),
            long_lived=(),  # BIRD's default: aware
        )
