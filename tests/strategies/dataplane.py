"""What a FIB holds, in a world small enough that prefixes meet."""

from __future__ import annotations

from hypothesis import strategies as st

from agents.dataplane.fib import BLACKHOLE, FibRoute, device, via
from protocol.prefix import IPV4, IPV6, Address, Prefix, make_prefix, network_address


def addresses() -> st.SearchStrategy[Address]:
    """Of both families, from 16 neighbouring ones each."""
    return prefixes(host=True).map(network_address)


@st.composite
def prefixes(draw: st.DrawFn, *, host: bool = False) -> Prefix:
    family = draw(st.sampled_from((IPV4, IPV4, IPV4, IPV6)))
    bits = 32 if family == IPV4 else 128
    base = 0x0A4D0000 if family == IPV4 else 0xFD << 120
    length = bits if host else draw(st.sampled_from((0, 8, 16, bits - 4, bits - 3, bits - 2, bits - 1, bits)))
    return make_prefix(base + draw(st.integers(0, 15)), length, family)


def bird_routes() -> st.SearchStrategy[FibRoute]:
    gateways = st.lists(st.integers(1, 5), min_size=1, max_size=3, unique=True)
    return st.one_of(
        st.just(BLACKHOLE),
        gateways.map(lambda hosts: via(tuple(Address(bytes((10, 77, 0, host))) for host in hosts))),
    )


def felix_tables() -> st.SearchStrategy[dict[Prefix, FibRoute]]:
    return st.dictionaries(
        prefixes(), st.sampled_from("abc").map(lambda name: device(f"cali{name}")), max_size=6
    )
