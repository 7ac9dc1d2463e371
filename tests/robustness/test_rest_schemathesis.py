"""Requests that schemathesis derives from the OpenAPI v3 documents, valid ones and others: no 500, no response outside its schema.

Examples are derandomized, so that a run repeats the one before it. `test_rest_openapi` has random ones of our own.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import pytest
import requests
import schemathesis
import yaml
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import APIOperation, Case, GenerationMode
from schemathesis.specs.openapi.checks import content_type_conformance, response_schema_conformance, status_code_conformance

from tests.support import customkinds
from tests.support.conformance import METHODS, NAME, Documents, sample
from tests.support.labs import eventually
from tests.support.planes import Plane, plane

# Of each operation.
EXAMPLES = settings(
    deadline=None,
    database=None,
    derandomize=True,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
CHECKED = [status_code_conformance, content_type_conformance, response_schema_conformance]
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
VALUES = {
    "dryRun": ["All"], "fieldValidation": ["Ignore", "Warn", "Strict"], "propagationPolicy": ["Background", "Foreground", "Orphan"],
    "resourceVersionMatch": ["Exact", "NotOlderThan"], "resourceVersion": ["", "0", "1"], "fieldSelector": ["metadata.name=thing"],
}  # fmt: skip
# A watch does not end by itself.
LEFT_OUT = ("watch", "sendInitialEvents")


class Target:
    """A control plane, a session as its administrator, and the documents of its API."""

    def __init__(self, found: Plane) -> None:
        config = yaml.safe_load((found.folder / "admin.yaml").read_text())
        user, cluster = config["users"][0]["user"], config["clusters"][0]["cluster"]
        pair, ca = found.folder / "pair.pem", found.folder / "ca.pem"
        pair.write_bytes(base64.b64decode(user["client-certificate-data"]) + base64.b64decode(user["client-key-data"]))
        ca.write_bytes(base64.b64decode(cluster["certificate-authority-data"]))
        self.plane = found
        self.url = f"https://{found.endpoint}"
        self.session = requests.Session()
        self.session.cert, self.session.verify = str(pair), str(ca)
        # Tests of other things have a proxy in the environment.
        self.session.trust_env = False
        self.session.post(f"{self.url}{CRDS}", json=customkinds.definition()).raise_for_status()
        eventually(lambda: "apis/stable.example.com/v1" in self.get("/openapi/v3")["paths"])
        self.documents = {
            name: self.get(entry["serverRelativeURL"]) for name, entry in self.get("/openapi/v3")["paths"].items()
        }
        # By collection.
        self.names: dict[str, str] = {}
        self._kinds = {
            path: item["post"]["x-kubernetes-group-version-kind"]
            for document in self.documents.values()
            for path, item in document["paths"].items()
            if "post" in item and "{name}" not in path
        }

    def there(self, path: str) -> Any:
        """An object of the collection that a path leads into, made unless it is there; None of what is not created."""
        collection = path.partition("/{name}")[0]
        kind = self._kinds.get(collection)
        if kind is None:
            return None
        self.names[collection], body = sample(kind["kind"], "/".join(filter(None, (kind["group"], kind["version"]))))
        answer = self.session.post(self.url + collection.format(namespace="default"), json=body)
        assert answer.status_code in (201, 409), answer.text
        return body

    def get(self, path: str) -> Any:
        answer = self.session.get(self.url + path)
        answer.raise_for_status()
        return answer.json()


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    with plane(tmp_path_factory.mktemp("schemathesis"), "--disable-controller", "scheduler", store="memory") as found:
        yield Target(found)


def usable(document: dict[str, Any]) -> dict[str, Any]:
    """Without parameters that make a request last, and with the values that others have: few texts are one of them by chance."""
    for item in document["paths"].values():
        for method in METHODS:
            parameters = item.get(method, {}).get("parameters", [])
            parameters[:] = [_known(found) for found in parameters if found["name"] not in LEFT_OUT]
    return document


def _known(parameter: dict[str, Any]) -> dict[str, Any]:
    values = VALUES.get(parameter["name"])
    return {**parameter, "schema": {**parameter["schema"], "enum": values}} if values else parameter


def sent(target: Target, documents: Documents, case: Case) -> None:
    path = case.operation.path
    if case.method == "DELETE" and not path.endswith("{name}"):
        # All objects of a kind, of other operations too.
        case.query = {**(case.query or {}), "dryRun": "All"}
    if isinstance(case.body, dict) and isinstance(case.body.get("metadata"), dict):
        # Most names that are generated are refused before anything else is looked at.
        place = {"name": target.names.get(path.partition("/{name}")[0], NAME), "namespace": ""}
        case.body["metadata"] = {**case.body["metadata"], **place, "uid": "", "resourceVersion": ""}
    response = case.call(
        base_url=target.url, session=target.session, timeout=60, verify=target.session.verify, cert=target.session.cert
    )
    if case.operation.definition.raw["x-kubernetes-action"] != "connect":
        timed_out = response.status_code == 504 and response.json()["reason"] == "Timeout"
        assert response.status_code < 500 or timed_out, case.as_curl_command()
        case.validate_response(response, checks=CHECKED)
    media = response.headers["content-type"][0].partition(";")[0]
    documents.check(case.method.lower(), path, response.status_code, media, response.content)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.name.lower())
def test_responses_to_derived_requests_are_as_the_documents_say(target: Target, mode: GenerationMode) -> None:
    """Of an object that is there, as each operation finds it anew."""
    documents = Documents(list(target.documents.values()))
    for operation in operations(target, mode):
        derived(target, documents, operation, mode)
    assert documents.seen


def operations(target: Target, mode: GenerationMode) -> Iterator[APIOperation]:
    for document in target.documents.values():
        for found in schemathesis.openapi.from_dict(usable(document)).get_all_operations():
            operation = found.ok()
            # Paths are given, and what has nothing else cannot be wrong.
            if mode is GenerationMode.POSITIVE or operation.query:
                yield operation


def derived(target: Target, documents: Documents, operation: APIOperation, mode: GenerationMode) -> None:
    there = target.there(operation.path)
    places = {"namespace": "default", "name": there["metadata"]["name"] if there else NAME, "path": "healthz"}
    places = {key: value for key, value in places.items() if f"{{{key}}}" in operation.path}
    given_body: dict[str, Any] = {}
    if operation.method == "put" or (operation.method == "post" and mode is GenerationMode.NEGATIVE):
        # Bodies take long to derive: those of updates are of the same schema, and wrong ones are sent by other tests.
        given_body = {"body": there or {}, "media_type": "application/json"}

    @settings(EXAMPLES, max_examples=3 if mode is GenerationMode.POSITIVE else 2)
    @given(case=operation.as_strategy(generation_mode=mode, path_parameters=places, **given_body))
    def check(case: Case) -> None:
        sent(target, documents, case)

    check()
