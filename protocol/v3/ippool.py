"""IPPool and IPReservation: from which addresses workloads get theirs, and which are kept back.

Follows the CRDs and the defaults that Calico's client fills in (block size 26 or 122, modes Never, every node).
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import attrs

from protocol.v3.fields import ALWAYS, AddressOrCidr, BlockSize, SelectorText, StrictCidr, at_most
from protocol.v3.metadata import Resource

EncapMode = Literal["Never", "Always", "CrossSubnet"]
AllowedUse = Literal["Workload", "Tunnel", "LoadBalancer"]

DEFAULT_BLOCK_SIZE_V4 = 26
DEFAULT_BLOCK_SIZE_V6 = 122


@attrs.frozen(kw_only=True)
class IPPoolSpec:
    """A ``block_size`` of 0, or no ``allowed_uses``, is not set: the default takes its place at once."""

    cidr: Annotated[StrictCidr, at_most(48)]
    block_size: BlockSize = attrs.field(default=0, metadata={ALWAYS: True})
    ipip_mode: EncapMode = "Never"
    vxlan_mode: EncapMode = "Never"
    nat_outgoing: bool = False
    disabled: bool = False
    disable_bgp_export: bool = False
    node_selector: SelectorText = "all()"
    namespace_selector: SelectorText = ""
    allowed_uses: Annotated[tuple[AllowedUse, ...], at_most(10)] = ()
    assignment_mode: Literal["Automatic", "Manual"] = "Automatic"

    def __attrs_post_init__(self) -> None:
        # object.__setattr__ is the way attrs itself sets the attributes of a frozen class.
        if not self.block_size:
            object.__setattr__(
                self, "block_size", DEFAULT_BLOCK_SIZE_V6 if ":" in self.cidr else DEFAULT_BLOCK_SIZE_V4
            )
        if not self.allowed_uses:
            # A pool for some namespaces must not be for tunnels, which are in none.
            uses = ("Workload",) if self.namespace_selector else ("Workload", "Tunnel")
            object.__setattr__(self, "allowed_uses", uses)


@attrs.frozen(kw_only=True)
class Condition:
    """One condition of a status, as every Kubernetes object has them."""

    type: str
    status: Literal["True", "False", "Unknown"]
    reason: str
    message: str
    last_transition_time: str
    observed_generation: int | None = None


@attrs.frozen(kw_only=True)
class IPPoolStatus:
    conditions: tuple[Condition, ...] = ()


@attrs.frozen
class IPPool(Resource):
    kind: ClassVar[str] = "IPPool"
    plural: ClassVar[str] = "ippools"

    spec: IPPoolSpec
    status: IPPoolStatus | None = None


@attrs.frozen(kw_only=True)
class IPReservationSpec:
    reserved_cidrs: tuple[AddressOrCidr, ...] = ()


@attrs.frozen
class IPReservation(Resource):
    kind: ClassVar[str] = "IPReservation"
    plural: ClassVar[str] = "ipreservations"

    spec: IPReservationSpec = IPReservationSpec()
