"""`kctl doctor` on a store that is damaged: it names the objects, and its way out works."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path

from tests.support.planes import Plane


def kctl(plane: Plane, *arguments: str, stdin: str = "") -> str:
    words = [sys.executable, "-P", "-m", "cli.main", *arguments, "--config", str(plane.folder / "admin.yaml")]
    return subprocess.run(words, input=stdin, capture_output=True, text=True, timeout=60, check=False).stdout


def store_of(plane: Plane) -> str:
    """The doctor's finding on the store, with its fix."""
    _, _, rest = kctl(plane, "doctor").partition(" store: ")
    return rest.partition("\n\n")[0]


def test_the_doctor_names_damaged_objects_and_the_way_out(tmp_path: Path) -> None:
    """A row of the file that does not match its checksum, found at the next start; then its manifest is applied again."""
    plane = Plane(tmp_path / "state")
    manifest = '{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "page"}, "data": {"a": "b"}}'
    try:
        plane.start()
        assert store_of(plane) == "every stored object can be read"
        kctl(plane, "apply", "-f", "-", stdin=manifest)
        plane.stop()
        connection = sqlite3.connect(plane.folder / "store.db")
        with connection:
            connection.execute("UPDATE items SET value = X'ff' WHERE key = '/registry/configmaps/default/page'")
        connection.close()
        plane.start()
        text, fix = store_of(plane).splitlines()
        assert text == "1 stored object is damaged and not served: /registry/configmaps/default/page (quarantined)"
        assert "kctl apply -f MANIFEST" in fix
        assert f"sqlite3 {plane.folder}/store.db 'DELETE FROM quarantine'" in fix
        kctl(plane, "apply", "-f", "-", stdin=manifest)
        assert store_of(plane) == "every stored object can be read"
    finally:
        plane.stop()
