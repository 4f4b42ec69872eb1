"""Node addresses and the loopback endpoints behind them."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.addressing import (
    AddressingError,
    busy_message,
    endpoints,
    find_busy,
    generated_address,
    has_wide_loopback,
)
from protocol.prefix import Address, parse_address

ADDRESSES = st.lists(
    st.one_of(
        st.integers(1, 65534).map(generated_address),
        st.sampled_from(["172.18.0.2", "10.77.0.9", "192.168.3.4", "10.0.0.1", "172.18.0.3"]),
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
    nodes = [parse_address(text) for text in ("172.18.0.2", "10.77.0.1", "10.77.3.232", "172.18.0.3")]
    assert list(endpoints(nodes, 1790, wide=True).values()) == [
        ("127.77.0.2", 1790),
        ("127.77.0.1", 1790),
        ("127.77.3.232", 1790),
        ("127.77.0.3", 1790),
    ]


@given(nodes=ADDRESSES, wide=st.booleans())
def test_no_two_nodes_share_an_endpoint(nodes: list[Address], wide: bool) -> None:
    result = endpoints(nodes, 1790, wide=wide)
    assert list(result) == nodes
    assert len(set(result.values())) == len(nodes)
    assert all(host.startswith("127.77." if wide else "127.0.0.1") for host, _ in result.values())


def test_ports_end_at_65535() -> None:
    nodes = [parse_address(generated_address(index)) for index in range(1, 4)]
    assert endpoints(nodes, 65533, wide=False)[nodes[2]] == ("127.0.0.1", 65535)
    with pytest.raises(AddressingError, match=r"3 nodes need the ports 65534 to 65536.*--bgp-port"):
        endpoints(nodes, 65534, wide=False)


@pytest.fixture
def listener() -> Iterator[tuple[str, int]]:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        yield taken.getsockname()


def test_a_busy_endpoint_is_found_and_named(listener: tuple[str, int]) -> None:
    assert find_busy([listener]) == listener
    message = busy_message(listener, {"node-001": listener})
    assert message.startswith(f"127.0.0.1:{listener[1]} (for node-001) is in use")
    assert "--bgp-port" in message
    assert "\n" not in message


def test_free_endpoints_stay_free(listener: tuple[str, int]) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        free = probe.getsockname()
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
