"""What must hold of a PeerAuthentication beyond its shape."""

from collections.abc import Iterator
from typing import Final

from weft.api.checks import check_labels
from weft.api.peer_authentication import PeerAuthentication
from weft.api.report import Report
from weft.base.problem import Problem

_LAST_PORT: Final = 65535


def check(policy: PeerAuthentication, report: Report) -> Iterator[Problem]:
    """Give all that is wrong with it."""
    spec = policy.spec
    labels = spec.selector.match_labels if spec.selector is not None else {}
    yield from check_labels(labels, "spec.selector.matchLabels", report)
    if spec.port_level_mtls is None:
        return
    field = "spec.portLevelMtls"
    if not labels:
        hint = "Add spec.selector.matchLabels, or take the ports out."
        yield report.error(field, "ports are the business of single workloads, and none are selected.", hint)
    if not spec.port_level_mtls:
        yield report.error(field, "names no port.", "Name a port of the workload, or take it out.")
    for port in spec.port_level_mtls:
        if not (port.isascii() and port.isdigit() and 1 <= int(port) <= _LAST_PORT):
            hint = "Write the number of a port of the workload, 1 to 65535."
            yield report.error(f"{field}.{port}", f'"{port}" is not a port.', hint)
