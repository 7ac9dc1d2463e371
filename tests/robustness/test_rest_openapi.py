"""Random requests, built from the OpenAPI v3 documents that the control plane serves: each has an answer, and none is a 500."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.attackers import Attacked
from tests.support.planes import plane

WORDS = st.sampled_from(
    ["", "a", "default", "kube-system", "0", "-1", "true", "All", "9" * 19, "a=b", "%00", "%ff", "metadata.name=a", "A/B"]
)
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda below: st.lists(below, max_size=3), max_leaves=4,
)  # fmt: skip
ASKED = settings(max_examples=60, deadline=None, database=None, suppress_health_check=list(HealthCheck))


@pytest.fixture(scope="module")
def attacked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Attacked]:
    with plane(tmp_path_factory.mktemp("openapi"), "--disable-controller", "scheduler", store="memory") as found:
        yield Attacked(found)


@pytest.fixture(scope="module")
def operations(attacked: Attacked) -> list[tuple[str, str, dict[str, Any], dict[str, Any]]]:
    """Path, method, operation and the schemas of its document."""
    found = []
    for entry in attacked.ask("GET", "/openapi/v3").json["paths"].values():
        document = attacked.ask("GET", entry["serverRelativeURL"]).json
        for path, item in document["paths"].items():
            found += [
                (path, method, item[method], document["components"]["schemas"]) for method in item if method != "parameters"
            ]
    assert len(found) > 100
    return found


def sample(data: Any, schema: dict[str, Any], schemas: dict[str, Any], depth: int = 0) -> Any:
    """A value that a schema describes, or now and then any other."""
    if depth > 5 or data.draw(st.integers(0, 9)) == 0:
        return data.draw(VALUES)
    for part in schema.get("allOf", []):
        return sample(data, part, schemas, depth)
    if "$ref" in schema:
        return sample(data, schemas[schema["$ref"].rpartition("/")[2]], schemas, depth)
    if "properties" in schema:
        names = data.draw(st.lists(st.sampled_from(sorted(schema["properties"])), max_size=3, unique=True))
        return {name: sample(data, schema["properties"][name], schemas, depth + 1) for name in names}
    if schema.get("type") == "array":
        return [sample(data, schema.get("items", {}), schemas, depth + 1) for _ in range(data.draw(st.integers(0, 2)))]
    return data.draw(st.text(max_size=8) if schema.get("type") == "string" else VALUES)


@ASKED
@given(data=st.data())
def test_random_requests_have_answers(
    attacked: Attacked, operations: list[tuple[str, str, dict[str, Any], dict[str, Any]]], data: Any
) -> None:
    """Refusals are Statuses with the code of the response; what succeeds is an object with a kind."""
    path, method, operation, schemas = data.draw(st.sampled_from(operations))
    path = path.replace("{namespace}", data.draw(st.sampled_from(["default", "none", "%00"]))).replace(
        "{name}", data.draw(WORDS) or "x"
    )
    names = [item["name"] for item in operation.get("parameters", []) if item["name"] != "watch"]
    query = "&".join(f"{name}={data.draw(WORDS)}" for name in names if data.draw(st.integers(0, 3)) == 0)
    content = operation.get("requestBody", {}).get("content", {})
    headers = {"content_type": data.draw(st.sampled_from(sorted(content)))} if content else {}
    schema = content[headers["content_type"]]["schema"] if content else {}
    body = json.dumps(sample(data, schema, schemas)).encode() if content else b""
    answer = attacked.ask(method.upper(), f"{path}?{query}", body, **headers)
    assert answer.status in range(200, 500) or answer.status == 504, (method, path, query, body, answer)
    if answer.body.startswith(b"{") and answer.status >= 400:
        assert (answer.json["kind"], answer.json["code"]) == ("Status", answer.status)
    elif answer.body.startswith(b"{"):
        assert answer.json["kind"]
