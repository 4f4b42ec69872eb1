"""What IPAM refuses. Each message is what a person or a log reads; errors of the datastore itself pass through."""

from __future__ import annotations


class IPAMError(Exception):
    """An assignment or a release that cannot be done as asked. Nothing was changed unless the call says so."""


class NoPoolError(IPAMError):
    """No pool of the family may serve this request."""


class AddressInUseError(IPAMError):
    """A fixed address that somebody has, or that is still cooling down."""


class BadReleaseError(IPAMError):
    """A release that names another handle or another allocation than the one that holds the address."""
