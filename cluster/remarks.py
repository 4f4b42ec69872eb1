"""What is right, and surely not meant: warnings about a world and the manifests that it was made of.

Shared by whoever starts one: ``up``, rehearsals. The lines say where the resource stands; one that was generated stands nowhere.
"""

from __future__ import annotations

from collections.abc import Iterator

from cluster.spec import World
from protocol.v3.lint import lint
from protocol.v3.loader import Loaded
from protocol.v3.rules import format_path


def remarks(loaded: Loaded, world: World) -> Iterator[str]:
    """What the loader has to say, and what is surely wrong in the whole world."""
    yield from map(str, loaded.warnings)
    places = dict(zip((resource.key for resource in loaded.resources), loaded.places, strict=True))
    for remark in lint(world.resources):
        resource = world.resources[remark.index]
        place = places.get(resource.key)
        subject = f"{resource.kind}/{resource.metadata.name}"
        parts = ("" if place is None else str(place), subject, format_path(remark.path), remark.message)
        yield ": ".join(filter(None, parts))
