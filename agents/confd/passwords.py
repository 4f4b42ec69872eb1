"""BGP passwords, which stand in Secrets.

Owns ``Passwords``. A ``secretKeyRef`` names no namespace: Calico reads Secrets of the one that calico-node runs in. Here
that is NAMESPACE of the environment; without it calico-system, where the operator installs Calico, and then
kube-system, where its manifests do.

A Secret or key that does not exist: Calico logs it and runs the session without a password, so that it comes up
only with a neighbour that has none either. It is the same here, and said.

Follows confd/pkg/backends/calico/secret_watcher.go and client.go: getPassword.
"""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from protocol.v3.bgp import BGPPassword
from protocol.v3.core import Secret
from protocol.v3.metadata import Key, Resource

_NAMESPACES = ("calico-system", "kube-system")


@attrs.frozen
class Passwords:
    secrets: Mapping[Key, Resource] = attrs.field(repr=False)
    namespace: str | None  # NAMESPACE

    def read(self, password: BGPPassword | None, whose: str) -> tuple[str | None, tuple[str, ...]]:
        """The password, and what there is to say about it. ``whose`` is "BGPPeer/x"."""
        reference = None if password is None else password.secret_key_ref
        if reference is None:
            return None, ()
        namespaces = (self.namespace,) if self.namespace else _NAMESPACES
        for namespace in namespaces:
            secret = self.secrets.get((Secret.kind, namespace, reference.name))
            if isinstance(secret, Secret):
                value = secret.value(reference.key)
                where = f"Secret {namespace}/{reference.name}"
                if value:
                    return value, ()
                return None, (
                    f"{whose}: {where} has nothing under {reference.key!r}: sessions have no password",
                )
        where = " or ".join(namespaces)
        return None, (
            f"{whose}: Secret {reference.name!r} does not exist in {where}: sessions have no password",
        )
