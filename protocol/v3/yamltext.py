"""Documents to YAML text, laid out as Calico's and Kubernetes' tools print it: block style, keys sorted.

Text that YAML would take for something else is quoted, so that ``yamltree`` reads the same document again.
"""

from __future__ import annotations

import re
from typing import Any

import yaml


def dump(document: Any, *, in_order: bool = False) -> str:
    """``document`` is made of plain JSON values. ``in_order``: keys as they come, and not sorted."""
    text: str = yaml.dump(
        document, Dumper=_Dumper, allow_unicode=True, width=_NEVER_FOLD, sort_keys=not in_order
    )
    return text


_NEVER_FOLD = 1 << 30
_BREAKS = re.compile("[\x85\u2028\u2029]")


class _Dumper(yaml.SafeDumper):
    """Escapes what YAML 1.1 takes for the end of a line: elsewhere it would be read as another one."""


def _text(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    style = '"' if _BREAKS.search(text) else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)
