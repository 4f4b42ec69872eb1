"""What a field of a resource may hold, written as types.

Owns the vocabulary in which the resource classes are declared: ``Annotated`` types whose ``Check`` looks at one
value (``AsNumber``, ``Cidr``, ``SelectorText`` …), the rule that turns an attribute's name into its JSON name, and
the two pieces of attribute metadata that depart from the rules (``JSON``, ``ALWAYS``).

Flow: a class says ``peer_ip: PeerAddress = ""``. The trusted converter (``codec``) reads only ``str`` there. The
converter for what people write (``validate``) runs the ``Check`` as well, and the ``ValueError`` it raises becomes
one line of the report. Numbers, enums (``Literal``) and nesting are ordinary types.

Left out: whatever needs two fields or two resources; that is ``rules``.

Follows the formats, patterns and ranges of Calico's CRDs, and the name rules of Kubernetes.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
import re
from collections.abc import Callable, Container
from typing import Annotated, Any, Final

import attrs

from protocol.v3 import selector

JSON = "json"
"""Attribute metadata: the JSON name, where the rule of ``json_name`` does not give it."""

ALWAYS = "always"
"""Attribute metadata: written to the document even when empty, because the CRD requires the key."""


@attrs.frozen
class _Anything(Container[str]):
    def __contains__(self, name: object) -> bool:
        return True


ANYTHING: Final[Container[str]] = _Anything()
"""For the ``ignores`` of a class: names of fields that people may write and nothing here reads. They are dropped; a field
that a class neither has nor ignores is a mistake of its author."""

_ACRONYMS = {
    "as": "AS", "bgp": "BGP", "cidrs": "CIDRs", "id": "ID", "ip": "IP", "ipip": "IPIP", "ips": "IPs",
    "ipv4": "IPv4", "ipv6": "IPv6", "mac": "MAC", "mtu": "MTU", "nats": "NATs", "qos": "QoS", "vm": "VM", "vni": "VNI", "vxlan": "VXLAN",
}  # fmt: skip

MAX_AS_NUMBER = 0xFFFFFFFF
MAX_PRIORITY = 2147483646
MAX_SELECTOR = 1024

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def json_name(attribute: str) -> str:
    """``"disable_bgp_export"`` to ``"disableBGPExport"``."""
    first, *rest = attribute.split("_")
    return first + "".join(_ACRONYMS.get(word) or word.capitalize() for word in rest)


def json_names(cls: type) -> dict[str, str]:
    """Attribute name to JSON name, for every attribute of an attrs class."""
    return {field.name: field.metadata.get(JSON) or json_name(field.name) for field in attrs.fields(cls)}


@attrs.frozen
class Check:
    """Looks at one value of the right basic type; raises ValueError saying what is wrong with it."""

    look: Callable[[Any], object]


@attrs.frozen
class AsText:
    """Marks text fields that take a bare number or boolean as it is written: labels, annotations, protocols."""


@attrs.frozen
class DottedNumber:
    """Marks AS numbers: an integer, or the text of one, or ``"x.y"`` of RFC 5396."""


# -- what can be wrong with one value ---------------------------------------------------------------------------


_LABEL_NAME = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?")
_DNS_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_COMMUNITY = re.compile(r"([0-9]+):([0-9]+)(?::([0-9]+))?")
_INTERFACE = re.compile(r"[a-zA-Z0-9_.*-]{1,15}")
_INTERFACE_PATTERN = re.compile(r"[a-zA-Z0-9_.*-]{1,256}")
_DURATION = re.compile(r"0|[-+]?(?:(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:ns|us|µs|ms|s|m|h))+")
_DURATION_PART = re.compile(r"([0-9]*\.?[0-9]*)(ns|us|µs|ms|s|m|h)")
_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_AFFINITY = re.compile(r"(host|virtual):[a-zA-Z0-9.\-_]+")


def check_subdomain(text: str) -> None:
    """RFC 1123 subdomain: what Kubernetes takes as the name of an object."""
    if len(text) > 253 or not text or any(not _DNS_LABEL.fullmatch(part) for part in text.split(".")):
        raise ValueError(
            f"{_shown(text)} is not a valid name: lower-case letters, digits, '-' and '.', "
            "at most 253, beginning and ending with a letter or digit"
        )


def check_label_key(text: str) -> None:
    prefix, slash, name = text.rpartition("/")
    if slash:
        check_subdomain(prefix)
    if len(name) > 63 or not _LABEL_NAME.fullmatch(name):
        raise ValueError(f"{_shown(text)} is not a valid label key")


def check_label_value(text: str) -> None:
    if text and (len(text) > 63 or not _LABEL_NAME.fullmatch(text)):
        raise ValueError(
            f"{_shown(text)} is not a valid label value: letters, digits, '-', '_' and '.', at most 63"
        )


def as_address(text: str) -> Address:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        raise ValueError(f"{_shown(text)} is not an IP address") from None


def is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def as_interface_address(text: str) -> Address:
    """The address of ``10.0.0.1`` or ``10.0.0.1/16``."""
    try:
        if "/" not in text or text.rpartition("/")[2].isdecimal():  # not 10.0.0.1/255.255.0.0
            return ipaddress.ip_interface(text).ip
        raise ValueError
    except ValueError:
        raise ValueError(f"{_shown(text)} is neither an IP address nor one with its prefix length") from None


def as_network(text: str) -> Network:
    """A CIDR that may have host bits, as Go's ParseCIDR takes it."""
    if "/" in text and text.rpartition("/")[2].isdecimal():
        try:
            return ipaddress.ip_network(text, strict=False)
        except ValueError:
            pass
    raise ValueError(f"{_shown(text)} is not a CIDR")


def as_strict_network(text: str) -> Network:
    network = as_network(text)
    if network.network_address != ipaddress.ip_interface(text).ip:
        raise ValueError(f"{text!r} has host bits set: {network} is the network")
    return network


def _check_family(text: str, version: int, what: Callable[[str], Address | Network]) -> None:
    if what(text).version != version:
        raise ValueError(f"{_shown(text)} is not IPv{version}")


def _check_address_or_network(text: str) -> None:
    if "/" in text:
        as_network(text)
    else:
        as_address(text)


def _check_host_network(text: str) -> None:
    network = as_network(text)
    if network.prefixlen != network.max_prefixlen:
        raise ValueError(f"{text!r} is not one address: a /{network.max_prefixlen} is asked for")


def split_peer_address(text: str) -> tuple[Address, int | None]:
    """``"10.0.0.1"``, ``"10.0.0.1:179"``, ``"fd00::1"`` or ``"[fd00::1]:179"`` to address and port."""
    host, port = text, ""
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            raise ValueError(f"{_shown(text)} is not an IP address, nor one in brackets with a port")
        port = rest[1:]
    elif text.count(":") == 1:
        host, _, port = text.partition(":")
    address = as_address(host)
    if not port and text != host and not text.endswith("]"):
        raise ValueError(f"{_shown(text)} has no port after the colon")
    if not port:
        return address, None
    if not (port.isascii() and port.isdecimal() and len(port) <= 5 and 1 <= int(port) <= 65535):
        raise ValueError(f"{_shown(text)}: port {_shown(port)} is not in 1..65535")
    return address, int(port)


def check_as_number(number: int) -> None:
    if not 1 <= number <= MAX_AS_NUMBER:
        raise ValueError(f"AS number {number} is not in 1..{MAX_AS_NUMBER}")


def parse_as_number(text: str) -> int:
    """``"64512"`` or ``"1.10"`` to a number that is in range."""
    parts = text.split(".")
    if len(parts) > 2 or not all(p.isascii() and p.isdecimal() and len(p) <= 10 for p in parts):
        raise ValueError(f"{_shown(text)} is not an AS number: an integer, or x.y")
    if len(parts) == 1:
        number = int(parts[0])
    else:
        high, low = map(int, parts)
        if high > 0xFFFF or low > 0xFFFF:
            raise ValueError(f"AS number {text}: each half of x.y is at most 65535")
        number = high << 16 | low
    check_as_number(number)
    return number


def _check_dotted_quad(text: str) -> None:
    try:
        ipaddress.IPv4Address(text)
    except ValueError:
        raise ValueError(f"{_shown(text)} is not a dotted quad such as 244.0.0.1") from None


def is_community(text: str) -> bool:
    """Whether the text is aa:nn with 16-bit halves or aa:nn:mm with 32-bit parts."""
    found = _COMMUNITY.fullmatch(text)
    if not found or len(text) > 40:
        return False
    limit = 0xFFFF if found[3] is None else 0xFFFFFFFF
    return all(int(part) <= limit for part in found.groups() if part is not None)


def _check_community(text: str) -> None:
    if not is_community(text):
        raise ValueError(
            f"{_shown(text)} is not a BGP community: aa:nn with parts up to 65535, or aa:nn:mm with parts up to 4294967295"
        )


def _check_filter_community(text: str) -> None:
    """BGPFilter's pattern knows no leading zeros: BIRD is given the text as it is."""
    _check_community(text)
    if any(part != str(int(part)) for part in text.split(":")):
        raise ValueError(f"{_shown(text)} has a part with leading zeros")


def duration_seconds(text: str) -> float:
    """``"1m30s"`` to 90.0: Go's duration text, as maxRestartTime and keepaliveTime are given."""
    if not _DURATION.fullmatch(text):
        raise ValueError(f"{_shown(text)} is not a duration such as 90s or 1m30s")
    seconds = sum(float(amount) * _UNITS[unit] for amount, unit in _DURATION_PART.findall(text))
    return -seconds if text.startswith("-") else seconds


def _check_duration(text: str) -> None:
    if duration_seconds(text) < 0:
        raise ValueError(f"{text!r} is negative")


def _check_cluster_ip(text: str) -> None:
    if text != "None":
        as_address(text)


def _check_base64(text: str) -> None:
    try:
        base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("not base64; the key stringData takes plain text") from None


def _check_pattern(pattern: re.Pattern[str], what: str) -> Check:
    def look(text: str) -> None:
        if not pattern.fullmatch(text):
            raise ValueError(f"{_shown(text)} is not {what}")

    return Check(look)


def between(low: int, high: int) -> Check:
    def look(number: int) -> None:
        if not low <= number <= high:
            raise ValueError(f"{number} is not in {low}..{high}")

    return Check(look)


def at_most(limit: int) -> Check:
    def look(value: Any) -> None:
        if len(value) > limit:
            unit = "characters" if isinstance(value, str) else "entries"
            raise ValueError(f"{len(value)} {unit}, at most {limit} are allowed")

    return Check(look)


def counted(low: int, high: int) -> Check:
    def look(value: tuple[Any, ...]) -> None:
        if not low <= len(value) <= high:
            wanted = str(low) if low == high else f"{low} to {high}"
            raise ValueError(f"{len(value)} entries where {wanted} must be")

    return Check(look)


def one_of_any_case(*words: str) -> Check:
    allowed = {word.lower() for word in words}

    def look(text: str) -> None:
        if text and text.lower() not in allowed:
            raise ValueError(f"{_shown(text)} is not one of {', '.join(words)}")

    return Check(look)


def _shown(text: str) -> str:
    """The text for a message: quoted, and cut when somebody's file is not what they think."""
    return repr(text if len(text) <= 80 else text[:77] + "...")


# -- the types ----------------------------------------------------------------------------------------------------
# Where "" is the default it stands for "not set" and is never looked at: Go's omitempty.

Subdomain = Annotated[str, Check(check_subdomain)]
LabelKey = Annotated[str, Check(check_label_key)]
LabelValue = Annotated[str, AsText(), Check(check_label_value)]
AnnotationValue = Annotated[str, AsText()]
AsNumber = Annotated[int, DottedNumber()]
IpAddress = Annotated[str, Check(as_address)]
IPv4Text = Annotated[str, Check(lambda text: _check_family(text, 4, as_address))]
IPv6Text = Annotated[str, Check(lambda text: _check_family(text, 6, as_address))]
IPv4InterfaceText = Annotated[str, Check(lambda text: _check_family(text, 4, as_interface_address))]
IPv6InterfaceText = Annotated[str, Check(lambda text: _check_family(text, 6, as_interface_address))]
PeerAddress = Annotated[str, Check(split_peer_address)]
DottedQuad = Annotated[str, Check(_check_dotted_quad)]
Cidr = Annotated[str, Check(as_network)]
StrictCidr = Annotated[str, Check(as_strict_network)]
IPv4Cidr = Annotated[str, Check(lambda text: _check_family(text, 4, as_network))]
IPv6Cidr = Annotated[str, Check(lambda text: _check_family(text, 6, as_network))]
SelectorText = Annotated[str, at_most(MAX_SELECTOR), Check(selector.parse)]
AddressOrCidr = Annotated[str, Check(_check_address_or_network)]
HostCidr = Annotated[str, Check(_check_host_network)]
Community = Annotated[str, Check(_check_community)]
FilterCommunity = Annotated[str, Check(_check_filter_community)]
ClusterIp = Annotated[str, Check(_check_cluster_ip)]
Base64Text = Annotated[str, Check(_check_base64)]
InterfaceAddress = Annotated[str, Check(as_interface_address)]
Duration = Annotated[str, Check(_check_duration)]
InterfaceName = Annotated[
    str, _check_pattern(_INTERFACE, "an interface name or pattern of up to 15 characters")
]
InterfacePattern = Annotated[str, _check_pattern(_INTERFACE_PATTERN, "an interface name or pattern")]
NumberOrText = Annotated[str, AsText()]
Affinity = Annotated[str, _check_pattern(_AFFINITY, "host:NODE or virtual:NAME")]
Port = Annotated[int, between(1, 65535)]
PortOrZero = Annotated[int, between(0, 65535)]
Priority = Annotated[int, between(1, MAX_PRIORITY)]
UInt8 = Annotated[int, between(0, 255)]
Int32 = Annotated[int, between(-(1 << 31), (1 << 31) - 1)]
UInt64 = Annotated[int, between(0, (1 << 64) - 1)]
BlockSize = Annotated[int, between(0, 128)]
LengthV4 = Annotated[int, between(0, 32)]
LengthV6 = Annotated[int, between(0, 128)]
