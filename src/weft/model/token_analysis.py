"""What is wrong between routes by tokens' claims and the gateways that would have to verify the tokens."""

from collections.abc import Iterable, Iterator

from weft.api import codes
from weft.api.report import Report
from weft.base.problem import At, Problem
from weft.model.kubernetes import Workload
from weft.model.resolution import Directory
from weft.model.routing_rule import RoutingRule


def problems(directory: Directory, workloads: Iterable[Workload]) -> Iterator[Problem]:
    """Everything wrong with routes by claims."""
    pods = tuple(workloads)
    for rule in directory.virtual_services.rules:
        yield from claim_problems(rule, directory, pods)


def _asking(rule: RoutingRule) -> Iterator[str]:
    """The routes of a rule that ask for claims, each by its field."""
    for route in rule.routes:
        if any(each.request.claims or each.request.without_claims for each in route.conditions or ()):
            yield route.field


def claim_problems(rule: RoutingRule, directory: Directory, pods: tuple[Workload, ...]) -> Iterator[Problem]:
    """What is wrong with the routes by claims of one rule, given the rest of the cluster."""
    asking = tuple(_asking(rule))
    report = Report(At(kind="VirtualService", namespace=rule.namespace, name=rule.name))
    for path in rule.gateways if asking else ():
        gateway = directory.gateways.by_path.get(path)
        if gateway is None:
            continue
        verifying = directory.request_authentications
        selected = (each for each in pods if set(gateway.selector) <= set(each.labels))
        bare = next((each for each in selected if not verifying.takes(each.namespace, each.labels)), None)
        if bare is None:
            continue
        for field in asking:
            message = f"asks for claims, but pod {bare.pod} of Gateway {path} verifies no tokens: there are none."
            hint = f"Create a RequestAuthentication for that pod, in namespace {bare.namespace}."
            yield report.error(f"{field}.match", message, hint, codes.CLAIMS_WITHOUT_TOKENS)
