"""The comparison's other side: Calico's configuration for BIRD, and three real daemons where there are any."""

from __future__ import annotations

import os
import socket
import threading
from itertools import pairwise
from pathlib import Path

import pytest

from bench import bird
from bench.bird import Control, Herd, Topology, address, block, configuration
from bench.process import cpu_seconds
from bench.rows import BenchError, Case

needs_bird = pytest.mark.skipif(bird.find_bird() is None, reason=bird.INSTALL)


def test_every_session_of_the_mesh_is_dialled_by_one_end() -> None:
    """The smaller address, compared as text, waits: 127.78.0.10 is smaller than 127.78.0.9."""
    topology = Topology(nodes=12)
    passive = {
        (node, peer) for node in range(1, 13) for peer, more in topology.peers(node) if "passive on" in more
    }
    pairs = {(node, peer) for node in range(1, 13) for peer, _ in topology.peers(node)}
    assert len(pairs) == 12 * 11
    assert all(((one, other) in passive) != ((other, one) in passive) for one, other in pairs)
    assert (10, 9) in passive
    assert (9, 10) not in passive


def test_reflectors_have_clients_and_clients_have_reflectors() -> None:
    topology = Topology(nodes=6, reflectors=2)
    assert dict(topology.peers(2)) == {
        1: "",
        **dict.fromkeys(range(3, 7), " rr client; rr cluster id 244.0.0.1;"),
    }
    assert dict(topology.peers(5)) == {1: "", 2: ""}


def test_no_two_nodes_have_a_block_in_common() -> None:
    topology = Topology(nodes=3, routes=1000)
    blocks = [each for node in (1, 2, 3) for each in topology.blocks(node)]
    assert len(set(blocks)) == 3000
    assert blocks[:5] == [
        "10.128.0.0/26",
        "10.128.0.64/26",
        "10.128.0.128/26",
        "10.128.0.192/26",
        "10.128.1.0/26",
    ]
    networks = [int.from_bytes(socket.inet_aton(each.removesuffix("/26"))) for each in blocks]
    assert all(later - earlier == 64 for earlier, later in pairwise(networks))
    assert block(100_000) == "10.225.168.0/26"


def test_the_configuration_is_calicos() -> None:
    text = configuration(Topology(nodes=300), 299)
    assert "connect delay time 2; connect retry time 5; error wait time 5,30;" in text
    assert "local 127.78.1.43 port 17900 as 64512; strict bind; multihop;" in text
    assert (
        "protocol bgp peer300 from calico { neighbor 127.78.1.44 port 17900 as 64512; passive on; }" in text
    )
    assert "ipv4 { import all; export all; add paths on; };" in text
    assert text.count("protocol bgp ") == 299
    assert address(256) == "127.78.1.0"


def test_an_answer_ends_with_the_line_whose_code_has_a_blank(tmp_path: Path) -> None:
    path = tmp_path / "ctl"
    heard = []
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.sendall(b"0001 BIRD 2.0.12 ready.\n")
                heard.append(connection.recv(100))
                connection.sendall(b"1007-5 of 5 routes for 3 networks\n 10.0.0.0/8\n0014 ")
                connection.sendall(b"Total\n")

        server = threading.Thread(target=serve)
        server.start()
        control = Control(path)
        try:
            assert (
                control.ask("show route count")
                == "1007-5 of 5 routes for 3 networks\n 10.0.0.0/8\n0014 Total\n"
            )
            with pytest.raises(ConnectionError):
                control.ask("down")
        finally:
            control.close()
            server.join()
    assert heard == [b"show route count\n"]


def test_without_bird_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bird, "find_bird", lambda: None)
    with pytest.raises(BenchError, match="apt install bird2"):
        Herd(Topology(nodes=2))


@needs_bird
@pytest.mark.slow  # the daemons wait for two seconds before they dial
def test_three_real_daemons_converge_and_notice_every_change() -> None:
    runs = bird.churn(Case(bench="churn", nodes=3, sessions=3))
    assert [run.event for run in runs] == ["announce", "withdraw", "kill"]
    assert all(0 < run.wall_s < 10 for run in runs)


@needs_bird
@pytest.mark.slow
def test_a_herd_of_reflectors_is_measured_and_leaves_nothing() -> None:
    with Herd(
        Topology(nodes=4, reflectors=1, routes=2, port=17910)
    ) as herd:  # beside the other test's daemons
        herd.start()
        herd.wait_for(8)
        pids, directory = herd.pids, herd.directory
        assert len(pids) == 4
        assert directory.exists()
        assert cpu_seconds(pids) > 0
    assert not directory.exists()
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


@needs_bird
def test_a_daemon_that_ends_is_reported_with_its_reason() -> None:
    with Herd(Topology(nodes=1)) as herd:
        (herd.directory / "1.conf").write_text("nonsense;\n")
        herd.start()
        with pytest.raises(BenchError, match=r"bird 1 ended: .*syntax error"):
            herd.wait_for(1)
