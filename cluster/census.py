"""What a process holds: tasks, objects, descriptors, memory. Two counts of a cluster at rest, with much in between, show a leak.

Memory, as the system counts it, also has what the allocator keeps for later; objects do not.
"""

from __future__ import annotations

import gc
import os
from pathlib import Path

import attrs
import trio

from cluster.memory import pss_bytes

DESCRIPTORS = Path("/proc/self/fd")


@attrs.frozen
class Census:
    """``objects``: those that the collector follows. ``memory``: bytes; what is shared counts in part."""

    tasks: int
    objects: int
    descriptors: int
    memory: int

    def __add__(self, other: Census) -> Census:
        return Census(
            self.tasks + other.tasks,
            self.objects + other.objects,
            self.descriptors + other.descriptors,
            self.memory + other.memory,
        )

    def to_wire(self) -> list[int]:
        return [self.tasks, self.objects, self.descriptors, self.memory]


def census() -> Census:
    """Of this process, inside trio.run. Garbage is collected first, and what is left is frozen as after the start."""
    gc.unfreeze()
    gc.collect()
    objects = len(gc.get_objects())
    gc.freeze()
    return Census(
        trio.lowlevel.current_statistics().tasks_living,
        objects,
        len(os.listdir(DESCRIPTORS)) if DESCRIPTORS.is_dir() else 0,
        pss_bytes([os.getpid()]) or 0,
    )
