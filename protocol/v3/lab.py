"""Router: an emulated BGP speaker outside the cluster, on the address that BGPPeers name.

Not a resource of Calico's: it stands for the border router, the top of a rack, the spine. Like any router it does what
its own configuration says. A session stands when both ends name each other: the BGPPeer (or another Router) this
one's address, and one of ``neighbors`` the node's.

A neighbour is an address, or all Nodes or Routers that a selector matches. Its AS is the one that it has unless
``as_number`` says what is expected. What a Router announces, it originates; whatever it learns, it passes on as BGP
has it.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

import attrs

from protocol.v3.bgp import BGPPassword
from protocol.v3.fields import (
    AsNumber,
    DottedQuad,
    InterfaceAddress,
    IpAddress,
    Port,
    SelectorText,
    StrictCidr,
    counted,
)
from protocol.v3.metadata import Resource

LAB = "lab.tortie/v1"


@attrs.frozen(kw_only=True)
class RouterNeighbor:
    """Exactly one of ``peer_ip``, ``node_selector`` and ``router_selector`` is set."""

    peer_ip: IpAddress = ""
    node_selector: SelectorText = ""
    router_selector: SelectorText = ""
    as_number: AsNumber | None = None
    route_reflector_client: bool = False
    next_hop_self: bool = False
    passive: bool = False
    port: Port | None = None
    password: BGPPassword | None = None


@attrs.frozen(kw_only=True)
class RouterSpec:
    """``addresses`` has one of each family at most, with the length of the subnet that it is in."""

    addresses: Annotated[tuple[InterfaceAddress, ...], counted(1, 2)]
    as_number: AsNumber
    announce: tuple[StrictCidr, ...] = ()
    neighbors: tuple[RouterNeighbor, ...] = ()
    listen_port: Port | None = None
    add_path: bool = False
    route_reflector_cluster_id: DottedQuad = ""


@attrs.frozen
class Router(Resource):
    api_version: ClassVar[str] = LAB
    kind: ClassVar[str] = "Router"
    plural: ClassVar[str] = "routers"

    spec: RouterSpec
