"""To be written by its owner."""
from __future__ import annotations


class Account:
    """To be written."""
