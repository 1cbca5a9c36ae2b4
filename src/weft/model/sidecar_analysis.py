"""What is wrong between Sidecars, the pods that they select, and the services that they name."""

from collections.abc import Iterable, Iterator

from weft.api import codes
from weft.api.report import Report
from weft.base.problem import At, Problem
from weft.model.clients import Client
from weft.model.kubernetes import Workload
from weft.model.peer_authentications import PeerAuthentications, PeerMode
from weft.model.resolution import Directory, host_hint
from weft.model.sidecars import SidecarRule, Sidecars


def problems(directory: Directory, workloads: Iterable[Workload]) -> Iterator[Problem]:
    """Everything wrong with all Sidecars."""
    pods = tuple(workloads)
    for rule in directory.sidecars.rules:
        yield from sidecar_problems(rule, directory, pods)


def sidecar_problems(rule: SidecarRule, directory: Directory, pods: tuple[Workload, ...]) -> Iterator[Problem]:
    """What is wrong with one Sidecar, given the rest of the cluster."""
    report = Report(At(kind="Sidecar", namespace=rule.namespace, name=rule.name))
    yield from _rivals(rule, directory.sidecars, pods, report)
    yield from _own_tls(rule, directory.peer_authentications, report)
    proxy = rule.unlisted.proxy if rule.unlisted else None
    if proxy is not None and directory.service(proxy.host, rule.namespace) is None:
        hint = host_hint(proxy.host, Client(rule.namespace), directory)
        message = f'host not found "{proxy.host}", so unknown hosts are not reached at all.'
        yield report.error("spec.outboundTrafficPolicy.egressProxy.host", message, hint, codes.NOT_FOUND)


def _own_tls(rule: SidecarRule, peers: PeerAuthentications, report: Report) -> Iterator[Problem]:
    """Certificates of ports that show themselves to nobody."""
    for index, each in enumerate(rule.ingress):
        labels = rule.selector or ()
        if each.tls is None or peers.modes(rule.namespace, labels).at(each.port) is not PeerMode.STRICT:
            continue
        decided = peers.deciding(rule.namespace, labels, each.port)
        by = f"by PeerAuthentication {decided.full_name} the port " if decided else "the port "
        message = f"has no effect: {by}takes the mesh's mTLS only."
        hint = "Let a PeerAuthentication DISABLE that port, or make it PERMISSIVE."
        yield report.warning(f"spec.ingress[{index}].tls", message, hint, codes.SHADOWED)


def _rivals(
    rule: SidecarRule, sidecars: Sidecars, pods: tuple[Workload, ...], report: Report
) -> Iterator[Problem]:
    field, hint = "spec.workloadSelector", "Keep one of them, or merge the two."
    if rule.selector is None:
        first = sidecars.default(rule.namespace)
        if first is not None and first.full_name != rule.full_name:
            message = f"has no effect: Sidecar {first.full_name} is older and has no selector either."
            yield report.error(field, message, hint, codes.SECOND_DEFAULT)
        return
    for older in sidecars.selecting(rule.namespace):
        if older.precedence >= rule.precedence:
            return
        wanted = set(older.selector or ()) | set(rule.selector)
        both = next(
            (each for each in pods if each.namespace == rule.namespace and wanted <= set(each.labels)), None
        )
        if both is not None or older.selector == rule.selector:
            whom = f"pod {both.pod}" if both else "the same pods"
            message = f"Sidecar {older.full_name} is older and selects {whom} too; it wins."
            yield report.error(field, message, hint, codes.SAME_SELECTOR)
            return
