"""What a kernel is asked for beside the connection itself: ports, TCP MD5 signatures, TTLs.

Owns the arithmetic of ports and the socket options of ``LinkOptions``, set when BIRD 1.6 sets them: keys and the TTL that is
sent before the handshake, the TTL that is asked for after it, since a listener answers everybody alike. (BIRD's listener
does so with 255, ours with the system's TTL; nobody looks at it.)

Follows RFC 2385 (signatures), RFC 5082 (TTL), tcp(7) and ip(7) of Linux. Left out: TCP-AO, of which BIRD 1.6 knows nothing.
"""

from __future__ import annotations

import socket
import struct
import sys

from agents.speaker.config import DEFAULT_PORT
from agents.speaker.links import LinkOptions

# linux/in.h and linux/tcp.h; Python 3.11 has no names for them.
_IP_MINTTL = 21
_TCP_MD5SIG = 14
_TCP_MD5SIG_MAXKEYLEN = 80


def real_port(base: int, port: int) -> int:
    """The port on this computer that stands for ``port``, where ``base`` stands for 179; after the last comes the first."""
    return (base + port - DEFAULT_PORT - 1) % 65535 + 1


def can_sign() -> bool:
    """Whether the kernel has TCP MD5 signatures."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        try:
            set_key(probe, "127.0.0.1", "probe")
        except OSError:
            return False
    return True


def set_key(sock: socket.socket, host: str, password: str) -> None:
    """What is exchanged with ``host`` is signed; with an empty password no more. Raises OSError."""
    key = password.encode()
    there = struct.pack("=HH4s120x", socket.AF_INET, 0, socket.inet_aton(host))
    signature = struct.pack(f"=BBHi{_TCP_MD5SIG_MAXKEYLEN}s", 0, 0, len(key), 0, key)
    sock.setsockopt(socket.IPPROTO_TCP, _TCP_MD5SIG, there + signature)  # struct tcp_md5sig


def before_handshake(sock: socket.socket, options: LinkOptions, host: str) -> None:
    """What a dial to ``host`` needs from its first packet on. Raises OSError."""
    if options.ttl is not None:
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, options.ttl)
    if options.password is not None:
        set_key(sock, host, options.password)


def after_handshake(sock: socket.socket, options: LinkOptions) -> None:
    """What a connection needs from then on; its key it has. Raises OSError."""
    if options.ttl is not None:
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, options.ttl)
    if options.min_ttl:
        sock.setsockopt(socket.IPPROTO_IP, _IP_MINTTL, options.min_ttl)


def lacks(options: LinkOptions, *, one_address: bool, signs: bool) -> str:
    """Why connections like this cannot be had on this computer; "" when they can."""
    if options.password is not None:
        if one_address:
            return (
                "TCP MD5 signatures need a loopback address for each node, and this system has only 127.0.0.1"
            )
        if not signs:
            return "this kernel has no TCP MD5 signatures (RFC 2385)"
        if len(options.password.encode()) > _TCP_MD5SIG_MAXKEYLEN:
            return (
                f"the password is longer than the {_TCP_MD5SIG_MAXKEYLEN} octets that TCP MD5 signatures take"
            )
    if options.min_ttl and sys.platform != "linux":
        return "this kernel cannot ask for a TTL (RFC 5082)"
    return ""
