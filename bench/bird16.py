"""Where BIRD 1.6 is: the line of the daemon that Calico runs, two programs for two families.

Debian has it as the package ``bird``, which cannot be installed beside ``bird2``; ``.ci/run`` unpacks it to PLACE. Looked
for, in this order: the directory that TORTIE_BIRD16 names, the PATH (and where only root's leads), PLACE.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping

from protocol.prefix import IPV4, IPV6

PLACE = "/opt/bird1.6"
INSTALL = (
    "BIRD 1.6 is not there; on Debian and Ubuntu, beside bird2: "
    f"cd $(mktemp -d) && apt-get download bird && dpkg -x bird_*.deb {PLACE}"
)
_SBIN = "/usr/sbin:/usr/local/sbin"


def find(environ: Mapping[str, str] = os.environ) -> dict[int, str] | None:
    """The program of each family, or None."""
    for path in (
        environ.get("TORTIE_BIRD16", ""),
        environ.get("PATH", ""),
        _SBIN,
        f"{PLACE}/usr/sbin",
    ):
        programs = [path and shutil.which(name, path=path) for name in ("bird", "bird6")]
        if all(program and _is_16(program) for program in programs):
            return dict(zip((IPV4, IPV6), map(str, programs), strict=True))
    return None


def _is_16(program: str) -> bool:
    try:
        answer = subprocess.run(
            [program, "--version"], capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return "BIRD version 1.6." in answer.stderr + answer.stdout
