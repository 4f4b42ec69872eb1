"""A lab Router as a plain BIRD 1.6: it originates what it announces, and passes on whatever it learns.

Owns ``router_files``, which for a Router is what ``agents.confd.bird.files`` is for a Calico node.
"""

from __future__ import annotations

from collections.abc import Iterator

from agents.speaker.config import NextHop, PeerConfig, SpeakerConfig
from protocol.prefix import IPV4, format_address, format_prefix


def router_files(config: SpeakerConfig) -> dict[str, str]:
    return {"bird.cfg" if config.family == IPV4 else "bird6.cfg": "\n".join(_lines(config)) + "\n"}


def _lines(config: SpeakerConfig) -> Iterator[str]:
    timers = config.timers
    yield f"router id {format_address(config.router_id)};"
    if config.listen_port is not None:
        yield f"listen bgp port {config.listen_port};"
    yield "protocol kernel { scan time 2; import none; export all; merge paths on; }"
    yield "protocol device { scan time 2; }"
    yield 'protocol direct { interface "*"; }'
    yield "protocol static {"
    yield from (f'  route {format_prefix(each.prefix)} via "{each.device}";' for each in config.statics)
    yield "}"
    yield "template bgp plain {"
    yield f"  local as {config.local_as}; multihop; gateway recursive; graceful restart;"
    if config.add_path:
        yield "  add paths on;"
    yield f"  connect delay time {timers.connect_delay:g}; connect retry time {timers.connect_retry:g};"
    yield f"  error wait time {timers.error_wait_min:g},{timers.error_wait_max:g};"
    yield "  import all; export filter { if source = RTS_DEVICE then reject; accept; };"
    yield "}"
    for peer in config.peers:
        yield f"protocol bgp {peer.name} from plain {{ {' '.join(_peer(peer))} }}"


def _peer(peer: PeerConfig) -> Iterator[str]:
    port = "" if peer.port is None else f" port {peer.port}"
    yield f"neighbor {format_address(peer.address)}{port} as {peer.peer_as};"
    yield f"source address {format_address(peer.local_address)};"
    if peer.passive:
        yield "passive on;"
    if peer.rr_client:
        yield "rr client;"
        if peer.cluster_id is not None:
            yield f"rr cluster id {format_address(peer.cluster_id)};"
    if peer.password is not None:
        yield f'password "{peer.password}";'
    if peer.next_hop is NextHop.SELF:
        yield "next hop self;"
