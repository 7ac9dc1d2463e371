"""One reconciliation of one HorizontalPodAutoscaler: from the measured usage to the replicas of its object.

Source: kube-controller-manager's horizontal.go (reconcileAutoscaler).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from controlplane import conditions, events
from controlplane.controllers import autoscaledpods, autoscalermetrics, podcontrol, scalebehavior
from controlplane.controllers.autoscaledpods import ScaleTarget
from controlplane.controllers.autoscalermetrics import Measured
from controlplane.controllers.autoscalerselectors import AutoscalerSelectors
from controlplane.controllers.replicacalculator import Startup, Tolerances, Uncomputable
from controlplane.controllers.runner import Moment
from controlplane.controllers.scalebehavior import History, Wanted
from controlplane.podusage import PodUsage
from controlplane.requests import verbs
from controlplane.store import Tx
from pinnace import codec, kinds, quantity, selectors
from pinnace.autoscaling.v2.horizontalpodautoscaler_pb2 import (
    HorizontalPodAutoscaler,
    HorizontalPodAutoscalerBehavior,
    MetricStatus,
)
from pinnace.clock import Ids
from pinnace.core.v1.pod_pb2 import Pod
from pinnace.errors import ApiError, BadRequest

SOURCE = "horizontal-pod-autoscaler"
ABLE, ACTIVE, LIMITED = "AbleToScale", "ScalingActive", "ScalingLimited"


@dataclass(frozen=True, slots=True)
class Settings:
    """Seconds between two reconciliations, and of stabilization of fewer replicas; a relative distance to the target."""

    period: float = 15.0
    window: float = 300.0
    tolerance: float = 0.1
    startup: Startup = field(default_factory=Startup)


class Reconciliation:
    """One reconciliation of one autoscaler. `history` and `rescaled` are its outcome besides what it writes."""

    def __init__(
        self, tx: Tx, item: HorizontalPodAutoscaler, usage: PodUsage, settings: Settings, *, now: Moment, history: History,
        ids: Ids, selected: AutoscalerSelectors,
    ) -> None:  # fmt: skip
        self._tx = tx
        self._item = item
        self._usage = usage
        self._settings = settings
        self._now = now
        self._call = verbs.Call(now.wall, ids, podcontrol.MANAGER)
        self._behavior = _behavior(item, settings)
        self._metrics: list[MetricStatus] = []
        self._selectors = selected
        self.history = history
        self.rescaled = False

    def step(self) -> None:
        try:
            target = autoscaledpods.find(self._tx, self._item)
        except ApiError as error:
            self._event("FailedGetScale", str(error), warning=True)
            text = f"the HPA controller was unable to get the target's current scale: {error}"
            self._set(ABLE, "False", "FailedGetScale", text)
        else:
            self._set(ABLE, "True", "SucceededGetScale", "the HPA controller was able to get the target's current scale")
            self._reconcile(target)
        self._item.status.observedGeneration = self._item.metadata.generation
        verbs.update_status(self._tx, kinds.HORIZONTAL_POD_AUTOSCALER, self._item, self._call)

    def _reconcile(self, target: ScaleTarget) -> None:
        current, spec = target.scale.spec.replicas, self._item.spec
        if not self.history.recommendations:
            self._recommend(current)
        if current == 0:
            text = "scaling is disabled since the replica count of the target is zero"
            self._set(ACTIVE, "False", "ScalingDisabled", text)
            self._finish(target, current, "")
        elif current > spec.maxReplicas:
            self._finish(target, spec.maxReplicas, "Current number of replicas above Spec.MaxReplicas")
        elif current < spec.minReplicas:
            self._finish(target, spec.minReplicas, "Current number of replicas below Spec.MinReplicas")
        else:
            self._follow_metrics(target)

    def _recommend(self, value: int) -> None:
        windows = [self._settings.window]
        if self._behavior is not None:
            windows += [rules.stabilizationWindowSeconds for rules in (self._behavior.scaleUp, self._behavior.scaleDown)]
        self.history = self.history.recommended(self._now.watched, value, keep=max(windows))

    # Metrics

    def _follow_metrics(self, target: ScaleTarget) -> None:
        current = target.scale.spec.replicas
        try:
            desired, metric = self._proposed(target)
        except Uncomputable as error:
            self._event("FailedComputeMetricsReplicas", str(error), warning=True)
            self._status(current, self._item.status.desiredReplicas)
            return
        wanted = Wanted(current, desired, self._item.spec.minReplicas, self._item.spec.maxReplicas)
        now = self._now.watched
        if self._behavior is None:
            verdict = scalebehavior.decide(wanted, self.history, now, self._settings.window)
        else:
            verdict = scalebehavior.decide_by(self._behavior, wanted, self.history, now)
        self._recommend(desired)
        self._set(ABLE, "True", *verdict.able)
        self._set(LIMITED, "True" if verdict.limited else "False", *verdict.limit)
        # Without a reason where only an earlier recommendation asks for the change.
        reason = f"{metric} above target" if desired > current else "All metrics below target" if desired < current else ""
        self._finish(target, verdict.replicas, reason)

    def _proposed(self, target: ScaleTarget) -> tuple[int, str]:
        """The largest number of replicas that a metric asks for, and its description. Raises Uncomputable where all fail, or
        where some fail and the others ask for fewer replicas."""
        current, specs = target.scale.spec.replicas, self._item.spec.metrics
        measured = Measured(
            self._pods(target), self._usage.pods, current, self._tolerances(), self._settings.startup
        )  # fmt: skip
        found = autoscalermetrics.evaluate(specs, measured)
        self._metrics = list(found.statuses)
        for failure in found.failures:
            self._event(failure.reason, failure.text, warning=True)
        if found.failures and (len(found.failures) == len(specs) or found.replicas < current):
            first = found.failures[0]
            self._set(ACTIVE, "False", first.reason, f"the HPA was unable to compute the replica count: {first.text}")
            count = f"{len(found.failures)} invalid out of {len(specs)}"
            raise Uncomputable(f"invalid metrics ({count}), first error is: {first.chain}")
        text = f"the HPA was able to successfully calculate a replica count from {found.metric}"
        self._set(ACTIVE, "True", "ValidMetricFound", text)
        return found.replicas, found.metric

    def _pods(self, target: ScaleTarget) -> list[Pod]:
        """The pods of the target. Raises Uncomputable for a selector that selects none, or pods of another autoscaler too."""
        text = target.scale.status.selector
        if not text:
            self._event("SelectorRequired", "selector is required", warning=True)
            self._set(ACTIVE, "False", "InvalidSelector", "the HPA target's scale is missing a selector")
            raise Uncomputable("selector is required")
        try:
            selector = selectors.parse_labels(text)
        except BadRequest as error:
            raise self._unselectable(
                "InvalidSelector", f"couldn't convert selector into a corresponding internal selector object: {error}"
            ) from None
        namespace = self._item.metadata.namespace
        found = autoscaledpods.selected(self._tx, namespace, selector)
        uid = self._item.metadata.uid
        self._selectors.set(namespace, uid, self._item.metadata.name, selector)
        others = self._selectors.others(namespace, uid, _distinct_labels(found))
        if others:
            named = " ".join(f"{{{name} {namespace}}}" for name in (self._item.metadata.name, others[0]))
            message = f"pods by selector {text} are controlled by more than one HPA (e.g. [{named}])"
            raise self._unselectable("AmbiguousSelector", message)
        return found

    def _unselectable(self, reason: str, text: str) -> Uncomputable:
        self._event(reason, text, warning=True)
        self._set(ACTIVE, "False", reason, text)
        return Uncomputable(text)

    def _tolerances(self) -> Tolerances:
        tolerance = self._settings.tolerance
        if self._behavior is None:
            return Tolerances(tolerance, tolerance)
        down, up = (
            float(quantity.parse(rules.tolerance.string)) if rules.HasField("tolerance") else tolerance
            for rules in (self._behavior.scaleDown, self._behavior.scaleUp)
        )
        return Tolerances(down, up)

    # Outcome

    def _finish(self, target: ScaleTarget, desired: int, reason: str) -> None:
        """Set the replicas of the target, unless it has them already, and the status."""
        current = target.scale.spec.replicas
        if desired == current:
            self._status(current, current)
            return
        target.scale.spec.replicas = desired
        try:
            verbs.update_subresource(self._tx, target.kind, autoscaledpods.SCALE, target.scale, self._call)
        except ApiError as error:
            self._event("FailedRescale", f"New size: {desired}; reason: {reason}; error: {error}", warning=True)
            text = f"the HPA controller was unable to update the target scale: {error}"
            self._set(ABLE, "False", "FailedUpdateScale", text)
            self._status(current, self._item.status.desiredReplicas)
            return
        text = f"the HPA controller was able to update the target scale to {desired}"
        self._set(ABLE, "True", "SucceededRescale", text)
        self._event("SuccessfulRescale", f"New size: {desired}; reason: {reason}")
        if self._behavior is not None:
            self.history = self.history.scaled(self._now.watched, current, desired, self._behavior)
        self.rescaled = True
        self._item.status.lastScaleTime.CopyFrom(codec.time_of(self._now.wall))
        self._status(current, desired)

    def _status(self, current: int, desired: int) -> None:
        status = self._item.status
        status.currentReplicas, status.desiredReplicas = current, desired
        del status.currentMetrics[:]
        status.currentMetrics.extend(self._metrics)

    def _set(self, type_: str, value: str, reason: str, message: str) -> None:
        conditions.put(self._item.status, type_, value, now=self._now.wall, reason=reason, message=message)

    def _event(self, reason: str, message: str, *, warning: bool = False) -> None:
        events.record(
            self._tx, self._item, reason, message, source=SOURCE, now=self._now.wall, warning=warning,
            kind=kinds.HORIZONTAL_POD_AUTOSCALER,
        )  # fmt: skip


def _behavior(item: HorizontalPodAutoscaler, settings: Settings) -> HorizontalPodAutoscalerBehavior | None:
    """That of the spec, with the cluster's window where it has none."""
    if not item.spec.HasField("behavior"):
        return None
    found = HorizontalPodAutoscalerBehavior()
    found.CopyFrom(item.spec.behavior)
    if not found.scaleDown.HasField("stabilizationWindowSeconds"):
        found.scaleDown.stabilizationWindowSeconds = int(settings.window)
    return found


def _distinct_labels(pods: Iterable[Pod]) -> list[dict[str, str]]:
    return [dict(pairs) for pairs in {tuple(sorted(pod.metadata.labels.items())) for pod in pods}]
