"""One route against one BGPFilter, with no cluster: what ``filter test`` finds out.

Owns ``RouteText`` (a route as people write one), ``try_filter`` and ``Outcome``. The rules are run by the same
``FilterChain`` that speakers run. When none of them holds, the session's policy goes on: Calico's default accepts all
imports, and exports what pools of the manifests hold; a node's own blocks and services are not known here, and the outcome says
so.

    text ─► read_route ─► RouteText ─► try_filter(BGPFilter, …) ─► Outcome ─► rows | as_json

Left out: files and exit codes (``cluster.cli.filter``).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal

import attrs

from agents.confd.filters import read_filter
from agents.speaker.config import MAX_PRIORITY, NORMAL_PRIORITY, UPLINK, CommunityValue, Filter
from agents.speaker.filters import Facts, FilterChain, add_communities, community, local_pref
from protocol.bgp.attributes import AS_SEQUENCE, DEFAULT_LOCAL_PREF, Attributes, Origin
from protocol.prefix import (
    Address,
    Prefix,
    contains,
    family_of,
    format_address,
    format_prefix,
    parse_address,
    parse_prefix,
)
from protocol.v3 import yamltree
from protocol.v3.bgp import BGPFilter, FilterRule
from protocol.v3.fields import is_community, parse_as_number
from protocol.v3.ippool import IPPool
from protocol.v3.yamltree import Written

Direction = Literal["import", "export"]

_MAX_ROUTE = 1 << 16


@attrs.frozen(kw_only=True)
class RouteText:
    """``learned``: by BGP, from a remote peer; else the node's own."""

    prefix: Prefix
    attributes: Attributes
    learned: bool
    interface: str


@attrs.frozen(kw_only=True)
class Outcome:
    accepted: bool
    filter: str
    direction: Direction
    rules: str  # the list of the BGPFilter that was asked: "exportV4"
    index: int | None  # of the rule that decided; None: Calico's default did
    reason: str
    route: RouteText  # as it goes on


# --- the route ----------------------------------------------------------------------------------------------------


def read_route(text: str, direction: Direction) -> RouteText:
    """YAML or JSON. Raises ValueError that says what is wrong, and where there is something to know, what is right."""
    if len(text) > _MAX_ROUTE:
        raise ValueError("this is no route: it has more than 64 KiB")
    try:
        documents = list(yamltree.read(text))
    except yamltree.SyntaxFault as fault:
        raise ValueError(fault.message) from None
    if len(documents) != 1 or not isinstance(documents[0], yamltree.Map):
        raise ValueError("a route is a mapping: {prefix: 10.0.0.0/24, asPath: [65001]}")
    for key, _ in documents[0].duplicates:
        raise ValueError(f"{key}: stands here twice")
    document = yamltree.plain(documents[0])
    values: dict[str, Any] = {}
    for name, value in document.items():
        read = _FIELDS.get(name)
        if read is None:
            raise ValueError(f"{name}: unknown field; a route has {', '.join(_FIELDS)}")
        if value is None:
            continue
        try:
            values[name] = read(value)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{name}: {error}") from None
    if "prefix" not in values:
        raise ValueError("prefix: required, as in {prefix: 10.0.0.0/24}")
    if "localPref" in values and "priority" in values:
        raise ValueError("localPref and priority are one thing (localPref = 2147483647 - priority): give one")
    return _route(values, direction)


def _route(values: Mapping[str, Any], direction: Direction) -> RouteText:
    prefix: Prefix = values["prefix"]
    as_path: tuple[int, ...] = values.get("asPath", ())
    learned = values.get("source", direction == "import" or bool(as_path))
    if direction == "import" and not learned:
        raise ValueError("source: what is imported comes from a remote peer")
    preference = values.get("localPref", values.get("priority"))
    if preference is None:
        preference = DEFAULT_LOCAL_PREF if learned else MAX_PRIORITY - NORMAL_PRIORITY
    next_hop = values.get("nextHop")
    if next_hop is not None and len(next_hop) != len(prefix) - 1:
        raise ValueError("nextHop: of another address family than the prefix")
    attributes = Attributes(
        next_hop=next_hop or Address(bytes(len(prefix) - 1)),
        origin=values.get("origin", Origin.IGP),
        as_path=((AS_SEQUENCE, as_path),) if as_path else (),
        med=values.get("med"),
        local_pref=preference,
    )
    return RouteText(
        prefix=prefix,
        attributes=add_communities(attributes, values.get("communities", ())),
        learned=learned,
        interface=values.get("interface", UPLINK if learned else ""),
    )


def _text(value: Any) -> str:
    if isinstance(value, Written):
        return value.text  # 65000:10 is a number of base 60 to YAML
    if not isinstance(value, str):
        raise ValueError("a mapping or a list is out of place here")
    return value


def _number(low: int, high: int) -> Callable[[Any], int]:
    def read(value: Any) -> int:
        number = value.value if isinstance(value, Written) else value
        if type(number) is not int or not low <= number <= high:
            raise ValueError(f"{_shown(value)} is not a number in {low}..{high}")
        return number

    return read


def _list(value: Any) -> list[str]:
    """A list, or its items in one text."""
    return [_text(each) for each in value] if isinstance(value, list) else _text(value).split()


def _as_path(value: Any) -> tuple[int, ...]:
    found = _list(value)
    if len(found) > 255:
        raise ValueError(f"{len(found)} AS numbers, at most 255 are allowed")
    return tuple(map(parse_as_number, found))


def _communities(value: Any) -> tuple[CommunityValue, ...]:
    found = _list(value)
    for text in found:
        if not is_community(text):
            raise ValueError(f"{text!r} is not a community: 65000:100, or 65000:1:2 for a large one")
    return tuple(map(community, found))


def _shown(value: Any) -> str:
    return value.text if isinstance(value, Written) else repr(value)


def _origin(value: Any) -> Origin:
    names = {origin.name.lower(): origin for origin in Origin}
    if not isinstance(value, str) or value.lower() not in names:
        raise ValueError(f"{_shown(value)} is not one of IGP, EGP, Incomplete")
    return names[value.lower()]


def _source(value: Any) -> bool:
    if value not in ("RemotePeers", "Local"):
        raise ValueError(f"{_shown(value)} is not one of RemotePeers, Local")
    return bool(value == "RemotePeers")


_priority = _number(1, MAX_PRIORITY - 1)

_FIELDS: Mapping[str, Callable[[Any], Any]] = {
    "prefix": lambda value: parse_prefix(_text(value)),
    "asPath": _as_path,
    "communities": _communities,
    "localPref": _number(0, 0xFFFFFFFF),
    "priority": lambda value: MAX_PRIORITY - _priority(value),
    "med": _number(0, 0xFFFFFFFF),
    "origin": _origin,
    "nextHop": lambda value: parse_address(_text(value)),
    "interface": _text,
    "source": _source,
}


# --- the filter ---------------------------------------------------------------------------------------------------


def rules_of(resource: BGPFilter, direction: Direction, family: int) -> tuple[str, Filter | None]:
    """The list's name, and the list; None when it is empty."""
    directions = read_filter(resource, family)
    return f"{direction}V{family}", directions.imports if direction == "import" else directions.exports


def asks_peer_type(rules: Iterable[FilterRule]) -> int | None:
    """The first rule that wants to know whether the session is iBGP."""
    return next((index for index, rule in enumerate(rules) if rule.peer_type is not None), None)


def try_filter(
    resource: BGPFilter, direction: Direction, route: RouteText, *, internal: bool, pools: Iterable[IPPool]
) -> Outcome:
    """What becomes of the route on a session with this filter alone."""
    name = resource.metadata.name
    lists, filter_ = rules_of(resource, direction, family_of(route.prefix))
    if filter_ is not None:
        chain = FilterChain([filter_], internal=internal)
        facts = Facts(route.attributes, route.learned, route.interface)
        decision = chain.run(chain.match(route.prefix), facts)
        if decision is not None:
            accepted = decision.attributes is not None
            return Outcome(
                accepted=accepted,
                filter=name,
                direction=direction,
                rules=lists,
                index=decision.index,
                reason=f"{lists}[{decision.index}] is the first rule that holds",
                route=attrs.evolve(route, attributes=decision.attributes or route.attributes),
            )
    why = f"no rule of {lists} holds" if filter_ is not None else f"BGPFilter {name} has no {lists}"
    accepted, default = _default(direction, route, pools)
    return Outcome(
        accepted=accepted, filter=name, direction=direction, rules=lists, index=None, route=route,
        reason=f"{why}; {default}",
    )  # fmt: skip


def _default(direction: Direction, route: RouteText, pools: Iterable[IPPool]) -> tuple[bool, str]:
    if direction == "import":
        return True, "Calico imports what no filter rejects"
    holding = sorted(
        (pool for pool in pools if contains(parse_prefix(pool.spec.cidr), route.prefix)),
        key=lambda pool: pool.metadata.name,
    )
    for pool in holding:
        if pool.spec.disable_bgp_export:
            return False, f"Calico exports nothing of IPPool {pool.metadata.name}: disableBGPExport"
    if holding:
        return True, (
            f"Calico exports what is in IPPool {holding[0].metadata.name}, "
            "but for what is inside a block of the node, which leaves whole"
        )
    return False, (
        "Calico exports what is in an IPPool, and the node's blocks and services: "
        "no IPPool of these files holds it"
    )


# --- what is shown ------------------------------------------------------------------------------------------------


def as_json(route: RouteText) -> dict[str, Any]:
    """The route again, in the fields it can be written with."""
    attributes = route.attributes
    communities: list[str] = [f"{value >> 16}:{value & 0xFFFF}" for value in attributes.communities]
    communities += [":".join(map(str, value)) for value in attributes.large_communities]
    shown: dict[str, Any] = {
        "prefix": format_prefix(route.prefix),
        "source": "RemotePeers" if route.learned else "Local",
        "asPath": [asn for _, numbers in attributes.as_path for asn in numbers],
        "localPref": local_pref(attributes),
        "communities": communities,
        "origin": "Incomplete" if attributes.origin is Origin.INCOMPLETE else attributes.origin.name,
    }
    if any(attributes.next_hop):
        shown["nextHop"] = format_address(attributes.next_hop)
    if attributes.med is not None:
        shown["med"] = attributes.med
    if route.interface:
        shown["interface"] = route.interface
    return shown


def rows(route: RouteText) -> list[tuple[str, str]]:
    """The same for people."""
    found: list[tuple[str, str]] = []
    for name, value in as_json(route).items():
        text = " ".join(map(str, value)) if isinstance(value, list) else str(value)
        if name == "localPref" and 0 < MAX_PRIORITY - value < MAX_PRIORITY - DEFAULT_LOCAL_PREF:
            text = f"{value} (priority {MAX_PRIORITY - value})"
        found.append((name, text or "-"))
    return found


def outcome_json(outcome: Outcome, file: str, line: int) -> str:
    rule = None
    if outcome.index is not None:
        rule = {"list": outcome.rules, "index": outcome.index, "file": file, "line": line}
    return json.dumps(
        {
            "verdict": "accepted" if outcome.accepted else "rejected",
            "filter": outcome.filter,
            "direction": outcome.direction,
            "rule": rule,
            "reason": outcome.reason,
            "route": as_json(outcome.route),
        },
        indent=2,
    )
