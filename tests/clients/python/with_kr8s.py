"""Checks with the package kr8s: objects of any kind, conditions, watches, commands, a forwarded port."""

from __future__ import annotations

import urllib.request

import kr8s
from kr8s.objects import ConfigMap, CustomResourceDefinition, Node, Pod, new_class
from samples import NAMESPACE, boat, config_map, definition, run, web

GROUP = "kr8s.example.com"


def typed() -> None:
    """Objects from creation to deletion, patches, labels, lists by selector, and what is refused."""
    api = kr8s.api(namespace=NAMESPACE)
    assert api.version()["major"] == "1"
    assert "configmaps" in [item["name"] for item in api.api_resources()]
    made = ConfigMap(config_map("a", k="1"))
    made.create()
    try:
        ConfigMap(config_map("a")).create()
    except kr8s.ServerError as error:
        assert error.response.status_code == 409, error
    else:
        raise AssertionError("a second object of one name was accepted")
    made.patch({"data": {"k": "2"}})
    made.patch([{"op": "add", "path": "/data/j", "value": "x"}], type="json")
    made.label(of="kr8s")
    made.annotate(note="x")
    assert dict(ConfigMap.get("a", namespace=NAMESPACE).data) == {"k": "2", "j": "x"}
    listed = kr8s.get("configmaps", namespace=NAMESPACE, label_selector={"of": "kr8s"})
    assert [item.name for item in listed] == ["a"]
    made.delete()
    assert not made.exists()
    node = next(iter(Node.list()))
    node.cordon()
    node.refresh()
    assert node.unschedulable
    node.uncordon()


def pods() -> None:
    """A pod to Ready, its logs, a command, a forwarded port, until it is gone."""
    pod = Pod(web())
    pod.create()
    pod.wait("condition=Ready", timeout=30)
    assert list(pod.logs()) == ["started"]
    found = pod.exec(["sh", "-c", "echo words; echo bad >&2; exit 3"], check=False)
    assert (found.stdout, found.stderr, found.returncode) == (b"words\n", b"bad\n", 3), found
    with pod.portforward(remote_port=8080, local_port=None) as port:
        for _ in range(2):
            assert urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=30).read() == b"hello\n"
    pod.delete()
    pod.wait("delete", timeout=30)


def untyped() -> None:
    """A kind that it defines."""
    kind = CustomResourceDefinition(definition(GROUP))
    kind.create()
    kind.wait("condition=Established", timeout=30)
    boats = new_class(kind="Boat", version=f"{GROUP}/v1", namespaced=True)
    made = boats(boat(GROUP))
    made.create()
    made.patch({"spec": {"oars": 9}})
    made.patch({"status": {"sails": 2}}, subresource="status")
    assert (made.spec.oars, made.status.sails) == (9, 2)
    for event, found in kr8s.watch(f"boats.{GROUP}", namespace=NAMESPACE):
        assert (event, found.name) == ("ADDED", "pinnace")
        break
    made.delete()
    kind.delete()


if __name__ == "__main__":
    run(typed, pods, untyped)
