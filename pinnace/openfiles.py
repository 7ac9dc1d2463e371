"""The limit of open files: raised at start, as Go programs do, because 1,024 is fewer than a busy control plane needs.

Containers are given limits of their own, so that nothing of this reaches them.
"""

from __future__ import annotations

import resource

# As much as Linux gives one process by default (fs.nr_open).
UNLIMITED = 1 << 20


def limit() -> int:
    """The soft limit as it is; UNLIMITED where there is none."""
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return UNLIMITED if soft == resource.RLIM_INFINITY else min(soft, UNLIMITED)


def raise_limit() -> None:
    """Raise the soft limit to the hard one. A limit that cannot be raised stays as it is."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        except (OSError, ValueError):
            pass
