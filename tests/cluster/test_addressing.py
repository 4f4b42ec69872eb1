"""Node addresses and the loopback endpoints behind them."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.addressing import (
    AddressingError,
    Endpoints,
    busy_message,
    find_busy,
    generated_address,
    has_wide_loopback,
)
from protocol.prefix import IPV6, Address, parse_address
from tests.strategies.network import free_ports

ADDRESSES = st.lists(
    st.one_of(
        st.integers(1, 65534).map(generated_address),
        st.integers(1, 65534).map(lambda index: generated_address(index, IPV6)),
        st.sampled_from(["172.18.0.2", "10.77.0.9", "192.168.3.4", "10.0.0.1", "172.18.0.3", "2001:db8::9"]),
    ).map(parse_address),
    unique=True,
    max_size=30,
)


@pytest.mark.parametrize(
    ("index", "address"), [(1, "10.77.0.1"), (255, "10.77.0.255"), (256, "10.77.1.0"), (1000, "10.77.3.232")]
)
def test_generated_addresses_count_on_over_the_octets(index: int, address: str) -> None:
    assert generated_address(index) == address


def test_a_generated_node_keeps_its_last_octets_and_others_take_the_next_free() -> None:
    nodes = [
        "172.18.0.2",
        "10.77.0.1",
        "10.77.3.232",
        "fd00:77::1",
        "172.18.0.3",
        "2001:db8::1",
        "fd00:77::101",
    ]
    table = Endpoints(1790, wide=True).add(map(parse_address, nodes))
    assert [host for host, _ in table.values()] == [
        "127.77.0.2",
        "127.77.0.1",
        "127.77.3.232",
        "127.78.0.1",
        "127.77.0.3",
        "127.78.0.2",
        "127.78.1.1",
    ]
    assert {port for _, port in table.values()} == {1790}


@given(batches=st.lists(ADDRESSES, max_size=4), wide=st.booleans())
def test_no_two_addresses_share_an_endpoint_and_each_keeps_its_own(
    batches: list[list[Address]], wide: bool
) -> None:
    """Whenever they come: who comes later takes what is left."""
    endpoints = Endpoints(1790, wide=wide)
    seen: dict[Address, tuple[str, int]] = {}
    for batch in batches:
        added = endpoints.add(batch)
        assert list(added) == batch
        assert seen.items() <= endpoints.table.items()
        seen = {**seen, **added}
        assert endpoints.table == seen
    assert len(set(seen.values())) == len(seen)
    for address, (host, _) in seen.items():
        assert host.startswith(("127.77." if len(address) == 4 else "127.78.") if wide else "127.0.0.1")


def test_ports_end_at_65535() -> None:
    nodes = [parse_address(generated_address(index)) for index in range(1, 4)]
    assert Endpoints(65533, wide=False).add(nodes)[nodes[2]] == ("127.0.0.1", 65535)
    endpoints = Endpoints(65534, wide=False)
    endpoints.add(nodes[:2])
    with pytest.raises(AddressingError, match=r"3 addresses need the ports 65534 to 65536.*--bgp-port"):
        endpoints.add(nodes)


def test_addresses_end_with_the_octets() -> None:
    endpoints = Endpoints(1790, wide=True)
    endpoints.add(Address(bytes((172, 16, *divmod(number, 256)))) for number in range(65535))
    with pytest.raises(AddressingError, match=r"more nodes than 127\.77\.0\.0/16 has addresses"):
        endpoints.add([parse_address("10.0.0.1")])


@pytest.fixture
def listener() -> Iterator[tuple[str, int]]:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        yield taken.getsockname()


def test_a_busy_endpoint_is_found_and_named(listener: tuple[str, int]) -> None:
    assert find_busy([listener]) == listener
    message = busy_message(listener, {"node-001": [listener]})
    assert message.startswith(f"127.0.0.1:{listener[1]} (for node-001) is in use")
    assert "--bgp-port" in message
    assert "\n" not in message


def test_free_endpoints_stay_free(listener: tuple[str, int]) -> None:
    free = "127.0.0.1", free_ports(1)[0]
    assert find_busy([free]) is None
    assert find_busy([free]) is None, "the look itself must not take the port"
    assert find_busy([free, listener]) == listener


def test_an_impossible_endpoint_is_one_clear_error() -> None:
    with pytest.raises(AddressingError, match=r"^cannot listen on 192\.0\.2\.1:1790: "):
        find_busy([("192.0.2.1", 1790)])


def test_the_probe_answers_what_a_bind_finds(monkeypatch: pytest.MonkeyPatch) -> None:
    class Narrow(socket.socket):
        def bind(self, address: object) -> None:
            assert address == ("127.77.0.1", 0)
            raise OSError("cannot assign")

    monkeypatch.setattr(socket, "socket", Narrow)
    assert has_wide_loopback() is False
