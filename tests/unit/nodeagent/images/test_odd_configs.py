"""An image's config of any text is refused when it comes, or is good for every container of it."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nodeagent.images.store import Image, ImageStore
from nodeagent.pods.spec import accounts, stopsignal
from pinnace.core.v1 import container_pb2
from pinnace.oci import BadImage, manifest
from tests.support import archives
from tests.support.archives import layer

DIGEST = "sha256:" + "a" * 64
ANY_TEXT = st.text(st.characters(codec=None, categories=None), max_size=8)
TEXTS = st.one_of(
    ANY_TEXT, st.text("0123456789:-/=\0 ²١", max_size=400), st.integers(), st.none(), st.lists(ANY_TEXT, max_size=2)
)
RUNS = st.fixed_dictionaries(
    {},
    optional={
        **dict.fromkeys(("User", "WorkingDir", "StopSignal"), TEXTS),
        **{key: st.lists(TEXTS, max_size=3) | TEXTS for key in ("Env", "Cmd", "Entrypoint", "Shell", "OnBuild")},
        **{key: st.dictionaries(ANY_TEXT, TEXTS, max_size=3) | TEXTS for key in ("Labels", "Volumes", "ExposedPorts")},
    },
)


@settings(max_examples=400, deadline=None)
@given(RUNS)
def test_a_config_of_any_text_is_refused_or_good_for_a_container(run: dict[str, Any]) -> None:
    """What is decided of it later either is, or is an error of the container's: never any other exception."""
    try:
        found = manifest.config(json.dumps({"config": run, "rootfs": {"diff_ids": [DIGEST]}}).encode(), 1, "it").run
    except BadImage:
        return
    json.dumps(dataclasses.asdict(Image("", (), found, ()))).encode()
    for item in (*(found.get("Env") or []), *(found.get("Cmd") or []), found.get("WorkingDir") or ""):
        assert b"\0" not in item.encode()
    assert 0 < stopsignal.of(container_pb2.Container(), found) < 65
    name, _, group = (found.get("User") or "").partition(":")
    if name.isdecimal():
        int(name)
    for call, text in ((accounts.user, name), (accounts.group, group or "0")):
        try:
            call(text, b"root:x:0:0::/:\n")
        except accounts.AccountError as error:
            str(error).encode()


@pytest.mark.root
async def test_a_config_that_no_container_could_have_is_not_kept(tmp_path: Path) -> None:
    """The archive is refused at its place; no pod ever gets to it."""
    store, base = ImageStore(tmp_path / "images"), layer(("a", "a"))
    config = archives.config_of(base, Env=["A=\ud800"])
    with pytest.raises(BadImage, match=r"config.json: config.Env\[0\] is not Unicode text"):
        await store.load(archives.docker(tmp_path / "a.tar", base, config=config), "")
    assert store.all() == []
    assert not list((tmp_path / "images/layers").iterdir())
