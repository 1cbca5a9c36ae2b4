"""What must hold of a DestinationRule beyond its shape."""

from collections.abc import Iterator

from weft.api.checks import check_export_to, check_host, check_labels
from weft.api.destination_rule import DestinationRule
from weft.api.report import Report
from weft.api.traffic_policy_checks import check_policy
from weft.base.names import is_dns_label
from weft.base.problem import Problem


def check(rule: DestinationRule, report: Report) -> Iterator[Problem]:
    """Give all that is wrong with a rule, or works otherwise than it looks."""
    spec = rule.spec
    yield from check_host(spec.host, "spec.host", report, wildcard=True)
    yield from check_export_to(spec.export_to, "spec.exportTo", report)
    if spec.traffic_policy is not None:
        yield from check_policy(spec.traffic_policy, "spec.trafficPolicy", report)
    if spec.workload_selector is not None:
        field = "spec.workloadSelector.matchLabels"
        yield from check_labels(spec.workload_selector.match_labels, field, report)
    seen: dict[str, int] = {}
    for index, subset in enumerate(spec.subsets):
        field = f"spec.subsets[{index}]"
        yield from _subset_name(subset.name, f"{field}.name", report)
        first = seen.setdefault(subset.name, index)
        if first != index:
            message = f'"{subset.name}" is already the name of spec.subsets[{first}].'
            yield report.error(f"{field}.name", message, "Give each subset a name of its own.")
        yield from check_labels(subset.labels, f"{field}.labels", report)
        if subset.traffic_policy is not None:
            yield from check_policy(subset.traffic_policy, f"{field}.trafficPolicy", report)


def _subset_name(name: str, field: str, report: Report) -> Iterator[Problem]:
    if not name:
        yield report.error(field, "the subset has no name.", "Name it, for instance v1.")
    elif not is_dns_label(name.lower()):
        hint = "Use letters, digits and dashes, 63 at most."
        yield report.error(field, f'"{name}" cannot be the name of a subset.', hint)
