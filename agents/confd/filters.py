"""BGPFilters as the sessions of one address family have them.

Owns ``Filters``: what there is, and the filters of a BGPPeer in the order of its list. A BGPFilter without rules for a
direction has no function in BIRD and is not called. One that does not exist is skipped, and said. Those that are for
every session of the cluster (``bgp.EVERY_SESSION``, which Calico does not have) come first, by name, and the mesh has them
too.

Follows confd/pkg/backends/calico/bgp_processor.go: buildImportFilter, buildExportFilter.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import attrs

from agents.speaker.config import Filter
from protocol.prefix import IPV4
from protocol.v3.bgp import BGPFilter


@attrs.frozen
class Directions:
    """One BGPFilter's; None where it has no rules."""

    imports: Filter | None
    exports: Filter | None
    every_session: bool = False


@attrs.frozen
class Filters:
    by_name: Mapping[str, Directions] = attrs.field(factory=dict)
    all: tuple[Filter, ...] = attrs.field(init=False)  # in the order of bird.cfg

    every_session: tuple[str, ...] = attrs.field(init=False)

    @every_session.default
    def _sorted_names(self) -> tuple[str, ...]:
        return tuple(name for name in sorted(self.by_name) if self.by_name[name].every_session)

    @all.default
    def _in_order(self) -> tuple[Filter, ...]:
        directions = (self.by_name[name] for name in sorted(self.by_name))
        return tuple(each for both in directions for each in (both.imports, both.exports) if each is not None)

    def named(self, names: Iterable[str]) -> tuple[tuple[Filter, ...], tuple[Filter, ...], list[str]]:
        """Those for import, those for export, both with the ones for every session, and the names of what does not exist."""
        imports, exports, missing = [], [], []
        for name in dict.fromkeys((*self.every_session, *names)):
            directions = self.by_name.get(name)
            if directions is None:
                missing.append(name)
                continue
            if directions.imports is not None:
                imports.append(directions.imports)
            if directions.exports is not None:
                exports.append(directions.exports)
        return tuple(imports), tuple(exports), missing


def read_filter(resource: BGPFilter, family: int) -> Directions:
    name, spec = resource.metadata.name, resource.spec
    imports: Filter | None = None
    exports: Filter | None = None
    if family == IPV4:
        if spec.import_v4:
            imports = Filter(name=name, direction="import", family=family, rules=spec.import_v4)
        if spec.export_v4:
            exports = Filter(name=name, direction="export", family=family, rules=spec.export_v4)
    else:
        if spec.import_v6:
            imports = Filter(name=name, direction="import", family=family, rules=spec.import_v6)
        if spec.export_v6:
            exports = Filter(name=name, direction="export", family=family, rules=spec.export_v6)
    return Directions(imports, exports, resource.for_every_session)
