"""What a FIB holds, in a world small enough that prefixes meet."""

from __future__ import annotations

from hypothesis import strategies as st

from agents.dataplane.fib import BLACKHOLE, TUNL0, UNREACHABLE, VXLAN, FibRoute, device, via
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
    gateways = st.lists(
        st.integers(1, 5).map(lambda host: Address(bytes((10, 77, 0, host)))),
        min_size=1,
        max_size=3,
        unique=True,
    )
    return st.sampled_from((BLACKHOLE, UNREACHABLE)) | st.builds(
        via, gateways.map(tuple), st.sampled_from(("", "", TUNL0))
    )


def felix_tables() -> st.SearchStrategy[dict[Prefix, FibRoute]]:
    tunnel = via((Address(bytes((192, 168, 9, 1))),), VXLAN[IPV4])
    routes = st.sampled_from((*(device(f"cali{name}") for name in "abc"), BLACKHOLE, tunnel))
    return st.dictionaries(prefixes(), routes, max_size=6)
