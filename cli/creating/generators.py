"""The table of the kinds that `kctl create KIND NAME` makes from flags. A kind is one entry of `GENERATORS`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cli.creating import access, budgets, data, ingresses, secrets, services, workloads
from pinnace import kinds
from pinnace.kinds import Kind


@dataclass(frozen=True, slots=True)
class Generator:
    """`add_flags` takes a parser; `build` the arguments and the words after `--`, and raises BadRequest."""

    text: str
    add_flags: Callable[[Any], None]
    build: Callable[[Any, list[str]], dict[str, Any]]


def _no_flags(parser: Any) -> None:
    return None


GENERATORS: dict[Kind, Generator] = {
    kinds.NAMESPACE: Generator("Create a Namespace", _no_flags, lambda args, command: {}),
    kinds.CONFIG_MAP: Generator("Create a ConfigMap", data.add_sources, data.config_map),
    kinds.CRON_JOB: Generator("Create a CronJob", workloads.add_cron_job, workloads.cron_job),
    kinds.DEPLOYMENT: Generator("Create a Deployment", workloads.add_deployment, workloads.deployment),
    kinds.INGRESS: Generator("Create an Ingress", ingresses.add_ingress, ingresses.ingress),
    kinds.JOB: Generator("Create a Job", workloads.add_job, workloads.job),
    kinds.POD_DISRUPTION_BUDGET: Generator("Create a PodDisruptionBudget", budgets.add_budget, budgets.budget),
    kinds.RESOURCE_QUOTA: Generator("Create a ResourceQuota", workloads.add_quota, workloads.quota),
    kinds.PRIORITY_CLASS: Generator("Create a PriorityClass", workloads.add_priority_class, workloads.priority_class),
    kinds.SERVICE_ACCOUNT: Generator("Create a ServiceAccount", _no_flags, lambda args, command: {}),
    kinds.ROLE: Generator("Create a Role", access.add_role, access.role),
    kinds.CLUSTER_ROLE: Generator("Create a ClusterRole", access.add_cluster_role, access.cluster_role),
    kinds.ROLE_BINDING: Generator("Create a RoleBinding", access.add_role_binding, access.role_binding),
    kinds.CLUSTER_ROLE_BINDING: Generator("Create a ClusterRoleBinding", access.add_subjects, access.cluster_role_binding),
}
# Of kinds that are made in several ways, by the word that follows the kind.
_SECRETS: dict[str, Generator] = {
    "generic": Generator("Create a Secret", secrets.add_generic, secrets.generic),
    "docker-registry": Generator("Create a Secret with credentials of a registry", secrets.add_registry, secrets.registry),
    "tls": Generator("Create a Secret with a certificate and its key", secrets.add_tls, secrets.tls),
}
_SERVICES: dict[str, Generator] = {
    "clusterip": Generator("Create a Service inside the cluster", services.add_cluster_ip, services.cluster_ip),
    "nodeport": Generator("Create a Service at a port of every node", services.add_node_port, services.node_port),
    "loadbalancer": Generator("Create a Service with a load balancer", services.add_ports, services.load_balancer),
    "externalname": Generator("Create an alias of a DNS name", services.add_external_name, services.external_name),
}
TYPED: dict[Kind, dict[str, Generator]] = {kinds.SECRET: _SECRETS, kinds.SERVICE: _SERVICES}
