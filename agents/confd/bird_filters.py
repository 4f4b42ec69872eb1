"""BGPFilters as BIRD 1.6 functions.

Owns the name of a function, its body, and the call. A rule is one statement: its conditions joined by ``&&`` in a
fixed order, then its operations and its action. The action ends the whole filter that calls the function, so the
first rule that matches decides, and a function that comes to its end has decided nothing.

A function of which any rule asks for the peer's type takes that as its argument.

Left out: what the rules do to a route here, which is ``agents.speaker.policy``.

Follows confd/pkg/resource/template/template_funcs.go.
"""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Iterable, Iterator

from agents.confd.prefixes import masked
from agents.speaker.config import MAX_PRIORITY, Filter
from protocol.prefix import IPV4, family_of, format_prefix
from protocol.v3.bgp import FilterOperation, FilterRuleV4, FilterRuleV6

Rule = FilterRuleV4 | FilterRuleV6

_LONGEST_NAME = 45  # of a BIRD symbol's 64; "bgp_" and "_importFilterV4" take the others
_HASH_DIGITS = 16
_OPERATORS = {"Equal": "=", "NotEqual": "!=", "In": "~", "NotIn": "!~"}
_PEER_TYPES = {"iBGP": "is_same_as", "eBGP": "!is_same_as"}


def function_name(each: Filter) -> str:
    """The quoted symbol. A name that is too long ends in a hash of the whole."""
    name = each.name
    if len(name) > _LONGEST_NAME:
        digest = hashlib.sha256(name.encode()).hexdigest()[:_HASH_DIGITS].upper()
        name = f"{name[: _LONGEST_NAME - 1 - _HASH_DIGITS]}_{digest}"
    return f"'bgp_{name}_{each.direction}FilterV{each.family}'"


def calls(filters: Iterable[Filter], *, internal: bool) -> Iterator[str]:
    """One statement a filter; ``internal`` is the peer's type."""
    for each in filters:
        argument = str(internal).lower() if _takes_peer_type(each) else ""
        yield f"{function_name(each)}({argument});"


def definitions(filters: Iterable[Filter], family: int) -> Iterator[str]:
    """The functions, each filter's directions under one comment."""
    commented = None
    for each in filters:
        if each.name != commented:
            commented = each.name
            yield f"# v{family} BGPFilter {each.name}"
        yield f"function {function_name(each)}({'bool is_same_as' if _takes_peer_type(each) else ''}) {{"
        yield from (f"  {statement(rule)}" for rule in each.rules)
        yield "}"
    if commented is None:
        yield f"# No v{family} BGPFilters configured"


def statement(rule: Rule) -> str:
    body = " ".join((*_operations(rule.operations), f"{rule.action.lower()};"))
    conditions = "&&".join(_conditions(rule))
    text = f"if ({conditions}) then {{ {body} }}" if conditions else body
    return f"if ({_PEER_TYPES[rule.peer_type]}) then {{ {text} }}" if rule.peer_type else text


def _takes_peer_type(each: Filter) -> bool:
    return any(rule.peer_type for rule in each.rules)


def _conditions(rule: Rule) -> Iterator[str]:
    if rule.cidr and rule.match_operator:
        yield f"(net {_OPERATORS[rule.match_operator]} {_prefixes(rule)})"
    if rule.source:
        yield "((defined(source))&&(source ~ [ RTS_BGP ]))"
    if rule.interface:
        yield f'((defined(ifname))&&(ifname ~ "{rule.interface}"))'
    if rule.communities:
        name, value = _community(rule.communities.values[0])
        yield f"({value} ~ {name})"
    if rule.as_path_prefix:
        yield f"(bgp_path ~ [= {' '.join(map(str, rule.as_path_prefix))} * =])"
    if rule.priority is not None:
        yield f"(defined(bgp_local_pref)&&(bgp_local_pref = {MAX_PRIORITY - rule.priority}))"


def _prefixes(rule: Rule) -> str:
    """The CIDR, or the set of its prefixes whose length is within the bounds.

    As it was written, which is how confd has it; but BIRD takes no host bits, which a rule may have.
    """
    cidr = masked(rule.cidr)
    network = ipaddress.ip_interface(rule.cidr)
    text = rule.cidr if network.ip == network.network.network_address else format_prefix(cidr)
    if rule.prefix_length is None:
        return text
    shortest, longest = cidr[0], 32 if family_of(cidr) == IPV4 else 128
    if rule.prefix_length.min is not None:
        shortest = max(shortest, rule.prefix_length.min)
    if rule.prefix_length.max is not None:
        longest = min(longest, rule.prefix_length.max)
    return f"[ {text}{{{shortest},{longest}}} ]"


def _operations(operations: Iterable[FilterOperation]) -> Iterator[str]:
    for operation in operations:
        if operation.add_community:
            name, value = _community(operation.add_community.value)
            yield f"{name}.add({value});"
        elif operation.prepend_as_path:
            # Each goes before what is there: the last to be prepended is the first of the path.
            for number in reversed(operation.prepend_as_path.prefix):
                yield f"bgp_path.prepend({number});"
        elif operation.set_priority:
            yield f"bgp_local_pref = {MAX_PRIORITY - operation.set_priority.value};"


def _community(text: str) -> tuple[str, str]:
    """The attribute that holds it, and the value as a BIRD tuple."""
    parts = text.split(":")
    return "bgp_community" if len(parts) == 2 else "bgp_large_community", f"({', '.join(parts)})"
