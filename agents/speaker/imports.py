"""What neighbours tell: from UPDATEs to Adj-RIBs-In.

Owns ``Imports``: the import policies of one speaker, and the way of an UPDATE through them.

    UPDATE ─► ImportPolicy ─► Rib.learn, Rib.withdraw
       └────► Helper: it is not stale any more; End-of-RIB

Left out: what a policy lets in (``policy``), what is done with it then (``rib``).
"""

from __future__ import annotations

from agents.speaker.config import PeerConfig
from agents.speaker.helper import Helper, heard
from agents.speaker.peer import Peer
from agents.speaker.policy import ImportPolicies, ImportPolicy, Intern
from agents.speaker.rib import Rib
from protocol.bgp.messages import Update
from protocol.prefix import Address


class Imports:
    """See the module. One address family."""

    def __init__(self, rib: Rib, helper: Helper, family: int) -> None:
        self._rib = rib
        self._helper = helper
        self._family = family

    def renew(self, router_id: Address, intern: Intern) -> None:
        """The policies are to be made anew: those that nobody needs are forgotten."""
        self._policies = ImportPolicies(router_id, intern)

    def policy(self, stanza: PeerConfig) -> ImportPolicy:
        return self._policies.of(stanza)

    def learn(self, peer: Peer, update: Update) -> bool:
        """An Established neighbour told this; whether that was all (End-of-RIB)."""
        if update.family != self._family:
            return False  # we did not offer it (RFC 4760 section 8), so there is no table for it
        path_id = update.path_id
        if peer.restart is not None:
            heard(peer.restart, path_id, update.withdrawn + update.nlri)
        if update.withdrawn:
            peer.withdraws_received += len(update.withdrawn)
            self._rib.withdraw(peer, update.withdrawn, path_id)
        elif update.attributes is None:
            self._helper.complete(peer)
            return True
        if update.attributes is not None:
            peer.updates_received += len(update.nlri)
            for prefixes, attributes in peer.import_policy.import_(update.nlri, update.attributes):
                if attributes is None:
                    peer.updates_filtered += len(prefixes)
                    self._rib.withdraw(peer, prefixes, path_id)
                else:
                    self._rib.learn(peer, prefixes, attributes, path_id)
        return False
