"""The kinds' names: in paths, in discovery, and as people type them.

Owns ``NAMES``, one table for the server, which routes by it, and for the command line, which must not pay 0.1 s for
the classes. It repeats what the classes of ``protocol.v3`` say of themselves (a test compares) and adds the short names,
which are calicoctl's and kubectl's.

``internal`` kinds are IPAM's own: they can be read, and only IPAM writes them.
"""

from __future__ import annotations

from typing import Final, NamedTuple
from urllib.parse import quote

CALICO: Final = "projectcalico.org/v3"
CORE: Final = "v1"
DISCOVERY: Final = "discovery.k8s.io/v1"
LAB: Final = "lab.tortie/v1"


class Name(NamedTuple):
    kind: str
    plural: str
    short: tuple[str, ...] = ()
    namespaced: bool = False
    api_version: str = CALICO
    internal: bool = False

    @property
    def group(self) -> str:
        """ "" for the core group."""
        return self.api_version.rpartition("/")[0]

    def path(self, namespace: str = "", name: str = "") -> str:
        """Of the whole kind, of a namespace's, or of one resource."""
        parts = [base(self.api_version)]
        if namespace and self.namespaced:
            parts += ["namespaces", _quoted(namespace)]
        parts.append(self.plural)
        if name:
            parts.append(_quoted(name))
        return "/".join(parts)


def _quoted(name: str) -> str:
    """What is no text (a shell passes any octet on) is no resource's name, with a question mark for it neither."""
    return quote(name, safe="", errors="replace")


NAMES: Final = (
    Name("BGPConfiguration", "bgpconfigurations", ("bgpconfig", "bgpconfigs")),
    Name("BGPFilter", "bgpfilters", ("bgpf", "bgpfs", "bf", "bfs")),
    Name("BGPPeer", "bgppeers", ("bgpp", "bgpps", "bp", "bps")),
    Name("BlockAffinity", "blockaffinities", internal=True),
    Name("EndpointSlice", "endpointslices", namespaced=True, api_version=DISCOVERY),
    Name("FelixConfiguration", "felixconfigurations", ("felixconfig", "felixconfigs")),
    Name("IPAMBlock", "ipamblocks", internal=True),
    Name("IPAMConfiguration", "ipamconfigurations", ("ipamconfig", "ipamconfigs")),
    Name("IPAMHandle", "ipamhandles", internal=True),
    Name("IPPool", "ippools", ("ipp", "ipps", "pool", "pools")),
    Name("IPReservation", "ipreservations", ("reservation", "reservations")),
    Name("Namespace", "namespaces", ("ns",), api_version=CORE),
    Name("Node", "nodes", ("no", "nos")),
    Name("Router", "routers", api_version=LAB),
    Name("Secret", "secrets", namespaced=True, api_version=CORE),
    Name("Service", "services", ("svc",), namespaced=True, api_version=CORE),
    Name("WorkloadEndpoint", "workloadendpoints", ("wep", "weps"), namespaced=True),
)

BY_KIND: Final = {name.kind: name for name in NAMES}


def base(api_version: str) -> str:
    """The path of a group's version."""
    return f"/apis/{api_version}" if "/" in api_version else f"/api/{api_version}"


def find(word: str) -> Name | None:
    """The kind that somebody means by a word, in whatever case; None for none, and for IPAM's own."""
    word = word.lower()
    for name in NAMES:
        if word in (name.kind.lower(), name.plural, *name.short) and not name.internal:
            return name
    return None
