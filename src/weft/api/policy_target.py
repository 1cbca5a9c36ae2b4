"""Whom a policy of security is for: workloads by labels, or what `targetRef` and `targetRefs` name."""

from collections.abc import Iterator
from typing import Annotated, Final

from msgspec import Meta

from weft.api import codes
from weft.api.checks import check_labels
from weft.api.report import Report
from weft.api.shape import Shape, WorkloadSelector
from weft.base.problem import Problem

GATEWAY_API: Final = "gateway.networking.k8s.io"
_WAYPOINTS: Final = frozenset(
    {("", "Service"), ("core", "Service"), ("networking.istio.io", "ServiceEntry"), (GATEWAY_API, "GatewayClass")}
)


class PolicyTarget(Shape, frozen=True):
    """A Gateway of the Gateway API, or another resource that a proxy of its own stands for."""

    group: str = ""
    kind: str = ""
    name: str = ""
    namespace: Annotated[str, Meta(description="The policy's own, or empty.")] = ""


def check_whom(
    selector: WorkloadSelector | None, one: PolicyTarget | None, several: tuple[PolicyTarget, ...], report: Report
) -> Iterator[Problem]:
    """Check `spec.selector`, `spec.targetRef` and `spec.targetRefs`, of which a policy has one."""
    given = [
        name
        for name, is_given in (
            ("selector", selector is not None and bool(selector.match_labels)),
            ("targetRef", one is not None),
            ("targetRefs", bool(several)),
        )
        if is_given
    ]
    if len(given) > 1:
        message = f"{' and '.join(given)} exclude each other."
        yield report.error(f"spec.{given[-1]}", message, "Keep one of them.")
    if selector is not None:
        yield from check_labels(selector.match_labels, "spec.selector.matchLabels", report)
    if one is not None:
        yield from _target(one, "spec.targetRef", report)
    for index, each in enumerate(several):
        yield from _target(each, f"spec.targetRefs[{index}]", report)


def _target(target: PolicyTarget, field: str, report: Report) -> Iterator[Problem]:
    if not target.kind or not target.name:
        yield report.error(field, "a target needs kind and name.", "Add them.")
        return
    if target.namespace not in {"", report.at.namespace}:
        message = "a policy is for its own namespace only."
        yield report.error(f"{field}.namespace", message, f"Put the policy in {target.namespace}.")
    place = (target.group, target.kind)
    if place in _WAYPOINTS:
        message = f"targets of kind {target.kind} are waypoints, which are not acted on yet."
        yield report.warning(field, message, f"Target a Gateway of {GATEWAY_API}.", codes.NOT_ACTED_ON)
    elif place != (GATEWAY_API, "Gateway"):
        hint = f"Target a Gateway of {GATEWAY_API}, or select workloads by their labels."
        yield report.error(field, f'nothing stands for a {target.kind} of "{target.group}".', hint)
