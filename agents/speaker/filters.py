"""BGPFilters of one direction of one session, as BIRD runs them.

Owns ``FilterChain``: the rules of a session's filters, compiled once. The first rule whose conditions all hold ends not
the filter alone but the session's whole policy: accepted, with what its operations made of the attributes, or rejected.
Where no rule holds, ``run`` says None and Calico's default policy goes on.

Conditions fall in two: those on the prefix, and those on everything else. ``match`` answers the first for a prefix once
(a bit a rule), ``run`` the rest; so that whoever remembers results needs to remember them by these bits, and not by
prefix. A peerType is known when the chain is made: such rules are in it or not.

What BIRD makes of things, where one could wonder:

- Equal and NotEqual with a prefixLength compare a prefix with a set of prefixes: never equal, always unequal.
- A route without communities has an empty list of them; there is no error.
- An interface is "" for a route without one, which the pattern "*" matches.
- Bounds of a prefixLength outside cidr's own length and the family's are moved to these.

Left out: what a session's policy does besides (``policy``). Sources: confd's ``template_funcs.go``; BIRD 1.6's
``filter/filter.c``, ``nest/a-path.c`` and ``lib/patmatch.c``.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Sequence

import attrs

from agents.speaker.config import MAX_PRIORITY, CommunityValue, Filter
from protocol.bgp.attributes import AS_SET, DEFAULT_LOCAL_PREF, Attributes, Segment, prepend
from protocol.prefix import IPV4, Prefix, contains, parse_prefix
from protocol.v3.bgp import FilterOperation, FilterRuleV4, FilterRuleV6


@attrs.frozen
class Facts:
    """What a rule may ask of a route besides its prefix. ``interface`` is BIRD's ifname."""

    attributes: Attributes
    learned: bool  # by BGP
    interface: str = ""


Condition = Callable[[Facts], bool]
Operation = Callable[[Attributes], Attributes]


@attrs.frozen
class Decision:
    """How a chain ended: by rule number ``index`` of ``filter``. ``attributes`` is None when it said Reject."""

    filter: Filter
    index: int
    attributes: Attributes | None


@attrs.frozen
class _Rule:
    filter: Filter
    index: int
    prefix: Callable[[Prefix], bool] | None
    conditions: tuple[Condition, ...]
    accept: bool
    operations: tuple[Operation, ...]


class FilterChain:
    """See the module. ``internal``: whether the session's two ASes are one (peerType)."""

    def __init__(self, filters: Sequence[Filter], *, internal: bool) -> None:
        kind = "iBGP" if internal else "eBGP"
        self._rules = tuple(
            _compile(each, index, rule)
            for each in filters
            for index, rule in enumerate(each.rules)
            if rule.peer_type in (None, kind)
        )
        self.by_prefix = any(rule.prefix is not None for rule in self._rules)
        """Whether ``match`` differs between prefixes."""
        self._always = sum(1 << bit for bit, rule in enumerate(self._rules) if rule.prefix is None)

    def __bool__(self) -> bool:
        return bool(self._rules)

    def match(self, prefix: Prefix) -> int:
        """Which rules' conditions on the prefix hold, one bit each."""
        bits = self._always
        for bit, rule in enumerate(self._rules):
            if rule.prefix is not None and rule.prefix(prefix):
                bits |= 1 << bit
        return bits

    def run(self, matched: int, facts: Facts) -> Decision | None:
        """The first rule that holds, for a prefix that ``match`` gave ``matched`` for."""
        for bit, rule in enumerate(self._rules):
            if matched >> bit & 1 and all(holds(facts) for holds in rule.conditions):
                if not rule.accept:
                    return Decision(rule.filter, rule.index, None)
                attributes = facts.attributes
                for operation in rule.operations:
                    attributes = operation(attributes)
                return Decision(rule.filter, rule.index, attributes)
        return None


def _compile(filter_: Filter, index: int, rule: FilterRuleV4 | FilterRuleV6) -> _Rule:
    conditions: list[Condition] = []
    if rule.source:
        conditions.append(lambda facts: facts.learned)
    if rule.interface:
        pattern = interface_pattern(rule.interface)
        conditions.append(lambda facts: pattern.fullmatch(facts.interface) is not None)
    if rule.communities is not None:
        [text] = rule.communities.values
        conditions.append(_has_community(community(text)))
    if rule.as_path_prefix:
        head = rule.as_path_prefix
        conditions.append(lambda facts: _begins(facts.attributes.as_path, head))
    if rule.priority is not None:
        wanted = MAX_PRIORITY - rule.priority
        conditions.append(lambda facts: local_pref(facts.attributes) == wanted)
    return _Rule(
        filter=filter_,
        index=index,
        prefix=_prefix_condition(rule, filter_.family) if rule.cidr else None,
        conditions=tuple(conditions),
        accept=rule.action == "Accept",
        operations=tuple(_operation(each) for each in rule.operations),
    )


def local_pref(attributes: Attributes) -> int:
    return DEFAULT_LOCAL_PREF if attributes.local_pref is None else attributes.local_pref


def community(text: str) -> CommunityValue:
    """ "65000:100" or "65000:1:2" as the attribute has it."""
    parts = tuple(map(int, text.split(":")))
    if len(parts) == 2:
        return parts[0] << 16 | parts[1]
    first, second, third = parts
    return first, second, third


def add_communities(attributes: Attributes, values: Sequence[CommunityValue]) -> Attributes:
    """The attributes with these communities too, normal and large."""
    normal = {value for value in values if isinstance(value, int)}
    large = {value for value in values if not isinstance(value, int)}
    return attrs.evolve(
        attributes,
        communities=tuple(sorted(normal.union(attributes.communities))),
        large_communities=tuple(sorted(large.union(attributes.large_communities))),
    )


def interface_pattern(text: str) -> re.Pattern[str]:
    """BIRD's string patterns: ``*`` is anything, ``?`` one character."""
    return re.compile("".join({"*": ".*", "?": "."}.get(letter, re.escape(letter)) for letter in text))


def _has_community(value: CommunityValue) -> Condition:
    if isinstance(value, int):
        return lambda facts: value in facts.attributes.communities
    return lambda facts: value in facts.attributes.large_communities


def _begins(path: tuple[Segment, ...], head: tuple[int, ...]) -> bool:
    """``bgp_path ~ [= head * =]``. An AS_SET is one step of the path, which any of its members takes."""
    steps: list[tuple[int, ...]] = []
    for kind, numbers in path:
        steps += [numbers] if kind == AS_SET else [(number,) for number in numbers]
    return len(steps) >= len(head) and all(asn in step for asn, step in zip(head, steps, strict=False))


def _prefix_condition(rule: FilterRuleV4 | FilterRuleV6, family: int) -> Callable[[Prefix], bool]:
    network = ipaddress.ip_network(rule.cidr, strict=False)  # a filter may be written with host bits
    cidr = parse_prefix(str(network))
    negated = rule.match_operator in ("NotEqual", "NotIn")
    if rule.match_operator in ("In", "NotIn"):
        low, high = cidr[0], 32 if family == IPV4 else 128
        if (bounds := rule.prefix_length) is not None:
            low = low if bounds.min is None else max(low, bounds.min)
            high = high if bounds.max is None else min(high, bounds.max)
        return lambda prefix: (low <= prefix[0] <= high and contains(cidr, prefix)) is not negated
    if rule.prefix_length is not None:
        return lambda _: negated
    return lambda prefix: (prefix == cidr) is not negated


def _operation(operation: FilterOperation) -> Operation:
    if operation.add_community is not None:
        values = (community(operation.add_community.value),)
        return lambda attributes: add_communities(attributes, values)
    if operation.prepend_as_path is not None:
        numbers = operation.prepend_as_path.prefix[::-1]
        return lambda attributes: attrs.evolve(attributes, as_path=_prepend_all(attributes.as_path, numbers))
    assert operation.set_priority is not None
    preference = MAX_PRIORITY - operation.set_priority.value
    return lambda attributes: attrs.evolve(attributes, local_pref=preference)


def _prepend_all(path: tuple[Segment, ...], numbers: Sequence[int]) -> tuple[Segment, ...]:
    for number in numbers:
        path = prepend(path, number)
    return path
