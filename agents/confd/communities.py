"""Communities that go on what a node exports: BGPConfiguration's communities and prefixAdvertisements.

Owns ``prefix_communities``. A community of a prefix is a value, or the name of one in the same resource's
``communities``; a name that is not there vanishes. The values of a prefix are a set, in the order of their text: the
order in which BIRD adds them.

Follows confd/pkg/backends/calico/client.go: getPrefixAdvertisementsKVPair.
"""

from __future__ import annotations

from agents.confd.prefixes import masked
from agents.speaker.config import CommunityValue, PrefixCommunities
from protocol.prefix import family_of
from protocol.v3.bgp import BGPConfigurationSpec
from protocol.v3.fields import is_community


def prefix_communities(
    spec: BGPConfigurationSpec, family: int
) -> tuple[tuple[PrefixCommunities, ...], list[tuple[str, str]]]:
    """What is added to which prefixes, and (CIDR, name) of what is not known. Of two with one name the first counts."""
    values: dict[str, str] = {}
    for named in spec.communities:
        values.setdefault(named.name, named.value)
    rules: list[PrefixCommunities] = []
    unknown: list[tuple[str, str]] = []
    for advertised in spec.prefix_advertisements:
        if not advertised.cidr or family_of(masked(advertised.cidr)) != family:
            continue
        texts = set()
        for text in advertised.communities:
            value = text if is_community(text) else values.get(text, "")
            if value:
                texts.add(value)
            else:
                unknown.append((advertised.cidr, text))
        if texts:
            rules.append(
                PrefixCommunities(
                    cidr=masked(advertised.cidr),
                    communities=tuple(community_value(text) for text in sorted(texts)),
                )
            )
    return tuple(rules), unknown


def community_value(text: str) -> CommunityValue:
    """Of a text that ``is_community``."""
    parts = [int(part) for part in text.split(":")]
    if len(parts) == 2:
        return parts[0] << 16 | parts[1]
    return parts[0], parts[1], parts[2]
