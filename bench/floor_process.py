"""One process of the floor: ``python -m bench.floor_process NODES FIRST LAST``, started by ``bench.floor``.

Nodes FIRST to LAST of a full mesh of NODES, with nothing but sockets and ``selectors``. Every node listens and dials
the nodes of smaller number; every connection carries what a BGP session's start does, one route each way, in frames
as long as tortie's, but their content is never looked at:

    dialler           listener
    OPEN        ->
                <-    OPEN KEEPALIVE
    KEEPALIVE   ->
    UPDATE EOR  ->                      (each end when it has got the other's KEEPALIVE)
                <-    UPDATE EOR

Talk with the parent: "listening" on stdout, any line on stdin to begin, "done" on stdout, the end of stdin to go.
It imports as little as it can, since its start is part of what is measured.
"""

from __future__ import annotations

import selectors
import socket
import sys

PORT = 17901
DIALS_AT_ONCE = 256  # more overflow the accept queues, and a lost SYN costs a second

# A frame is its length in one octet, its kind in the next, and filling.
OPEN, KEEPALIVE, UPDATE, EOR = (
    bytes((size, kind)) + bytes(size - 2) for kind, size in enumerate((60, 3, 50, 10))
)


def address(node: int) -> str:
    """Of the node with this number, from 1."""
    high, low = divmod(node, 256)
    return f"127.79.{high}.{low}"


class End:
    """One end of one connection."""

    __slots__ = ("dialled", "sock", "tail")

    def __init__(self, sock: socket.socket, *, dialled: bool) -> None:
        self.sock = sock
        self.dialled = dialled
        self.tail = b""

    def receive(self) -> bool:
        """Reads and answers what is there; True when the End-of-RIB has come, the last that an end waits for."""
        data = self.tail + self.sock.recv(65536)
        position, answer, finished = 0, b"", False
        while position < len(data) and position + data[position] <= len(data):
            kind = data[position + 1]
            if kind == 0:
                answer += KEEPALIVE if self.dialled else OPEN + KEEPALIVE
            elif kind == 1:
                answer += UPDATE + EOR
            elif kind == 3:
                finished = True
            position += data[position]
        self.tail = data[position:]
        if answer:
            self.sock.send(answer)  # a hundred octets into an empty buffer: never cut short
        return finished


def main(nodes: int, first: int, last: int) -> None:
    selector = selectors.DefaultSelector()
    own = range(first, last + 1)
    for node in own:
        listener = socket.create_server((address(node), PORT), backlog=4096)
        listener.setblocking(False)
        selector.register(listener, selectors.EVENT_READ)
    print("listening", flush=True)
    sys.stdin.readline()

    to_dial = [(node, peer) for peer in range(nodes, 0, -1) for node in own if peer < node]
    dialling = 0
    open_ends = len(own) * (nodes - 1)
    while open_ends:
        while to_dial and dialling < DIALS_AT_ONCE:
            node, peer = to_dial.pop()
            sock = socket.socket()
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.bind((address(node), 0))
            sock.connect_ex((address(peer), PORT))
            selector.register(sock, selectors.EVENT_WRITE, End(sock, dialled=True))
            dialling += 1
        for key, events in selector.select():
            end = key.data
            if end is None:
                assert isinstance(key.fileobj, socket.socket)
                try:
                    while True:
                        sock, _ = key.fileobj.accept()
                        sock.setblocking(False)
                        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                        selector.register(sock, selectors.EVENT_READ, End(sock, dialled=False))
                except BlockingIOError:
                    pass
            elif events & selectors.EVENT_WRITE:
                dialling -= 1
                end.sock.send(OPEN)
                selector.modify(end.sock, selectors.EVENT_READ, end)
            elif end.receive():
                open_ends -= 1
    print("done", flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
