"""Documents to YAML text, laid out as Calico's and Kubernetes' tools print it: block style, keys sorted.

Text that YAML would take for something else is quoted, so that ``yamltree`` reads the same document again.
"""

from __future__ import annotations

from typing import Any

import yaml


def dump(document: Any, *, in_order: bool = False) -> str:
    """``document`` is made of plain JSON values. ``in_order``: keys as they come, and not sorted."""
    text: str = yaml.safe_dump(document, allow_unicode=True, width=_NEVER_FOLD, sort_keys=not in_order)
    return text


_NEVER_FOLD = 1 << 30
