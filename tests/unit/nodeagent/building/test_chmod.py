"""--chmod: octal and symbolic modes."""

from __future__ import annotations

import stat

import pytest

from nodeagent.building import chmod
from nodeagent.building.errors import BuildError

FILE, DIRECTORY = stat.S_IFREG, stat.S_IFDIR
CHANGES = [
    ("755", FILE | 0o600, 0o755), ("0640", FILE | 0o777, 0o640), ("4755", FILE, 0o4755), ("0", FILE | 0o777, 0), ("07777", FILE, 0o7777),
    ("go-w", FILE | 0o666, 0o644), ("u=rw,g=r,o=r", FILE | 0o777, 0o644), ("a+X", FILE | 0o666, 0o666), ("a+X", FILE | 0o744, 0o755),
    ("a+X", DIRECTORY | 0o124, 0o135), ("u+rw,g+r,o-x,o+w", DIRECTORY | 0o124, 0o766), ("+x", FILE | 0o644, 0o755), ("u=rwx,go=u-w", FILE, 0o755),
    ("go=", FILE | 0o777, 0o700), ("u+s", FILE | 0o755, 0o4755), ("g+s", FILE | 0o755, 0o2755), ("+t", DIRECTORY | 0o777, 0o1777),
    ("u=rw", FILE | 0o4755, 0o655), ("o=g", FILE | 0o740, 0o744), ("=rw,+X", FILE | 0o700, 0o777),
]  # fmt: skip


@pytest.mark.parametrize(("text", "mode", "wanted"), CHANGES)
def test_modes_as_chmod_has_them(text: str, mode: int, wanted: int) -> None:
    """X counts by the mode before any change; the umask is 0."""
    assert oct(chmod.parse(text).apply(mode)) == oct(wanted)


@pytest.mark.parametrize(
    "text", ["64a", "10000", "8", "0999999", "u", "u+q", "x+u", "u+x,", ",", "-", "rwx", "u=rw go=r", "9" * 50]
)
def test_what_is_no_mode_is_refused(text: str) -> None:
    """With the option's name."""
    if text == "-":
        assert chmod.parse(text).apply(0o755) == 0o755
        return
    with pytest.raises(BuildError, match="--chmod="):
        chmod.parse(text)


def test_directories_on_the_way_get_an_octal_mode_without_its_special_bits() -> None:
    """As BuildKit makes them; a symbolic mode leaves them 0755."""
    assert [chmod.parse(text).of_parents for text in ("4700", "go-rwx")] == [0o700, 0o755]
