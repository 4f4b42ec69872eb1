"""Looking at what a stranger sent: any value that msgpack can hold.

Owns the few questions that every decoder asks. ``bool`` is no int here, and nothing is turned into something else.
"""

from __future__ import annotations

from collections.abc import Container
from typing import Any

MAX_U32 = 0xFFFFFFFF


def is_int(value: Any, low: int, high: int) -> bool:
    return type(value) is int and low <= value <= high


def a_list(value: Any) -> tuple[Any, ...]:
    """The value, when it is a list. Raises TypeError."""
    if not isinstance(value, tuple):
        raise TypeError(f"{brief(value)} is not a list")
    return value


def one_of(value: Any, allowed: Container[int]) -> Any:
    """The value, when it is a number or a truth value among those allowed. Raises ValueError."""
    if type(value) not in (int, bool) or value not in allowed:
        raise ValueError(f"{brief(value)} is out of range")
    return value


def brief(value: Any) -> str:
    """For a reason. Not the repr of just anything: lists nested 1,000 deep end in RecursionError."""
    if isinstance(value, bytes | str):
        return repr(value[:32])
    return repr(value) if isinstance(value, int | float | None) else f"a {type(value).__name__}"
