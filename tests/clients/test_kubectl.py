"""kubectl against a lab: what people type, and what they see. Each row is a command, its exit code and what it prints."""

from __future__ import annotations

import json
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support import downloads
from tests.support.labs import DEADLINE, LabUnderTest

pytestmark = [pytest.mark.root, pytest.mark.timeout(600)]


@dataclass(frozen=True)
class Kubectl:
    path: str
    lab: LabUnderTest

    def __call__(self, *arguments: str, stdin: str = "", code: int = 0) -> str:
        """Both outputs together; fails unless it exits with `code`."""
        done = subprocess.run(
            [self.path, *arguments], input=stdin, text=True, capture_output=True, timeout=DEADLINE, check=False,
            env=self.lab.environment,
        )  # fmt: skip
        assert done.returncode == code, (arguments, done.returncode, done.stdout, done.stderr)
        return done.stdout + done.stderr


@pytest.fixture(scope="module", params=(*downloads.LAYERS, downloads.NEWEST))
def kubectl(lab: LabUnderTest, request: pytest.FixtureRequest) -> Kubectl:
    return Kubectl(downloads.kubectl(request.param), lab)


def check(kubectl: Kubectl, rows: list[tuple[str, str]], *, code: int = 0) -> None:
    """Each command prints what the pattern says, in order."""
    for command, pattern in rows:
        found = kubectl(*command.split(), code=code)
        assert re.search(pattern, found, re.MULTILINE), (command, pattern, found)


PAGE = """
apiVersion: v1
kind: ConfigMap
metadata: {name: page}
data: {index: hello}
---
apiVersion: v1
kind: Pod
metadata: {name: web, labels: {app: web}}
spec:
  containers:
  - name: web
    image: busybox
    imagePullPolicy: Never
    command: [sh, -c, 'echo started; sleep 1000000']
    env: [{name: A, value: "1"}]
"""


def test_pods_from_apply_to_delete(kubectl: Kubectl) -> None:
    """apply, get in every form, describe, wait, logs, label, annotate, patch, explain, diff, delete."""
    assert kubectl("apply", "-f", "-", stdin=PAGE) == "configmap/page created\npod/web created\n"
    check(kubectl, [
        ("wait --for=condition=Ready pod/web --timeout=60s", "pod/web condition met"),
        ("get pods", r"^NAME +READY +STATUS +RESTARTS +AGE\nweb +1/1 +Running +0 +\d+s"),
        ("get pods -o wide", r"IP +NODE +NOMINATED NODE +READINESS GATES\nweb .*10\.244\.\d+\.\d+ +node-[12] +<none>"),
        ("get pods -o name", "^pod/web$"),
        ("get po/web cm/page", r"pod/web +1/1[\s\S]*configmap/page +1"),
        ("get pods -A --show-labels", r"default +web .*app=web"),
        ("get pods -L app", r"APP\nweb .* web$"),
        ("get pods -l app=web,app!=x --no-headers", r"^web +1/1"),
        ("get pods --field-selector=status.phase=Running -o name", "pod/web"),
        ("get pod web -o jsonpath={.spec.containers[*].image}", "^busybox$"),
        ("get pod web -o custom-columns=N:.metadata.name,P:.status.phase", r"^N +P\nweb +Running"),
        ("get pods --sort-by=.metadata.name", r"^web"),
        ("get pod web -o yaml", r"^kind: Pod$"),
        ("get all", r"^pod/web +1/1"),
        ("get cm page -o go-template={{.data.index}}", "^hello$"),
        ("describe pod web", r"Name: +web[\s\S]*Events:[\s\S]*Started"),
        ("logs web", "^started$"),
        ("logs -l app=web --prefix --tail=1", r"^\[pod/web/web\] started"),
        ("label pod web tier=front", "pod/web labeled"),
        ("label pod web tier-", "pod/web unlabeled"),
        ("annotate pod web note=x", "pod/web annotated"),
        ("patch cm page --type=merge -p {\"data\":{\"a\":\"b\"}}", "configmap/page patched"),
        ("patch cm page --type=json -p [{\"op\":\"remove\",\"path\":\"/data/a\"}]", "configmap/page patched"),
        ("explain pod.spec.containers.image", r"KIND: +Pod[\s\S]*image <string>"),
        ("exec web -- sh -c exit", "^$"),
        ("events", r"Normal +Started +Pod/web"),
        ("get events --field-selector=involvedObject.name=web", "Started"),
        ("get events.events.k8s.io --field-selector=regarding.name=web", r"Normal +Started +pod/web"),
        ("get events.v1.events.k8s.io -o jsonpath={.items[*].apiVersion}", r"^events.k8s.io/v1( |$)"),
        ("explain events.note --api-version=events.k8s.io/v1", r"GROUP: +events.k8s.io[\s\S]*note <string>"),
        ("auth can-i delete pods", "^yes$"),
        ("auth whoami -o jsonpath={.status.userInfo.username}", "^kubernetes-admin$"),
        ("api-resources --api-group=", r"^pods +po +v1 +true +Pod$"),
        ("api-versions", "^rbac.authorization.k8s.io/v1$"),
        ("version", r"Server Version: v1\.37\.0\+pinnace"),
        ("get --raw /readyz", "^ok"),
    ])  # fmt: skip
    changed = PAGE.replace("hello", "changed")
    assert re.search(r"^-  index: hello\n\+  index: changed$", kubectl("diff", "-f", "-", stdin=changed, code=1), re.MULTILINE)
    assert kubectl("apply", "-f", "-", stdin=changed) == "configmap/page configured\npod/web unchanged\n"
    assert kubectl("apply", "--server-side", "-f", "-", stdin=changed).count("serverside-applied") == 2
    assert "deleted" in kubectl("delete", "-f", "-", "--now", stdin=PAGE)
    check(kubectl, [("get pods", "No resources found"), ("wait --for=delete pod/web --timeout=5s", "")])


RESIZED = """
apiVersion: v1
kind: Pod
metadata: {name: sized}
spec:
  containers:
  - name: main
    image: busybox
    imagePullPolicy: Never
    command: [sleep, "1000000"]
    resources: {requests: {cpu: 100m}, limits: {memory: 64Mi}}
"""


def test_pods_are_resized(kubectl: Kubectl, monkeypatch: pytest.MonkeyPatch) -> None:
    """patch and edit with --subresource; the container does not restart, and what is not allowed is told."""
    assert kubectl("create", "-f", "-", stdin=RESIZED) == "pod/sized created\n"
    patch = '{"spec":{"containers":[{"name":"main","resources":{"requests":{"cpu":"%s"},"limits":{"memory":%s}}}]}}'
    check(kubectl, [
        ("wait --for=condition=Ready pod/sized --timeout=60s", "pod/sized condition met"),
        ("patch pod sized --subresource resize -p " + patch % ("150m", '"96Mi"'), "^pod/sized patched$"),
        ("wait --for=jsonpath={.status.containerStatuses[0].resources.limits.memory}=96Mi pod/sized --timeout=60s", "met"),
        ("get pod sized --subresource resize -o jsonpath={.spec.containers[0].resources.requests.cpu}", "^150m$"),
    ])  # fmt: skip
    monkeypatch.setitem(kubectl.lab.environment, "KUBE_EDITOR", "sed -i 's/cpu: 150m/cpu: 200m/'")
    check(kubectl, [
        ("edit pod sized --subresource resize", "^pod/sized edited$"),
        ("wait --for=jsonpath={.status.containerStatuses[0].allocatedResources.cpu}=200m pod/sized --timeout=60s", "met"),
        ("get pod sized -o jsonpath={.status.containerStatuses[0].restartCount}", "^0$"),
    ])  # fmt: skip
    removed = kubectl("patch", "pod", "sized", "--subresource", "resize", "-p", patch % ("200m", "null"), code=1)
    assert "spec.containers[0].resources.limits: Forbidden: resource limits cannot be removed" in removed
    kubectl("delete", "pod", "sized", "--now")


def test_pods_are_debugged_and_copied(kubectl: Kubectl, tmp_path: Path) -> None:
    """An ephemeral container, a changed copy, files in and out, other images, each way of waiting, a kustomization."""
    source = tmp_path / "page.yaml"
    source.write_text(PAGE)
    (tmp_path / "kustomization.yaml").write_text(
        "namePrefix: k-\nresources: [page.yaml]\nconfigMapGenerator: [{name: made, literals: [a=b]}]\n"
    )
    debug = "debug web --image=busybox --image-pull-policy=Never --profile=general"
    check(kubectl, [
        (f"apply -f {source}", "pod/web created"),
        ("wait --for=create pod/web --timeout=60s", "pod/web condition met"),
        ("wait --for=jsonpath={.status.phase}=Running pod/web --timeout=60s", "pod/web condition met"),
        (f"{debug} -c debugger -- echo debugging", ""),
        ("wait --for=jsonpath={.status.ephemeralContainerStatuses[0].state.terminated.exitCode}=0 pod/web --timeout=60s", "met"),
        ("logs web -c debugger", "^debugging$"),
        (f"{debug} --copy-to=copy --share-processes -- sleep 1000", "Defaulting debug container name to debugger-"),
        (f"cp {source} web:/tmp/page.yaml", ""),
        (f"cp web:/tmp/page.yaml {tmp_path}/copied.yaml", ""),
        ("set image pod/web web=busybox:latest", "pod/web image updated"),
        ("label pods --all tier=front", r"pod/copy labeled[\s\S]*pod/web labeled"),
        (f"apply -k {tmp_path}", r"configmap/k-made-\w+ created\nconfigmap/k-page created\npod/k-web created"),
        (f"delete -k {tmp_path} --now", 'pod "k-web" (force )?deleted'),
        ("get node node-1 --subresource=status", r"^node-1 +Ready"),
    ])  # fmt: skip
    assert (tmp_path / "copied.yaml").read_text() == PAGE
    check(kubectl, [("delete pods web copy --now", 'pod "copy"'), ("delete cm page", 'configmap "page" deleted')])


def test_updated_fields_become_applied_ones(kubectl: Kubectl) -> None:
    """kubectl passes on what it has written by client-side apply, so that it can remove it later."""
    kubectl("apply", "-f", "-", stdin=PAGE.partition("---")[0])
    changed = PAGE.partition("---")[0].replace("index", "other")
    assert "serverside-applied" in kubectl("apply", "--server-side", "-f", "-", stdin=changed)
    found = json.loads(kubectl("get", "cm", "page", "-o", "json", "--show-managed-fields"))
    assert found["data"] == {"other": "hello"}
    assert {entry["operation"] for entry in found["metadata"]["managedFields"]} == {"Apply"}
    check(kubectl, [("delete cm page", 'configmap "page" deleted')])


def test_top(kubectl: Kubectl) -> None:
    """Nodes and pods, their containers, selectors, sorting; and the metrics as objects. The numbers are of a pod that is busy."""
    busy = PAGE.replace("echo started; sleep 1000000", "while :; do :; done").replace("web", "busy")
    kubectl("apply", "-f", "-", stdin=busy)
    try:
        check(kubectl, [
            ("wait --for=condition=Ready pod/busy --timeout=60s", "met"),
            ("top nodes", r"^NAME +CPU\(cores\) +CPU\(%\) +MEMORY\(bytes\) +MEMORY\(%\) *\nnode-1 +\d+m +\d+% +\d+Mi +\d+%"),
            ("top node node-1 --no-headers", r"^node-1 +\d+m +\d+% +\d+Mi +\d+%"),
            ("top pods", r"^NAME +CPU\(cores\) +MEMORY\(bytes\) *\nbusy +[1-9]\d*m +\d+Mi"),
            ("top pod busy --containers", r"^POD +NAME +CPU\(cores\) +MEMORY\(bytes\) *\nbusy +busy +[1-9]\d*m +\d+Mi"),
            ("top pods -A -l app=busy --sort-by=cpu", r"^default +busy +[1-9]\d*m"),
            ("top pods -l app=none", "No resources found"),
            ("get podmetrics busy", r"^NAME +CPU +MEMORY +WINDOW\nbusy +\d+[nu] +\d+[KM]i +\d+"),
            ("get nodes.metrics.k8s.io -o name", r"^nodemetrics.metrics.k8s.io/node-1$"),
            ("get --raw /apis/metrics.k8s.io/v1beta1/namespaces/default/pods", '"kind":"PodMetricsList"'),
            ("explain podmetrics.window", r"FIELD: window"),
            ("api-resources --api-group=metrics.k8s.io", r"^pods +metrics.k8s.io/v1beta1 +true +PodMetrics$"),
            ("get pods busy", r"^NAME +READY"),
        ])  # fmt: skip
        check(kubectl, [("top pod nope", 'podmetrics.metrics.k8s.io "nope" not found')], code=1)
    finally:
        kubectl("delete", "-f", "-", "--now", stdin=busy)


def test_kubectl_is_told_what_is_wrong(kubectl: Kubectl) -> None:
    """Each error in one line, and exit code 1."""
    check(kubectl, [
        ("get pods nope", 'Error from server \\(NotFound\\): pods "nope" not found'),
        ("get nonsense", 'the server doesn\'t have a resource type "nonsense"'),
        ("create cm Not_Valid", "a lowercase RFC 1123 subdomain"),
        ("create ns default", 'namespaces "default" already exists'),
        ("delete ns default", "this namespace may not be deleted"),
        ("logs nope", 'pods "nope" not found'),
        ("--as=bob get pods", 'User "bob" cannot list resource "pods" in API group "" in the namespace "default"'),
    ], code=1)  # fmt: skip
    wrong = "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec: {containers: [{name: c, imagee: x}]}\n"
    assert "unknown field" in kubectl("apply", "-f", "-", stdin=wrong, code=1)
    invalid = wrong.replace("imagee", "image").replace("name: c", "name: C_C")
    assert re.search(r'The Pod "p" is invalid: spec.containers\[0\].name', kubectl("create", "-f", "-", stdin=invalid, code=1))


def test_generators_and_small_kinds(kubectl: Kubectl) -> None:
    """create of each kind that kubectl can make without a file, in protobuf where it sends that."""
    check(kubectl, [
        ("create ns gen", "namespace/gen created"),
        ("-n gen create cm c --from-literal=a=b", "configmap/c created"),
        ("-n gen create secret generic s --from-literal=a=b", "secret/s created"),
        ("-n gen create sa robot", "serviceaccount/robot created"),
        ("-n gen create token robot", r"^[\w-]+\.[\w-]+\.[\w-]+$"),
        ("-n gen create role r --verb=get,list --resource=pods,pods/log", "role.rbac.authorization.k8s.io/r created"),
        ("-n gen create rolebinding b --role=r --serviceaccount=gen:robot", "created"),
        ("-n gen auth can-i list pods --as=system:serviceaccount:gen:robot", "^yes$"),
        ("-n gen create quota q --hard=pods=2", "resourcequota/q created"),
        ("create priorityclass high --value=10", "priorityclass.scheduling.k8s.io/high created"),
        ("create clusterrole cr --verb=get --resource=nodes", "created"),
        ("-n gen get sa,roles,rolebindings,quota,secrets,cm", r"serviceaccount/robot[\s\S]*configmap/c"),
        ("-n gen run one --image=busybox --image-pull-policy=Never --dry-run=client -o yaml", r"^kind: Pod$"),
        ("-n gen run one --image=busybox --image-pull-policy=Never --dry-run=server", r"pod/one created \(server dry run\)"),
        ("-n gen get pods", "No resources found"),
        ("delete priorityclass high", "deleted"),
        ("delete clusterrole cr", "deleted"),
        ("delete ns gen", 'namespace "gen" deleted'),
    ])  # fmt: skip
    denied = kubectl("-n", "gen", "auth", "can-i", "delete", "pods", "--as=system:serviceaccount:gen:robot", code=1)
    assert denied.startswith("no")


CREATED = (
    "namespace n", "serviceaccount s", "quota q --hard=pods=2,requests.cpu=1 --scopes=BestEffort",
    "deployment d --image=a,b --replicas=2", "deployment d --image=a:1 --port=80 -- sleep 1",
    "job j --image=a -- date -u", "cronjob c --image=a --schedule=@daily --restart=Never -- date", "cronjob c --image=a --schedule=@daily",
    "priorityclass p --value=-5 --global-default --description=x --preemption-policy=Never", "priorityclass p --value=7",
    "pdb p --selector=app=web --min-available=50%", "pdb p --selector=app=web,tier=x --max-unavailable=1",
    "role r --verb=get,list --resource=pods,deployments.apps,pods/log", "role r --verb=* --resource=cm --resource-name=a --resource-name=b",
    "clusterrole r --verb=get --resource=nodes --non-resource-url=/healthz", "clusterrole r --aggregation-rule=a/b=true",
    "rolebinding b --role=r --user=u --group=g --serviceaccount=n:s", "rolebinding b --clusterrole=r --user=u",
    "clusterrolebinding b --clusterrole=r --group=g",
    "configmap c --from-literal=a=b --from-literal=c=d=e", "configmap c --from-file=/proc/sys/kernel/ostype --append-hash",
    "configmap c --from-literal=a=<b>&c --append-hash", "configmap c --from-env-file=/dev/null",
    "secret generic s --from-literal=a=b --type=x/y", "secret generic s --from-file=k=/proc/sys/kernel/ostype --append-hash",
    "secret docker-registry s --docker-username=u --docker-password=p --docker-email=e"
)  # fmt: skip


def cleaned(value: object) -> object:
    """Without what Go programs write for absent fields."""
    if isinstance(value, dict):
        found = {key: cleaned(item) for key, item in value.items()}
        return {key: item for key, item in found.items() if item not in (None, {}, [])}
    return [cleaned(item) for item in value] if isinstance(value, list) else value


def test_kctl_creates_what_kubectl_creates(kubectl: Kubectl) -> None:
    """The same flags make the same object, without a write."""
    for command in CREATED:
        own, dashes, process = command.partition(" -- ")
        words = [*own.split(), "--dry-run=client", "-o", "json", *([*dashes.split(), *process.split()] if dashes else [])]
        theirs, ours = (json.loads(client("create", *words)) for client in (kubectl, kubectl.lab.kctl))
        # Counts of a status that nothing has written.
        theirs.pop("status", None)
        assert cleaned(ours) == cleaned(theirs), command
    kubectl("create", "cronjob", "often", "--image=busybox", "--schedule=@yearly", "--", "true")
    words = ["create", "job", "now", "--from=cronjob/often", "--dry-run=client", "-o", "json"]
    theirs, ours = (json.loads(client(*words)) for client in (kubectl, kubectl.lab.kctl))
    assert cleaned(ours) == cleaned({**theirs, "status": None})
    kubectl("delete", "cronjob", "often")


def test_kctl_sets_what_kubectl_sets(kubectl: Kubectl) -> None:
    """In objects of files, without a server: the same objects and the same lines."""
    made = [
        kubectl("create", *words.split(), "--dry-run=client", "-o", "json")
        for words in ("deployment web --image=a:1,b:1", "cronjob web --image=a --schedule=@daily")
    ]
    for words in (
        "image *=x:2", "env A=1 B=2", "env A-", "resources --limits=cpu=200m,memory=512Mi --requests=cpu=1", "serviceaccount robot",
    ):  # fmt: skip
        for item in made:
            command = ["set", *words.split(), "--local", "-f", "-"]
            assert kubectl.lab.kctl(*command, stdin=item) == kubectl(*command, stdin=item)
            theirs, ours = (client(*command, "-o", "json", stdin=item) for client in (kubectl, kubectl.lab.kctl))
            assert cleaned(json.loads(ours or "{}")) == cleaned(json.loads(theirs or "{}")), words


def test_deployments_roll_out(kubectl: Kubectl) -> None:
    """create deployment, scale, set, rollout; kctl's answers to the same questions are kubectl's."""
    # Pods with an image that is in the lab and is not pulled.
    kubectl("create", "-f", "-", stdin=kubectl(
        *["create", "deployment", "web", "--image=busybox", "--replicas=2", "--dry-run=client", "-o", "yaml", "--", "sleep", "1000000"]
    ).replace("image: busybox", "image: busybox\n        imagePullPolicy: Never"))  # fmt: skip
    check(kubectl, [
        ("rollout status deployment/web --timeout=60s", 'deployment "web" successfully rolled out'),
        ("get deployment web", r"^NAME +READY +UP-TO-DATE +AVAILABLE +AGE\nweb +2/2 +2 +2 "),
        ("scale deployment/web --replicas=1", "deployment.apps/web scaled"),
        ("set env deployment/web A=1 B=2", "deployment.apps/web env updated"),
        ("set env deployment/web A-", "deployment.apps/web env updated"),
        ("set env deployment/web --list", r"^# Deployment web, container busybox\nB=2$"),
        ("set resources deployment/web --limits=memory=64Mi", "deployment.apps/web resource requirements updated"),
        ("set serviceaccount deployment/web default", "deployment.apps/web serviceaccount updated"),
        ("set image deployment/web *=busybox:latest", "deployment.apps/web image updated"),
        ("rollout status deployment/web --timeout=60s", "successfully rolled out"),
        ("rollout pause deployment/web", "deployment.apps/web paused"),
        ("rollout resume deployment/web", "deployment.apps/web resumed"),
        ("rollout restart deployment/web", "deployment.apps/web restarted"),
        ("rollout status deployment/web --timeout=60s", "successfully rolled out"),
        ("rollout history deployment/web", r"REVISION +CHANGE-CAUSE\n1 +<none>"),
        ("rollout history deployment/web --revision=1", r"with revision #1\nPod Template:[\s\S]*Image:\s+busybox$"),
        ("rollout undo deployment/web --to-revision=1", "deployment.apps/web rolled back"),
        ("rollout undo deployment/web --dry-run=client", r"^deployment.apps/web Pod Template:[\s\S]*\(dry run\)$"),
        ("rollout status deployment/web --timeout=60s", "successfully rolled out"),
        ("wait --for=condition=Available deploy/web --timeout=60s", "deployment.apps/web condition met"),
        ("get deployment web -o jsonpath={.spec.template.spec.containers[0].env}", "^$"),
        ("exec deploy/web -- echo inside", "^inside$"),
        ("logs deploy/web", "^$"),
        ("describe deployment web", r"NewReplicaSet: +web-\w+ \(1/1 replicas created\)"),
    ])  # fmt: skip
    for command in ("rollout history deployment/web", "describe deployment web", "set env deployment/web --list"):
        theirs, ours = (
            text.partition("\nEvents:")[0] for text in (kubectl(*command.split()), kubectl.lab.kctl(*command.split()))
        )
        assert ours.splitlines() == theirs.splitlines()
    check(
        kubectl, [("rollout undo deployment/web --to-revision=99", "unable to find specified revision 99 in history")], code=1
    )
    check(
        kubectl,
        [("delete deployment web", 'deployment.apps "web" deleted'), ("delete pods -l app=web --now", "")],
    )


def test_autoscalers(kubectl: Kubectl) -> None:
    """autoscale in the version that the client prefers, both versions of the object, and what is shown of it."""
    kubectl("create", "-f", "-", stdin=kubectl(
        *["create", "deployment", "auto", "--image=busybox", "--dry-run=client", "-o", "yaml", "--", "sleep", "1000000"]
    ).replace("resources: {}", "resources: {requests: {cpu: 10m}}\n        imagePullPolicy: Never"))  # fmt: skip
    check(kubectl, [
        ("rollout status deployment/auto --timeout=60s", "successfully rolled out"),
        ("autoscale deployment auto --min=2 --max=3 --cpu-percent=50", "^horizontalpodautoscaler.autoscaling/auto autoscaled$"),
        ("get hpa", r"^NAME +REFERENCE +TARGETS +MINPODS +MAXPODS +REPLICAS +AGE *\nauto +Deployment/auto +cpu: .+/50% +2 +3 "),
        ("get all", r"^horizontalpodautoscaler.autoscaling/auto +Deployment/auto"),
        ("wait --for=condition=AbleToScale hpa/auto --timeout=60s", "horizontalpodautoscaler.autoscaling/auto condition met"),
        ("rollout status deployment/auto --timeout=60s", "successfully rolled out"),
        ("get deployment auto -o jsonpath={.spec.replicas}", "^2$"),
        ("get hpa auto -o jsonpath={.apiVersion}", "^autoscaling/v2$"),
        ("get horizontalpodautoscalers.v1.autoscaling auto -o jsonpath={.spec.targetCPUUtilizationPercentage}", "^50$"),
        ("wait --for=condition=ScalingActive hpa/auto --timeout=120s", "condition met"),
        ("describe hpa auto", r"resource cpu on pods  \(as a percentage of request\): +\d+% \(\d+m?\) / 50%[\s\S]*SuccessfulRescale"),
        ("get events --field-selector=reason=SuccessfulRescale", "New size: 2; reason: Current number of replicas below Spec.MinReplicas"),
        ("explain hpa.spec.behavior.scaleUp", "stabilizationWindowSeconds"),
        ("patch hpa auto --type=merge -p {\"spec\":{\"maxReplicas\":4}}", "horizontalpodautoscaler.autoscaling/auto patched"),
    ])  # fmt: skip
    theirs, ours = (describe("describe", "hpa", "auto").partition("\nEvents:")[0] for describe in (kubectl, kubectl.lab.kctl))
    assert re.sub(r"\d+% \(\d+m?\)", "N", ours).split("\n")[-6:] == re.sub(r"\d+% \(\d+m?\)", "N", theirs).split("\n")[-6:]
    assert [line.split() for line in ours.splitlines()[:7]] == [line.split() for line in theirs.splitlines()[:7]]
    check(kubectl, [
        ("delete hpa auto", 'horizontalpodautoscaler.autoscaling "auto" deleted'),
        ("delete deployment auto --cascade=foreground", 'deployment.apps "auto" deleted'),
        ("get pods", "No resources found"),
    ])  # fmt: skip


def test_nodes_are_cordoned_and_drained(kubectl: Kubectl) -> None:
    """Evictions, not deletions: a pod without a controller takes --force."""
    kubectl("apply", "-f", "-", stdin=PAGE)
    kubectl("wait", "--for=condition=Ready", "pod/web", "--timeout=60s")
    node = kubectl("get", "pod", "web", "-o", "jsonpath={.spec.nodeName}")
    check(kubectl, [
        ("get nodes", r"node-1 +Ready"),
        (f"describe node {node}", r"Non-terminated Pods[\s\S]*web"),
        (f"cordon {node}", "cordoned"),
        ("get nodes", "Ready,SchedulingDisabled"),
        (f"uncordon {node}", "uncordoned"),
        (f"taint node {node} a=b:NoSchedule", "tainted"),
        (f"taint node {node} a-", "untainted"),
        (f"drain {node} --force --timeout=60s --grace-period=1", r"pod/web evicted"),
        (f"uncordon {node}", "uncordoned"),
    ])  # fmt: skip
    kubectl("delete", "cm", "page")


GUARDED = """
apiVersion: apps/v1
kind: {kind}
metadata: {{name: {name}}}
spec:
  selector: {{matchLabels: {{app: {name}}}}}
  template:
    metadata: {{labels: {{app: {name}}}}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - {{name: main, image: busybox, imagePullPolicy: Never, command: [sleep, "1000000"]}}
"""


def test_drains_heed_daemon_sets_and_budgets(kubectl: Kubectl) -> None:
    """Pods of a DaemonSet stay, and one of a budget that allows no disruption is tried until the time is over."""
    kubectl(
        "apply",
        "-f",
        "-",
        stdin="---".join(GUARDED.format(kind=kind, name=name) for kind, name in (("DaemonSet", "log"), ("Deployment", "web"))),
    )
    check(kubectl, [
        ("create poddisruptionbudget web --selector=app=web --min-available=1", "poddisruptionbudget.policy/web created"),
        ("rollout status daemonset/log --timeout=60s", "successfully rolled out"),
        ("rollout status deployment/web --timeout=60s", "successfully rolled out"),
        ("wait --for=jsonpath={.status.currentHealthy}=1 pdb/web --timeout=60s", "poddisruptionbudget.policy/web condition met"),
        ("get pdb web", r"^web +1 +N/A +0 "),
    ])  # fmt: skip
    node = kubectl("get", "pods", "-l", "app=web", "-o", "jsonpath={.items[0].spec.nodeName}")
    check(kubectl, [(f"drain {node} --timeout=5s", "cannot delete DaemonSet-managed Pods .*use --ignore-daemonsets")], code=1)
    check(kubectl, [
        (f"drain {node} --ignore-daemonsets --timeout=3s", "Cannot evict pod as it would violate the pod's disruption budget"),
    ], code=1)  # fmt: skip
    check(kubectl, [
        ("scale deployment/web --replicas=2", "scaled"),
        ("wait --for=jsonpath={.status.disruptionsAllowed}=1 pdb/web --timeout=60s", "met"),
        (f"drain {node} --ignore-daemonsets --timeout=60s", r"pod/web-\S+ evicted"),
        ("get pods -l app=log", r"^log-\S+ +1/1[\s\S]*^log-\S+ +1/1"),
        (f"uncordon {node}", "uncordoned"),
        ("delete daemonset/log deployment/web pdb/web", 'poddisruptionbudget.policy "web" deleted'),
    ])  # fmt: skip


def test_custom_kinds(kubectl: Kubectl) -> None:
    """From their definition on: create, columns, explain, patch, watch until deleted."""
    crd = {
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "boats.example.com"},
        "spec": {
            "group": "example.com", "scope": "Namespaced", "names": {"plural": "boats", "kind": "Boat", "shortNames": ["bo"]},
            "versions": [{
                "name": "v1", "served": True, "storage": True,
                "additionalPrinterColumns": [{"name": "Oars", "type": "integer", "jsonPath": ".spec.oars"}],
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": {
                    "type": "object", "required": ["oars"],
                    "properties": {"oars": {"type": "integer", "minimum": 1, "description": "Pairs of them."}},
                }}}},
            }],
        },
    }  # fmt: skip
    boat = {"apiVersion": "example.com/v1", "kind": "Boat", "metadata": {"name": "pinnace"}, "spec": {"oars": 8}}
    kubectl("apply", "-f", "-", stdin=json.dumps(crd))
    kubectl("wait", "--for=condition=Established", "crd/boats.example.com", "--timeout=10s")
    assert kubectl("apply", "-f", "-", stdin=json.dumps(boat)) == "boat.example.com/pinnace created\n"
    check(kubectl, [
        ("get bo", r"^NAME +OARS\npinnace +8$"),
        ("explain boat.spec.oars", "Pairs of them"),
        ("patch boat pinnace --type=merge -p {\"spec\":{\"oars\":9}}", "patched"),
        ("get boat pinnace -o jsonpath={.spec.oars}", "^9$"),
    ])  # fmt: skip
    boat["spec"] = {"oars": 0}
    assert "spec.oars" in kubectl("apply", "-f", "-", stdin=json.dumps(boat), code=1)
    check(kubectl, [("delete crd boats.example.com", "deleted")])
    assert re.search("doesn't have a resource type|could not find the requested resource", kubectl("get", "boats", code=1))


# One of each, with what is described.
WORKLOADS = """
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: each, labels: {a: b}, annotations: {note: hello}}
spec:
  selector: {matchLabels: {app: each}}
  template:
    metadata: {labels: {app: each}, annotations: {x: z}}
    spec:
      nodeSelector: {kubernetes.io/os: linux}
      tolerations: [{operator: Exists}]
      containers: [{name: main, image: busybox, imagePullPolicy: Never, command: [sleep, '1000000'], env: [{name: A, value: b}]}]
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: numbered}
spec:
  serviceName: numbered
  replicas: 1
  updateStrategy: {type: RollingUpdate, rollingUpdate: {partition: 1}}
  selector: {matchLabels: {app: numbered}}
  template:
    metadata: {labels: {app: numbered}}
    spec:
      initContainers: [{name: first, image: busybox, imagePullPolicy: Never, command: ['true']}]
      containers: [{name: main, image: busybox, imagePullPolicy: Never, command: [sleep, '1000000'], volumeMounts: [{name: v, mountPath: /v}]}]
      volumes: [{name: v, emptyDir: {}}]
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: nameless}
spec:
  replicas: 0
  podManagementPolicy: Parallel
  updateStrategy: {type: OnDelete}
  selector: {matchLabels: {app: nameless}}
  template:
    metadata: {labels: {app: nameless}}
    spec:
      containers: [{name: main, image: busybox}]
      priorityClassName: system-node-critical
      volumes:
      - {name: host, hostPath: {path: /srv}}
      - {name: typed, hostPath: {path: /srv, type: Directory}}
      - {name: memory, emptyDir: {medium: Memory, sizeLimit: 16Mi}}
      - {name: config, configMap: {name: c}}
      - {name: secret, secret: {secretName: s, optional: true}}
      - {name: image, image: {reference: busybox, pullPolicy: Never}}
      - {name: down, downwardAPI: {items: [{path: l, fieldRef: {fieldPath: metadata.labels}}, {path: c, resourceFieldRef: {containerName: main, resource: limits.cpu}}]}}
      - name: all
        projected:
          sources:
          - {secret: {name: s, optional: true}}
          - {configMap: {name: c}}
          - {downwardAPI: {items: [{path: l, fieldRef: {fieldPath: metadata.name}}]}}
          - {serviceAccountToken: {path: token, expirationSeconds: 3600}}
---
apiVersion: v1
kind: ReplicationController
metadata:
  name: old
  annotations:
    long: "this annotation is longer than a line of kubectl's describe may be, so it begins on a line of its own, and what does not fit there is cut off with dots"
    several: |
      lines
      of text
spec:
  replicas: 1
  selector: {app: old, tier: web}
  template:
    metadata: {labels: {app: old, tier: web}}
    spec:
      containers: [{name: main, image: busybox, imagePullPolicy: Never, command: [sleep, '1000000'], ports: [{containerPort: 80, name: http}]}]
---
apiVersion: batch/v1
kind: Job
metadata: {name: once}
spec:
  completions: 2
  parallelism: 2
  completionMode: Indexed
  ttlSecondsAfterFinished: 3600
  activeDeadlineSeconds: 600
  template:
    spec:
      restartPolicy: Never
      containers: [{name: main, image: busybox, imagePullPolicy: Never, command: ['true'], resources: {limits: {memory: 64Mi}}}]
---
apiVersion: batch/v1
kind: CronJob
metadata: {name: never}
spec:
  schedule: '0 0 31 2 *'
  timeZone: Etc/UTC
  startingDeadlineSeconds: 10
  jobTemplate:
    spec:
      template:
        spec: {restartPolicy: OnFailure, containers: [{name: main, image: busybox}]}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: budget}
spec:
  maxUnavailable: 50%
  selector: {matchLabels: {app: numbered}, matchExpressions: [{key: tier, operator: NotIn, values: [b, a]}]}
"""


def test_workloads_are_described_alike(kubectl: Kubectl, request: pytest.FixtureRequest) -> None:
    """By kubectl and kctl, line by line down to the events. Earlier versions of kubectl show less."""
    if downloads.NEWEST not in request.node.name:
        pytest.skip("described as by the newest kubectl")
    kubectl("apply", "-f", "-", stdin=WORKLOADS)
    for command in (
        "rollout status ds/each --timeout=60s", "wait --for=condition=Ready pod/numbered-0 --timeout=60s",
        "wait --for=condition=Ready pod -l app=old --timeout=60s", "wait --for=condition=Complete job/once --timeout=60s",
    ):  # fmt: skip
        kubectl(*command.split())
    for name in ("ds each", "sts numbered", "sts nameless", "rc old", "job once", "cronjob never", "pdb budget"):
        theirs, ours = (
            text.partition("\nEvents:")[0]
            for text in (kubectl("describe", *name.split()), kubectl.lab.kctl("describe", *name.split()))
        )
        assert ours.splitlines() == theirs.splitlines(), name
    kubectl("delete", "-f", "-", "--wait=false", stdin=WORKLOADS)


NETWORKING = """
apiVersion: networking.k8s.io/v1
kind: IngressClass
metadata: {name: outer, labels: {a: b}}
spec: {controller: example.com/outer, parameters: {apiGroup: example.com, kind: Settings, name: outer}}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: routed, annotations: {note: hello}}
spec:
  ingressClassName: outer
  tls: [{hosts: [a.example.com, b.example.com], secretName: pair}, {hosts: [c.example.com]}]
  defaultBackend: {service: {name: missing, port: {name: http}}}
  rules:
  - host: a.example.com
    http:
      paths:
      - {path: /, pathType: Prefix, backend: {service: {name: front, port: {number: 80}}}}
      - {path: /long/path, pathType: Exact, backend: {resource: {apiGroup: example.com, kind: Bucket, name: assets}}}
  - http: {paths: [{path: /x, pathType: ImplementationSpecific, backend: {service: {name: front, port: {name: web}}}}]}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: plain}
spec: {defaultBackend: {resource: {kind: Thing, name: x}}}
---
apiVersion: v1
kind: Service
metadata: {name: front}
spec: {ports: [{name: web, port: 80}], selector: {app: nothing}}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: both}
spec:
  podSelector: {matchLabels: {app: web}, matchExpressions: [{key: tier, operator: In, values: [b, a]}]}
  policyTypes: [Ingress, Egress]
  ingress:
  - {}
  - from:
    - podSelector: {matchLabels: {app: a}}
    - {namespaceSelector: {}, podSelector: {matchLabels: {app: b}}}
    - namespaceSelector: {matchLabels: {team: x}}
    - ipBlock: {cidr: 10.0.0.0/8, except: [10.1.0.0/16, 10.2.0.0/16]}
    ports: [{port: 80}, {protocol: UDP, port: dns}, {port: 8000, endPort: 8080}, {protocol: SCTP}]
  egress:
  - {to: [{ipBlock: {cidr: "::/0"}}]}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: deny}
spec: {podSelector: {}, policyTypes: [Egress]}
"""
INGRESSES = (
    "simple --rule=foo.com/bar=svc1:8080,tls=my-cert",
    "all --class=otheringress --rule=/path=svc:port",
    "noted --class=default --rule=foo.com/bar=svc:port --annotation=a=foo --annotation=b=",
    "paths --rule=foo.com/=svc:port --rule=foo.com/admin/=svcadmin:portadmin",
    "hosts --rule=foo.com/path*=svc:8080 --rule=*.bar.com/admin*=svc2:http",
    "certificates --rule=foo.com/=svc:https,tls --rule=bar.com/=svc:1,tls=s --rule=foo.com/x*=o:2 --rule=baz.com/=svc:1,tls=s",
    "default --default-backend=defaultsvc:http --rule=foo.com/*=svc:8080,tls=secret1",
)


def test_ingresses_and_policies_are_created_and_described_alike(kubectl: Kubectl, request: pytest.FixtureRequest) -> None:
    """By kubectl and kctl, line by line; kubectl shows them in the columns that it is used to."""
    for words in INGRESSES:
        kubectl("create", "ingress", *words.split())
        theirs = json.loads(kubectl("get", "ing", words.split()[0], "-o", "json"))["spec"]
        kubectl("delete", "ingress", words.split()[0])
        kubectl.lab.kctl("create", "ingress", *words.split())
        ours = json.loads(kubectl("get", "ing", words.split()[0], "-o", "json"))["spec"]
        kubectl("delete", "ingress", words.split()[0])
        assert ours == theirs, words
    kubectl("apply", "-f", "-", stdin=NETWORKING)
    check(kubectl, [
        ("get ing", r"NAME +CLASS +HOSTS +ADDRESS +PORTS +AGE\nplain +<none> +\* +80 +\d+s\nrouted +outer +a.example.com +80, 443"),
        ("get ingressclass outer", r"NAME +CONTROLLER +PARAMETERS +AGE\nouter +example.com/outer +Settings.example.com/outer"),
        ("get netpol", r"NAME +POD-SELECTOR +AGE\nboth +app=web,tier in \(a,b\) +\d+s\ndeny +<none>"),
        ("get networkpolicies.networking.k8s.io both -o jsonpath={.spec.ingress[1].ports[2].endPort}", "8080"),
        ("explain netpol.spec.policyTypes", "Ingress"),
    ])  # fmt: skip
    if downloads.NEWEST in request.node.name:
        for name in ("ing routed", "ing plain", "ingressclass outer", "netpol both", "netpol deny"):
            theirs, ours = (
                text.partition("\nEvents:")[0]
                for text in (kubectl("describe", *name.split()), kubectl.lab.kctl("describe", *name.split()))
            )
            assert ours.splitlines() == theirs.splitlines(), name
    kubectl("delete", "-f", "-", stdin=NETWORKING)
