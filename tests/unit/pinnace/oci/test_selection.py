"""Which image of an index this machine gets, whatever else stands in it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pinnace.oci import BadImage, selection
from pinnace.oci.manifest import ARCHITECTURE
from tests.support.archives import digest

OCI = "application/vnd.oci.image"
DOCKER = "application/vnd.docker.distribution"
OTHER = "s390x"


class Store:
    """Documents by digest."""

    def __init__(self) -> None:
        self.blobs: dict[str, bytes] = {}
        self.read: list[str] = []

    def put(self, value: Any, kind: str = "", **more: Any) -> dict[str, Any]:
        """A document's descriptor."""
        data = json.dumps(value).encode()
        self.blobs[digest(data)] = data
        return {"mediaType": kind, "digest": digest(data), "size": len(data), **more}

    def image(self, tag: str, architecture: str = ARCHITECTURE, system: str = "linux", **more: Any) -> dict[str, Any]:
        """A manifest's descriptor, its config naming the platform."""
        config = {"config": {"User": tag}, "rootfs": {"diff_ids": ["sha256:" + "a" * 64]}}
        config |= {"os": system, "architecture": architecture} if architecture else {}
        layer = {"digest": "sha256:" + "b" * 64, "size": 1}
        value = {"schemaVersion": 2, "config": self.put(config, f"{OCI}.config.v1+json"), "layers": [layer]}
        return self.put(value, f"{OCI}.manifest.v1+json", **more)

    def index(self, *entries: dict[str, Any], **more: Any) -> dict[str, Any]:
        return self.put({"schemaVersion": 2, "manifests": list(entries)}, f"{OCI}.index.v1+json", **more)

    def select(self, top: dict[str, Any]) -> str:
        """The tag of the image that is meant."""
        selecting = selection.select(self.blobs[top["digest"]], "app:1")
        answer: bytes | None = None
        try:
            while True:
                wanted = selecting.send(answer)
                answer = self.blobs.get(wanted.descriptor.digest)
                self.read.append(wanted.descriptor.digest)
        except StopIteration as ended:
            return str(ended.value.config.run["User"])


@pytest.fixture
def store() -> Store:
    return Store()


def on(architecture: str, system: str = "linux", variant: str = "", **more: Any) -> dict[str, Any]:
    platform = {"os": system, "architecture": architecture, **({"variant": variant} if variant else {})}
    return {"platform": platform | more}


HERE = on(ARCHITECTURE)
VARIANT = {"amd64": "v1", "arm64": "v8"}[ARCHITECTURE]
NEWER = {"amd64": "v3", "arm64": "v9"}[ARCHITECTURE]
ATTESTATION = {"vnd.docker.reference.type": "attestation-manifest", "vnd.docker.reference.digest": "sha256:" + "c" * 64}


def test_the_platform_decides(store: Store) -> None:
    """Other architectures, other systems, and attestations are passed over."""
    top = store.index(
        store.image("other", OTHER, **on(OTHER)), store.image("windows", system="windows", **on(ARCHITECTURE, "windows")),
        store.image("attested", "unknown", "unknown", **on("unknown", "unknown"), annotations=ATTESTATION),
        store.image("mine", **HERE), store.image("second", **HERE),
    )  # fmt: skip
    assert store.select(top) == "mine"
    assert len(store.read) == 2


def test_variants_that_run_everywhere_are_taken(store: Store) -> None:
    """And not those for newer processors, unless nothing is left, which is said."""
    top = store.index(
        store.image("newer", **on(ARCHITECTURE, variant=NEWER)), store.image("base", **on(ARCHITECTURE, variant=VARIANT))
    )
    assert store.select(top) == "base"
    with pytest.raises(BadImage, match=rf"no manifest for linux/{ARCHITECTURE} \(it has: linux/{ARCHITECTURE}/{NEWER}\)"):
        store.select(store.index(store.image("newer", **on(ARCHITECTURE, variant=NEWER))))


def test_other_names_of_an_architecture_are_understood(store: Store) -> None:
    """As Go's platforms package normalises them."""
    name = {"amd64": "x86_64", "arm64": "aarch64"}[ARCHITECTURE]
    assert store.select(store.index(store.image("mine", **on(name, "Linux")))) == "mine"


def test_entries_without_a_platform_are_told_by_their_configs(store: Store) -> None:
    """After those that name the platform, and past what is no image at all."""
    chart = store.put(
        {"config": {"mediaType": "application/vnd.cncf.helm.config.v1+json", "digest": digest(b""), "size": 0}, "layers": []}
    )
    gone = {"mediaType": f"{OCI}.manifest.v1+json", "digest": digest(b"gone"), "size": 5}
    top = store.index(gone, chart, store.image("other", OTHER), store.image("windows", system="windows"), store.image("mine"))
    assert store.select(top) == "mine"
    assert store.select(store.index(store.image("open"), store.image("named", **HERE))) == "named"
    with pytest.raises(BadImage, match=f"it has: linux/{OTHER}"):
        store.select(store.index(store.image("other", OTHER)))
    assert store.select(store.index(store.image("says nothing", ""))) == "says nothing"


def test_indexes_in_indexes_are_searched(store: Store) -> None:
    """Three of them; also one for this platform, and one that has nothing for it before one that has."""
    inner = store.index(store.image("other", OTHER, **on(OTHER)), store.image("mine", **HERE))
    assert store.select(store.index(store.index(store.index(inner)))) == "mine"
    assert store.select(store.index({**inner, **HERE})) == "mine"
    assert store.select(store.index(store.index(store.image("other", OTHER, **on(OTHER))), inner)) == "mine"


def test_a_single_manifest_is_taken_as_it_is(store: Store) -> None:
    """Whatever its config says of the architecture: there may be an emulator. Not for another system."""
    assert store.select(store.image("other", OTHER)) == "other"
    assert store.select(store.image("mine", system="Linux")) == "mine"
    with pytest.raises(BadImage, match="the config of app:1 is for windows, and this node runs linux"):
        store.select(store.image("windows", system="windows"))


def test_legacy_types_are_taken(store: Store) -> None:
    """Docker's list and manifest, and configs of the types that old registries gave them."""
    for kind in (
        "application/octet-stream",
        "application/json",
        "text/html",
        "application/vnd.docker.container.image.v1+json",
        "",
    ):
        config = store.put({"config": {"User": kind}, "rootfs": {"diff_ids": ["sha256:" + "a" * 64]}}, kind)
        layer = {"mediaType": "application/vnd.docker.image.rootfs.diff.tar.gzip", "digest": "sha256:" + "b" * 64, "size": 1}
        value = {"schemaVersion": 2, "mediaType": f"{DOCKER}.manifest.v2+json", "config": config, "layers": [layer]}
        manifest = store.put(value, f"{DOCKER}.manifest.v2+json", **HERE)
        top = store.put({"schemaVersion": 2, "mediaType": f"{DOCKER}.manifest.list.v2+json", "manifests": [manifest]})
        assert store.select(top) == kind


def ambiguous(store: Store) -> dict[str, dict[str, Any]]:
    image = store.image("mine", **HERE)
    value = json.loads(store.blobs[image["digest"]])
    return {
        "index and layers": store.put({**value, "manifests": [image]}),
        "index and config": store.put({"manifests": [image], "config": value["config"]}),
        "an index that says it is a manifest": store.put({"mediaType": f"{OCI}.manifest.v1+json", "manifests": [image]}),
        "a manifest that says it is an index": store.put({**value, "mediaType": f"{OCI}.index.v1+json"}),
        "a Docker manifest that says it is a list": store.put({**value, "mediaType": f"{DOCKER}.manifest.list.v2+json"}),
    }


@pytest.mark.parametrize("name", ambiguous(Store()))
def test_what_is_an_index_to_one_and_a_manifest_to_another_is_refused(store: Store, name: str) -> None:
    """CVE-2021-41190."""
    with pytest.raises(BadImage, match=r"the manifest of app:1 (is both an index and a manifest|says that it is an index)"):
        store.select(ambiguous(store)[name])


def test_searches_end(store: Store) -> None:
    """Indexes without end, and indexes of nothing but what must be looked into."""
    deep = store.image("mine", **HERE)
    for _ in range(7):
        deep = store.index(deep)
    with pytest.raises(BadImage, match="nested more than 5 deep"):
        store.select(deep)
    wide = [store.image(str(number), OTHER) for number in range(100)]
    with pytest.raises(BadImage, match="more than 64 documents"):
        store.select(store.index(*wide))
    with pytest.raises(BadImage, match="lists 201 manifests; at most 200"):
        store.select(store.index(*[store.image("x")] * 201))
    again = store.index(store.image("other", OTHER))
    with pytest.raises(BadImage, match="no manifest for"):
        store.select(store.index(*[again] * 150))


def test_what_must_be_there_and_is_not_is_named(store: Store) -> None:
    """The platform's manifest, and its config."""
    image = store.image("mine", **HERE)
    top = store.index(image)
    config = json.loads(store.blobs[image["digest"]])["config"]["digest"]
    del store.blobs[config]
    with pytest.raises(BadImage, match=f"{config} of app:1 is missing"):
        store.select(top)
    del store.blobs[image["digest"]]
    with pytest.raises(BadImage, match=f"{image['digest']} of app:1 is missing"):
        store.select(top)


def test_schema_one_is_refused_by_name(store: Store) -> None:
    """On top, and in an index."""
    old = store.put(
        {"schemaVersion": 1, "name": "x", "tag": "1", "fsLayers": [], "history": []}, f"{DOCKER}.manifest.v1+prettyjws"
    )
    with pytest.raises(BadImage, match="the manifest of app:1 is a Docker schema 1 manifest, which is not supported"):
        store.select(old)
    with pytest.raises(BadImage, match="Docker schema 1 manifest"):
        store.select(store.index({**old, **HERE}))


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-1, 1 << 65)
    | st.text(max_size=5)
    | st.sampled_from(["linux", ARCHITECTURE, "unknown"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["os", "architecture", "variant", "digest", "size", "mediaType", "platform", "layers", "config"]),
            inner,
        )
    ),
    max_leaves=8,
)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.dictionaries(st.sampled_from(["platform", "annotations", "mediaType", "size", "urls", "data"]), JSON), max_size=4
    ),
    st.data(),
)
def test_an_index_of_any_shape_yields_an_image_or_one_error(extras: list[dict[str, Any]], data: st.DataObject) -> None:
    """Entries are good images with members of any kind."""
    store = Store()
    entries = [{**store.image(str(number)), **extra} for number, extra in enumerate(extras)]
    try:
        assert store.select(store.index(*entries)) in map(str, range(len(extras)))
    except BadImage:
        assert store.read is not None
