"""A handful of nodes, tables that lead anywhere, and whatever may happen to them: what a loss account is told."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from agents.dataplane.fib import BLACKHOLE, TUNL0, UNREACHABLE, device, via
from cluster.loss.account import Account
from protocol.prefix import Address, Prefix, host_prefix, parse_address, parse_prefix

NAMES = ("ant", "bee", "cat", "dog", "rtr")
ROUTER = "rtr"
ADDRESSES = {name: parse_address(f"10.77.0.{number}") for number, name in enumerate(NAMES, 1)}
TUNNELS = {name: parse_address(f"192.168.9.{number}") for number, name in enumerate(NAMES, 1)}
STRANGER = parse_address("10.77.0.99")

PODS = [
    parse_address(text) for text in ("192.168.0.1", "192.168.0.2", "192.168.0.5", "192.168.1.1", "fd00::1")
]
WIDER = [
    parse_prefix(text)
    for text in ("0.0.0.0/0", "192.168.0.0/29", "192.168.0.0/30", "192.168.1.0/29", "fd00::/122")
]

Fact = tuple[Any, ...]
"""A method of Account, and its arguments after ``now``."""


def _names() -> st.SearchStrategy[str]:
    return st.sampled_from(NAMES)


def _routes() -> st.SearchStrategy[Any]:
    owned = [*ADDRESSES.values(), *ADDRESSES.values(), *ADDRESSES.values(), *TUNNELS.values(), STRANGER]
    gateways = st.lists(st.sampled_from(owned), min_size=1, max_size=3, unique=True).map(tuple)
    simple = st.sampled_from([via((each,)) for each in ADDRESSES.values()])
    return (
        simple
        | st.sampled_from((None, BLACKHOLE, UNREACHABLE, device("cali1")))
        | st.builds(via, gateways, st.sampled_from(("", TUNL0)))
    )


def _prefixes() -> st.SearchStrategy[Prefix]:
    return st.sampled_from([*WIDER, *map(host_prefix, PODS)])


def _member(name: str, addresses: list[Address]) -> Fact:
    return "set_member", name, [ADDRESSES[name], *addresses], name != ROUTER


def facts() -> st.SearchStrategy[Fact]:
    return st.one_of(
        st.tuples(
            st.just("set_routes"), _names(), st.dictionaries(_prefixes(), _routes(), min_size=1, max_size=4)
        ),
        st.tuples(
            st.just("set_routes"), _names(), st.dictionaries(_prefixes(), _routes(), min_size=1, max_size=1)
        ),
        st.tuples(st.just("set_pods"), _names(), st.lists(st.sampled_from(PODS), max_size=3, unique=True)),
        st.tuples(st.just("set_power"), _names(), st.booleans()),
        st.tuples(st.just("set_cut"), _names(), _names(), st.booleans()),
        st.tuples(st.just("remove_member"), _names()),
        st.builds(
            _member,
            _names(),
            st.lists(st.sampled_from([*TUNNELS.values(), STRANGER]), max_size=2, unique=True),
        ),
    )


def histories() -> st.SearchStrategy[list[tuple[float, Fact]]]:
    """Facts, each with the seconds since the one before. They begin with nodes that reach each other, as clusters do."""
    return st.lists(st.tuples(st.sampled_from((0.0, 0.0, 1.0, 2.5)), facts()), max_size=20).map(
        lambda drawn: [*((0.0, fact) for fact in a_cluster()), *drawn]
    )


def a_cluster() -> list[Fact]:
    """ant and cat have a pod each and reach each other straight; bee goes by way of the router."""
    home = {"ant": PODS[0], "cat": PODS[3]}
    block = {"ant": WIDER[1], "cat": WIDER[3]}
    found: list[Fact] = [_member(name, [TUNNELS[name]]) for name in NAMES]
    for name in NAMES:
        table: dict[Prefix, Any] = {}
        for owner, prefix in block.items():
            gateway = ADDRESSES[ROUTER] if name == "bee" else ADDRESSES[owner]
            table[prefix] = BLACKHOLE if name == owner else via((gateway,))
        if name in home:
            table[host_prefix(home[name])] = device("cali0")
            found.append(("set_pods", name, [home[name]]))
        found.append(("set_routes", name, table))
    return found


def tell(account: Account, now: float, fact: Fact) -> None:
    what, name, *rest = fact
    if what == "set_routes":
        account.set_routes(now, name, rest[0], rest[0])
    elif what == "set_member":
        account.set_member(now, name, rest[0], source=rest[1])
    else:
        getattr(account, what)(now, name, *rest)
