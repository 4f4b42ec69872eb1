"""Names, numbers and times as a plan says them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final

FEW: Final = 3
"""So many names are said; all of them are in the JSON."""


def counted(count: int, singular: str, plural: str = "") -> str:
    """``"1 session"``, ``"19,900 sessions"``."""
    return f"{count:,} {singular if count == 1 else plural or f'{singular}s'}"


def listed(names: Sequence[str], few: int = FEW) -> str:
    """``"a, b, c and 4 more"``; nobody is left out for the sake of "1 more"."""
    if len(names) <= few + 1:
        return ", ".join(names)
    return f"{', '.join(names[:few])} and {len(names) - few:,} more"


def seconds(time: float) -> str:
    """Three digits are enough for anybody: ``"0.5 ms"``, ``"2.03 s"``, ``"4 min 10 s"``, ``"22 h 08 min"``."""
    if 0 < time < 0.9995:
        return f"{time * 1000:.3g} ms"
    if time < 99.95:
        return f"{time:.3g} s"
    minutes, rest = divmod(round(time), 60)
    if minutes >= 120:
        return f"{minutes // 60:,} h {minutes % 60:02} min"
    return f"{minutes} min {rest:02} s"


def between(pairs: Iterable[tuple[str, str]]) -> str:
    """Who is concerned by what stands between two: ``"node-4 with all others…"``, by the few that are part of all, if
    there are such.
    """
    pairs = [*pairs]
    if len(pairs) <= FEW:
        return ", ".join(f"{one} – {other}" for one, other in pairs)
    everybody = Counter(name for pair in pairs for name in pair)
    hubs: list[str] = []
    left = pairs
    while left and len(hubs) < FEW:
        often = Counter(name for pair in left for name in pair)
        hub = min(often, key=lambda name: (-often[name], name))
        hubs.append(hub)
        left = [pair for pair in left if hub not in pair]
    if left or 2 * len(hubs) >= len(everybody):
        return f"among {counted(len(everybody), 'node')}"
    hubs.sort()
    others = sorted(name for name in everybody if name not in hubs)
    return f"{listed(hubs)} with {listed(others) if len(others) <= FEW else counted(len(others), 'other')}"
