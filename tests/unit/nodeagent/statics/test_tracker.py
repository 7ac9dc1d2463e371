"""Static pods and what the API shows of them."""

from __future__ import annotations

from typing import Any

from nodeagent.statics.tracker import MAX_HELD, MirrorPodTracker
from pinnace.podresources import MIRROR
from tests.support.objects import pod


def static(uid: str = "u1") -> Any:
    return pod("web-n1", meta={"uid": uid})


def mirror(uid: str = "u1", **meta: Any) -> Any:
    return pod("web-n1", meta={"uid": "other", "annotations": {MIRROR: uid}, **meta}, nodeName="n1")


def test_nothing_wanted_and_nothing_shown_agree() -> None:
    """A node without static pods has nothing to say."""
    assert MirrorPodTracker().agree()


def test_a_mirror_of_each_pod_and_no_other() -> None:
    """Missing, of another version, on its way out, or of nothing: they disagree."""
    statics = MirrorPodTracker()
    statics.want([static()])
    assert not statics.agree()
    assert statics.mirror("Pod/default/web-n1", mirror("old")) == "old"
    assert not statics.agree()
    statics.mirror("Pod/default/web-n1", mirror())
    assert statics.agree()
    statics.mirror("Pod/default/web-n1", mirror(deletionTimestamp="2030-01-01T00:00:00Z"))
    assert not statics.agree()
    statics.mirror("Pod/default/web-n1", mirror())
    statics.mirror("Pod/default/second", mirror())
    assert not statics.agree()
    statics.mirror("Pod/default/second", None)
    assert statics.agree()
    statics.want([])
    assert not statics.agree()


def test_an_ordinary_pod_is_no_mirror() -> None:
    """Nor is what is gone."""
    statics = MirrorPodTracker()
    assert statics.mirror("Pod/default/web", pod("web")) == ""
    assert statics.mirror("Pod/default/web", None) == ""


def test_events_wait_for_the_mirror() -> None:
    """In their order, the last ones if there are many; those of other pods do not wait."""
    statics = MirrorPodTracker()
    heard: list[str] = []
    statics.sink = lambda pod, reason, message, warning: heard.append(message)
    statics.want([static()])
    statics.event(pod("other", meta={"uid": "u2"}), "Started", "other", False)
    for number in range(MAX_HELD + 5):
        statics.event(static(), "Started", str(number), False)
    assert heard == ["other"]
    statics.mirror("Pod/default/web-n1", mirror())
    assert heard[1:] == [str(number) for number in range(5, MAX_HELD + 5)]
    statics.event(static(), "Killing", "now", False)
    assert heard[-1] == "now"
