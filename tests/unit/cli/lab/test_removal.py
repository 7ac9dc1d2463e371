"""What is left of a lab."""

from __future__ import annotations

from cli.lab.layout import Lab
from cli.lab.removal import mounts

TEXT = """tmpfs /run/pinnace/labs/a tmpfs rw 0 0
nsfs /run/pinnace/labs/a/ns/node-1.net nsfs rw 0 0
tmpfs /run/pinnace/labs/a1 tmpfs rw 0 0
nsfs /run/pinnace/labs/a1/ns/node-1.net nsfs rw 0 0
/dev/loop0 /var/lib/pinnace/labs/a/nodes/node-1 ext4 rw 0 0
overlay /merged overlay rw,lowerdir=/var/lib/pinnace/labs/a/nodes/node-1/images 0 0
overlay /other overlay rw,lowerdir=/var/lib/pinnace/labs/a1/nodes/node-1/images 0 0
"""


def test_mounts_of_a_lab_whose_name_begins_another_ones() -> None:
    """Only its own are left of it, wherever its directory is named."""
    assert mounts(Lab("a", {"node-1": 1}), TEXT) == [
        "/run/pinnace/labs/a", "/run/pinnace/labs/a/ns/node-1.net", "/var/lib/pinnace/labs/a/nodes/node-1", "/merged",
    ]  # fmt: skip
