"""What real TCP has and its twin has not: descriptors, pacing, strangers, introductions. The rest is in test_links."""

from __future__ import annotations

import os
import resource
import socket
import struct
from collections.abc import Callable, Iterator

import pytest
import trio

from agents.speaker.links import LinkChange, LinkOptions
from agents.speaker.tcp import MAX_STRANGERS, NODE_DIALS, PROCESS_DIALS, TcpLinks, TcpNetwork
from agents.speaker.tcp_options import can_sign, real_port
from agents.speaker.tcp_terms import Endpoint
from protocol.prefix import Address
from tests.strategies.network import loopback_endpoints
from tests.strategies.speaker import host

ONE, OTHER = host(1), host(2)
RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


class Nodes:
    """Nodes of one network; shut at the end."""

    def __init__(self) -> None:
        self.attached: list[TcpLinks] = []

    def attach(self, network: TcpNetwork, address: Address) -> TcpLinks:
        links = network.attach(address)
        self.attached.append(links)
        return links


@pytest.fixture
def nodes() -> Iterator[Nodes]:
    nodes = Nodes()
    yield nodes
    for links in nodes.attached:
        links.shut()


def caller(source: str, to: Endpoint) -> socket.socket:
    """Somebody who is no node."""
    sock = socket.socket()
    sock.bind((source, 0))
    sock.connect(to)
    return sock


async def soon(links: TcpLinks) -> list[object]:
    with trio.fail_after(5):
        while not (events := await links.wait(trio.current_time() + 5)):
            pass
    return [what for _, what in events]


async def nothing(links: TcpLinks) -> None:
    assert await links.wait(trio.current_time() + 0.02) == []


# --- who calls ----------------------------------------------------------------------------------------------------


async def test_a_caller_from_no_nodes_address_is_nobody(nodes: Nodes) -> None:
    network = TcpNetwork(loopback_endpoints((ONE, OTHER)))
    one = nodes.attach(network, ONE)
    with caller("127.77.250.250", network.endpoints[ONE]):
        [(link, what)] = await one.wait(trio.current_time() + 5)
        assert (what, link.remote) == (LinkChange.ACCEPTED, b"")
        one.close(link)


async def test_a_node_calls_from_its_own_address(nodes: Nodes) -> None:
    network = TcpNetwork(loopback_endpoints((ONE, OTHER)))
    one, other = nodes.attach(network, ONE), nodes.attach(network, OTHER)
    link = one.dial(OTHER)
    await soon(one)
    await soon(other)
    assert link.sock.getsockname()[0] == network.endpoints[ONE][0]
    assert link.sock.getpeername() == network.endpoints[OTHER]
    assert link.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


async def test_an_introduction_in_pieces(nodes: Nodes) -> None:
    """Where all share 127.0.0.1 the first six bytes say who calls, and whom; until then nothing has happened."""
    network = TcpNetwork(loopback_endpoints((ONE, OTHER), one_address=True), introduce=True)
    one = nodes.attach(network, ONE)
    with caller("127.0.0.1", network.endpoints[ONE]) as sock:
        await nothing(one)
        sock.send(OTHER[:3])
        await nothing(one)
        sock.send(OTHER[3:] + (179).to_bytes(2, "big") + b"hello")
        (link, what), (same, data) = await one.wait(trio.current_time() + 5)
        assert (what, link.remote, same is link, data) == (LinkChange.ACCEPTED, OTHER, True, b"hello")
        sock.send(b"more")
        assert await soon(one) == [b"more"]


async def test_who_hangs_up_before_the_introduction_was_never_there(nodes: Nodes) -> None:
    network = TcpNetwork(loopback_endpoints((ONE, OTHER), one_address=True), introduce=True)
    one = nodes.attach(network, ONE)
    before = descriptors()
    for said in (b"", OTHER[:2]):
        with caller("127.0.0.1", network.endpoints[ONE]) as sock:
            sock.send(said)
        for _ in range(4):  # one turn to accept, two to read, one in which nothing happens
            await nothing(one)
    assert descriptors() == before


# --- broken connections -------------------------------------------------------------------------------------------


async def test_a_reset_is_called_by_its_name(nodes: Nodes) -> None:
    network = TcpNetwork(loopback_endpoints((ONE, OTHER)))
    one = nodes.attach(network, ONE)
    sock = caller(network.endpoints[OTHER][0], network.endpoints[ONE])
    [(link, _)] = await one.wait(trio.current_time() + 5)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
    sock.close()
    assert await soon(one) == [LinkChange.FAILED]
    assert link.error == "Connection reset by peer"


async def test_a_reset_under_a_full_queue_is_a_failure_and_no_drain(nodes: Nodes) -> None:
    network = TcpNetwork(loopback_endpoints((ONE, OTHER)))
    one = nodes.attach(network, ONE)
    sock = caller(network.endpoints[OTHER][0], network.endpoints[ONE])
    [(link, _)] = await one.wait(trio.current_time() + 5)
    one.send(link, bytes(16 << 20))
    assert link.queued > 0
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
    sock.close()
    assert await soon(one) == [LinkChange.FAILED]
    await nothing(one)


async def test_a_queue_goes_out_in_as_many_calls_as_it_takes(nodes: Nodes) -> None:
    network = TcpNetwork(loopback_endpoints((ONE, OTHER)))
    one = nodes.attach(network, ONE)
    with caller(network.endpoints[OTHER][0], network.endpoints[ONE]) as sock:
        [(link, _)] = await one.wait(trio.current_time() + 5)
        sent = os.urandom(1 << 20) * 24
        one.send(link, sent)
        sock.setblocking(False)
        got, queued = bytearray(), [link.queued]
        while len(got) < len(sent):
            try:
                got += sock.recv(1 << 18)
            except BlockingIOError:
                await one.wait(trio.current_time() + 5)
                queued.append(link.queued)
    assert got == sent
    assert queued == sorted(queued, reverse=True)
    assert len(set(queued)) > 2
    assert link.queued == 0


# --- descriptors --------------------------------------------------------------------------------------------------


async def test_power_off_frees_every_descriptor() -> None:
    """Whatever they were doing: connected, accepted, dialling, waiting to dial, refused."""
    before = descriptors()
    endpoints = loopback_endpoints((ONE, OTHER, host(3)))
    deaf = _deaf()
    endpoints[host(4)] = deaf.getsockname()
    network = TcpNetwork(endpoints)
    one, other = network.attach(ONE), network.attach(OTHER)
    for remote in (OTHER, host(3), *[host(4)] * (NODE_DIALS + 10)):
        one.dial(remote)
    other.dial(ONE)
    await soon(one)
    await soon(other)
    assert network.dials_left == PROCESS_DIALS - NODE_DIALS
    one.shut()
    other.shut()
    deaf.close()
    assert network.dials_left == PROCESS_DIALS
    assert descriptors() == before


async def test_what_is_refused_or_closed_costs_no_descriptor(nodes: Nodes) -> None:
    network = TcpNetwork(loopback_endpoints((ONE, OTHER, host(3))))
    one, other = nodes.attach(network, ONE), nodes.attach(network, OTHER)
    before = descriptors()
    for _ in range(20):
        one.dial(host(3))
        one.dial(host(77))  # no endpoint
        link = one.dial(OTHER)
        await soon(one)
        await soon(other)
        one.close(link)
        await soon(other)
    assert descriptors() == before


def test_a_busy_endpoint_leaves_nothing_behind() -> None:
    endpoints = loopback_endpoints((ONE,))
    with socket.socket() as sock:
        sock.bind(endpoints[ONE])
        sock.listen()
        before = descriptors()
        with pytest.raises(OSError, match="in use") as caught:
            TcpNetwork(endpoints).attach(ONE)
        host, port = endpoints[ONE]
        assert caught.value.filename == f"{host}:{port}"
        assert descriptors() == before


# --- pacing -------------------------------------------------------------------------------------------------------


def _deaf() -> socket.socket:
    """A listener whose queue is full: who dials it waits."""
    sock = socket.socket()
    sock.bind(("127.77.200.201", 0))
    sock.listen(0)
    filler = [socket.socket() for _ in range(2)]
    for each in filler:
        each.setblocking(False)
        each.connect_ex(sock.getsockname())
        each.close()
    return sock


async def test_dials_are_paced_by_node_and_by_process(nodes: Nodes) -> None:
    """More is asked for than may be under way; as dials end, the next go, and all come through."""
    addresses = [host(number) for number in range(1, 6)]
    target = host(100)
    good = loopback_endpoints((*addresses, target))
    with _deaf() as deaf:
        endpoints = {**good, target: deaf.getsockname()}
        network = TcpNetwork(endpoints)
        dialled = {
            links: [links.dial(target) for _ in range(100)]
            for links in [nodes.attach(network, address) for address in addresses]
        }
        assert network.dials_left == 0
        assert [links._dialling for links in dialled] == [NODE_DIALS] * 4 + [0]
        assert [len(links._dials) for links in dialled] == [36] * 4 + [100]
        assert list(network.waiting) == [nodes.attached[4]]

        # The neighbour hears again. Those under way are given up, which lets the others go.
        network.learn({target: good[target]})
        listener = nodes.attach(network, target)
        for links, theirs in dialled.items():
            for link in theirs[:NODE_DIALS] if links._dialling else ():
                links.close(link)
    assert network.dials_left == PROCESS_DIALS
    connected = 0
    for links in dialled:
        connected += (await soon(links)).count(LinkChange.CONNECTED)
    assert connected == 4 * 36 + 100
    accepted = 0
    while accepted < connected:
        accepted += (await soon(listener)).count(LinkChange.ACCEPTED)
    assert not network.waiting


async def test_a_dial_that_still_waits_can_be_given_up(nodes: Nodes) -> None:
    endpoints = loopback_endpoints((ONE, OTHER))
    with _deaf() as deaf:
        endpoints[OTHER] = deaf.getsockname()
        network = TcpNetwork(endpoints)
        one = nodes.attach(network, ONE)
        before = descriptors()
        links = [one.dial(OTHER) for _ in range(NODE_DIALS + 5)]
        for link in reversed(links):
            one.close(link)
        assert descriptors() == before
        assert network.dials_left == PROCESS_DIALS
        await nothing(one)


async def test_the_budget_of_a_node_that_goes_away_is_the_others(nodes: Nodes) -> None:
    addresses = [host(number) for number in range(1, 7)]
    endpoints = loopback_endpoints(addresses)
    with _deaf() as deaf:
        network = TcpNetwork({**endpoints, host(100): deaf.getsockname()})
        attached = [nodes.attach(network, address) for address in addresses]
        for links in attached:
            for _ in range(NODE_DIALS):
                links.dial(host(100))
        assert [links._dialling for links in attached] == [NODE_DIALS] * 4 + [0, 0]
        nodes.attached.remove(attached[1])
        attached[1].shut()
        assert [links._dialling for links in attached] == [
            NODE_DIALS,
            0,
            NODE_DIALS,
            NODE_DIALS,
            NODE_DIALS,
            0,
        ]
        assert network.dials_left == 0


# --- when descriptors run out -----------------------------------------------------------------------------------------


@pytest.fixture
def no_descriptor_left() -> Iterator[Callable[[], None]]:
    """Call it, and nothing can be opened until the test ends or something is closed."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)

    def exhaust() -> None:
        # The lowest number that is free is the next to be given.
        probe = os.open("/dev/null", os.O_RDONLY)
        os.close(probe)
        resource.setrlimit(resource.RLIMIT_NOFILE, (probe, before[1]))

    yield exhaust
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


async def test_without_a_descriptor_a_dial_fails(
    nodes: Nodes, no_descriptor_left: Callable[[], None]
) -> None:
    network = TcpNetwork(loopback_endpoints((ONE, OTHER)))
    one = nodes.attach(network, ONE)
    nodes.attach(network, OTHER)
    no_descriptor_left()
    link = one.dial(OTHER)
    assert await soon(one) == [LinkChange.FAILED]
    assert link.error == "Too many open files"


async def test_without_a_descriptor_who_calls_waits_and_nobody_spins(
    nodes: Nodes, no_descriptor_left: Callable[[], None]
) -> None:
    network = TcpNetwork(loopback_endpoints((ONE, OTHER)))
    one = nodes.attach(network, ONE)
    with caller("127.77.250.250", network.endpoints[ONE]):
        [(first, _)] = await one.wait(trio.current_time() + 5)
        with caller("127.77.250.251", network.endpoints[ONE]):
            no_descriptor_left()
            assert await one.wait(trio.current_time() + 5) == []  # it tried, in vain
            await nothing(one)  # and does not try again
            one.close(first)
            assert await soon(one) == [LinkChange.ACCEPTED]


async def test_of_too_many_who_do_not_introduce_themselves_the_oldest_goes(nodes: Nodes) -> None:
    network = TcpNetwork(loopback_endpoints((ONE, OTHER), one_address=True), introduce=True)
    one = nodes.attach(network, ONE)
    callers = [caller("127.0.0.1", network.endpoints[ONE]) for _ in range(MAX_STRANGERS + 1)]
    try:
        assert await one.wait(trio.current_time() + 5) == []
        callers[0].settimeout(5)
        assert callers[0].recv(1) == b""
        callers[-1].sendall(OTHER + (179).to_bytes(2, "big"))
        assert await soon(one) == [LinkChange.ACCEPTED]
    finally:
        for each in callers:
            each.close()


# --- signatures ---------------------------------------------------------------------------------------------------------


async def test_what_cannot_be_had_is_said_by_the_dial_and_turns_callers_away(nodes: Nodes) -> None:
    network = TcpNetwork(loopback_endpoints((ONE, OTHER), one_address=True), introduce=True)
    one, other = nodes.attach(network, ONE), nodes.attach(network, OTHER)
    secret = LinkOptions(password="secret")
    assert network.lacks(secret).startswith("TCP MD5 signatures need a loopback address for each node")
    one.expect({OTHER: secret})
    link = one.dial(OTHER)
    assert await soon(one) == [LinkChange.FAILED]
    assert link.error == network.lacks(secret)
    other.dial(ONE)
    assert await soon(other) == [LinkChange.CONNECTED]
    for _ in range(3):
        await nothing(one)
    assert await soon(other) == [LinkChange.FAILED]


@pytest.mark.skipif(not can_sign(), reason="this kernel has no TCP MD5 signatures")
async def test_a_password_may_be_known_before_the_neighbours_endpoint(nodes: Nodes) -> None:
    endpoints = loopback_endpoints((ONE, OTHER))
    network = TcpNetwork({ONE: endpoints[ONE]})
    with pytest.raises(OSError, match="Cannot assign"):
        network.attach(OTHER)
    one = nodes.attach(network, ONE)
    one.expect({OTHER: LinkOptions(password="secret")})
    network.learn(endpoints)
    other = nodes.attach(network, OTHER)
    other.dial(ONE)
    await nothing(one)
    other.expect({ONE: LinkOptions(password="secret")})
    other.dial(ONE)
    assert await soon(one) == [LinkChange.ACCEPTED]


@pytest.mark.skipif(not can_sign(), reason="this kernel has no TCP MD5 signatures")
async def test_too_long_a_password_is_refused(nodes: Nodes) -> None:
    network = TcpNetwork(loopback_endpoints((ONE, OTHER)))
    assert network.lacks(LinkOptions(password="x" * 80)) == ""
    assert network.lacks(LinkOptions(password="x" * 81)).startswith(
        "the password is longer than the 80 octets"
    )


# --- ports --------------------------------------------------------------------------------------------------------------


def test_ports_keep_their_distance() -> None:
    assert real_port(1790, 179) == 1790
    assert real_port(1790, 180) == 1791
    assert real_port(1790, 1790) == 3401
    assert real_port(179, 5) == 5
    assert {real_port(1790, port) for port in range(1, 65536)} == set(range(1, 65536))
