"""What is wrong between AuthorizationPolicies and the workloads that they select."""

from collections.abc import Iterable, Iterator

from weft.api import codes
from weft.api.report import Report
from weft.base.problem import At, Problem
from weft.model.kubernetes import Workload
from weft.model.resolution import Directory
from weft.model.services import Labels


def problems(directory: Directory, workloads: Iterable[Workload]) -> Iterator[Problem]:
    """Policies that no workload has the labels for."""
    selecting = [each for each in directory.authorizations.rules if each.scope.selector]
    if not selecting:
        return
    known = set(_labels(directory, workloads))
    for rule in selecting:
        everywhere = rule.namespace == directory.mesh.root_namespace
        wanted = set(rule.scope.selector)
        if not any(wanted <= set(labels) for space, labels in known if everywhere or space == rule.namespace):
            report = Report(At(kind="AuthorizationPolicy", namespace=rule.namespace, name=rule.name))
            listed = ", ".join(f"{key}={value}" for key, value in rule.scope.selector)
            message = f"no workload of {'the mesh' if everywhere else 'this namespace'} has the labels {listed}."
            yield report.warning("spec.selector", message, "Copy them from the pod's labels.", codes.NO_WORKLOADS)


def _labels(directory: Directory, workloads: Iterable[Workload]) -> Iterator[tuple[str, Labels]]:
    """The labels of all workloads with their namespaces: pods, and what entries stand for."""
    for pod in workloads:
        yield pod.namespace, pod.labels
    for shared in directory.services.values():
        for registered in shared.all:
            for endpoints in registered.endpoints:
                for each in endpoints:
                    yield each.namespace, each.labels
