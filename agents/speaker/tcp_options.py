"""What a kernel is asked for beside the connection itself: ports, TCP MD5 signatures, TTLs.

Owns the arithmetic of ports and the socket options of ``LinkOptions``, set as BIRD 1.6 sets them: the listener sends a TTL of
255 and takes anything, a connection has what its neighbour's options say, an accepted one got its key by the handshake.

Follows RFC 2385 (signatures), RFC 5082 (TTL), tcp(7) and ip(7) of Linux. Left out: TCP-AO, of which BIRD 1.6 knows nothing.
"""

from __future__ import annotations

import os
import socket
import struct
import sys

from agents.speaker.config import DEFAULT_PORT
from agents.speaker.links import LinkOptions

# linux/in.h and linux/tcp.h; Python 3.11 has no names for them.
_IP_MINTTL = 21
_TCP_MD5SIG = 14
_TCP_MD5SIG_MAXKEYLEN = 80

LISTENER_TTL = 255
_SYSTEM_TTL = -1


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


def set_options(sock: socket.socket, options: LinkOptions, host: str, *, accepted: bool) -> str:
    """Give a connection with ``host`` what the options say. Returns why that cannot be."""
    try:
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, options.ttl or _SYSTEM_TTL)
        if options.min_ttl:
            sock.setsockopt(socket.IPPROTO_IP, _IP_MINTTL, options.min_ttl)
        if options.password is not None and not accepted:
            set_key(sock, host, options.password)
    except OSError as error:
        return os.strerror(error.errno or 0)
    return ""


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
