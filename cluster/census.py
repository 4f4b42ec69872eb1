"""What a process holds: tasks, objects, descriptors. Two counts of a cluster at rest, with much in between, show a leak.

Memory as the system counts it (``cluster.memory``) also has what the allocator keeps for later; objects do not.
"""

from __future__ import annotations

import gc
import os
from pathlib import Path

import attrs
import trio

DESCRIPTORS = Path("/proc/self/fd")


@attrs.frozen
class Census:
    """``objects``: those that the collector follows and that nothing but a reference keeps, without the frozen ones."""

    tasks: int
    objects: int
    descriptors: int

    def __add__(self, other: Census) -> Census:
        return Census(
            self.tasks + other.tasks, self.objects + other.objects, self.descriptors + other.descriptors
        )

    def to_wire(self) -> list[int]:
        return [self.tasks, self.objects, self.descriptors]


def census() -> Census:
    """Of this process, inside trio.run. Collects garbage first."""
    gc.collect()
    return Census(
        trio.lowlevel.current_statistics().tasks_living,
        len(gc.get_objects()),
        len(os.listdir(DESCRIPTORS)) if DESCRIPTORS.is_dir() else 0,
    )
