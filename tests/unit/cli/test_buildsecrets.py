"""--secret of `kctl image build`, as docker build takes it."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli import buildsecrets
from pinnace.errors import BadRequest


def test_files_and_variables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By src, source, env and type; without any, the variable or file that is called as the secret."""
    (tmp_path / "f").write_bytes(b"\xff file")
    monkeypatch.setenv("VARIABLE", "value")
    monkeypatch.setenv("named", "by name")
    monkeypatch.chdir(tmp_path)
    found: dict[str, bytes] = {}
    words = [
        f"id=a,src={tmp_path}/f", "source=f,id=b,type=file", "id=c,env=VARIABLE", "id=VARIABLE,type=env", "type=env,id=d,src=VARIABLE",
        "id=named", "id=f", 'id=e,"src=f"',
    ]  # fmt: skip
    assert buildsecrets.read(words, found) == ""
    assert found == {
        "a": b"\xff file", "b": b"\xff file", "c": b"value", "VARIABLE": b"value", "d": b"value", "named": b"by name", "f": b"\xff file",
        "e": b"\xff file",
    }  # fmt: skip


def test_a_plain_name_is_the_pull_secret() -> None:
    """As `kctl image pull` has it; one only."""
    assert buildsecrets.read(["registry"], {}) == "registry"
    with pytest.raises(BadRequest, match="is registry already"):
        buildsecrets.read(["registry", "other"], {})


@pytest.mark.parametrize(
    ("word", "words"),
    [("src=f", "id=ID is missing"), ("id=a,src=/nonexistent/f", "No such file"), ("id=a,env=NOT_SET_ANYWHERE", "is not set"), ("id=a,x=y", "unexpected 'x=y'"),
     ("id=a,type=ssh", "unsupported type"), ('id=a,"src=f', "--secret"), ("id=a,src", "unexpected 'src'"), ("id=a,src=/dev/zero", "larger than 500 KiB")],
)  # fmt: skip
def test_bad_secrets(word: str, words: str) -> None:
    """Each error shows the option."""
    with pytest.raises(BadRequest) as caught:
        buildsecrets.read([word], {})
    assert words in caught.value.message
