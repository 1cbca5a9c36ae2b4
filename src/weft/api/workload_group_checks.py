"""What must hold of a WorkloadGroup beyond its shape."""

from collections.abc import Iterator
from typing import Final

from weft.api.checks import check_labels
from weft.api.report import Report
from weft.api.workload_entry_checks import check_rest
from weft.api.workload_group import Probe, WorkloadGroup
from weft.base.names import is_header_name
from weft.base.problem import Problem

_KINDS: Final = {"httpGet": "http_get", "tcpSocket": "tcp_socket", "exec": "exec", "grpc": "grpc"}


def check(group: WorkloadGroup, report: Report) -> Iterator[Problem]:
    """Give all that is wrong with a group, or works otherwise than it looks."""
    spec = group.spec
    if spec.template.address:
        hint = "Take it out: each workload registers under its own address."
        yield report.warning("spec.template.address", "has no effect.", hint)
    yield from check_rest(spec.template, "spec.template", report)
    if spec.metadata is not None:
        yield from check_labels(spec.metadata.labels, "spec.metadata.labels", report)
    if spec.probe is not None:
        yield from _probe(spec.probe, report)


def _probe(probe: Probe, report: Report) -> Iterator[Problem]:
    given = [name for name, attribute in _KINDS.items() if getattr(probe, attribute) is not None]
    if len(given) != 1:
        message = f"{' and '.join(given)} exclude each other." if given else "says not how to probe."
        yield report.error("spec.probe", message, f"Write one of {', '.join(_KINDS)}.")
    if probe.exec is not None and not probe.exec.command:
        yield report.error("spec.probe.exec.command", "the command is empty.", "Write its words as a list.")
    if probe.http_get is not None:
        if not probe.http_get.path.startswith("/"):
            hint = f"Write /{probe.http_get.path}."
            yield report.error("spec.probe.httpGet.path", "does not begin with a slash.", hint)
        for index, header in enumerate(probe.http_get.http_headers):
            if not is_header_name(header.name):
                field = f"spec.probe.httpGet.httpHeaders[{index}].name"
                message = f'"{header.name}" cannot be the name of a header.'
                yield report.error(field, message, "Use letters, digits and dashes.")
