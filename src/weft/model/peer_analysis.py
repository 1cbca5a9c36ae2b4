"""What is wrong between PeerAuthentications, the workloads that they select, and the rules of their callers."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from weft.api import codes
from weft.api.report import Report
from weft.base.problem import At, Problem
from weft.model.client_tls import TlsMode
from weft.model.destination_rules import TrafficRule
from weft.model.kubernetes import Workload
from weft.model.peer_authentications import PeerAuthentications, PeerMode, PeerRule
from weft.model.registered import Registered
from weft.model.resolution import Directory
from weft.model.services import Endpoint, Labels, ServicePort
from weft.model.traffic import TrafficPolicy


def problems(directory: Directory, workloads: Iterable[Workload]) -> Iterator[Problem]:
    """Everything wrong with all PeerAuthentications."""
    pods = tuple(workloads)
    for rule in directory.peer_authentications.rules:
        yield from peer_problems(rule, directory, pods)


def peer_problems(rule: PeerRule, directory: Directory, pods: tuple[Workload, ...]) -> Iterator[Problem]:
    """What is wrong with one PeerAuthentication, given the rest of the cluster."""
    report = Report(At(kind="PeerAuthentication", namespace=rule.namespace, name=rule.name))
    peers = directory.peer_authentications
    if rule.selector is None:
        first = peers.default(rule.namespace)
        if first is not None and first.full_name != rule.full_name:
            message = f"has no effect: PeerAuthentication {first.full_name} is older and has no selector either."
            yield report.warning("spec", message, "Keep one of them, or merge the two.", codes.SHADOWED)
    elif rule.namespace == peers.root:
        message = "has no effect: in the root namespace only a policy without a selector counts, as in Istio."
        hint = "Put it into the workload's namespace, or take the selector out."
        yield report.warning("spec.selector", message, hint, codes.NOT_ACTED_ON)
    else:
        yield from _selected(rule, rule.selector, directory, pods, report)


def _selected(
    rule: PeerRule, selector: Labels, directory: Directory, pods: tuple[Workload, ...], report: Report
) -> Iterator[Problem]:
    wanted = set(selector)
    endpoints = [
        (registered, port, each)
        for shared in directory.services.values()
        for registered in shared.all
        for port, found in zip(registered.service.ports, registered.endpoints, strict=True)
        for each in found
        if each.namespace == rule.namespace and wanted <= set(each.labels)
    ]
    known = [each.labels for each in pods if each.namespace == rule.namespace and wanted <= set(each.labels)]
    known += [each.labels for _, _, each in endpoints]
    if not known:
        listed = ", ".join(f"{key}={value}" for key, value in selector)
        message = f"no workload of this namespace has the labels {listed}."
        yield report.warning("spec.selector", message, "Copy them from the pod's labels.", codes.NO_WORKLOADS)
    older = next((other for each in known if (other := _other(rule, each, directory.peer_authentications))), None)
    if older is not None:
        message = f"PeerAuthentication {older.full_name} is older and selects the same workloads; it wins."
        yield report.warning("spec.selector", message, "Keep one of them, or merge the two.", codes.SHADOWED)
    yield from _ports(rule, endpoints, report)


def _other(rule: PeerRule, labels: Labels, peers: PeerAuthentications) -> PeerRule | None:
    """The rule that a workload which this one selects has in its place."""
    found = peers.in_force(rule.namespace, labels)[-1]
    return found if found.full_name != rule.full_name else None


def _ports(
    rule: PeerRule, endpoints: list[tuple[Registered, ServicePort, Endpoint]], report: Report
) -> Iterator[Problem]:
    """Ports that are a Service's and not the workload's: the policy asks about the latter."""
    own = {each.port for _, _, each in endpoints}
    for number, _ in rule.ports:
        meant = next(((r, each.port) for r, port, each in endpoints if port.number == number), None)
        if number not in own and meant is not None:
            registered, target = meant
            message = f'{number} is the port of "{registered.service.hostname}"; the workload\'s own is {target}.'
            yield report.warning(f"spec.portLevelMtls.{number}", message, f"Write {target}.")


_MESH_OR_NOT: Final = frozenset({TlsMode.DISABLE, TlsMode.SIMPLE, TlsMode.ISTIO_MUTUAL})
"""What a policy may refuse for certain. MUTUAL with files may well show the mesh's own certificate."""


@dataclass(frozen=True, slots=True)
class _Asked:
    """What a DestinationRule has clients speak to some endpoints of a port, and the field that says so."""

    field: str
    policy: TrafficPolicy
    labels: Labels = ()


def client_conflicts(
    rule: TrafficRule, services: Iterable[Registered], peers: PeerAuthentications
) -> Iterator[Problem]:
    """Where a DestinationRule has clients speak what the workloads behind its host refuse."""
    report = Report(At(kind="DestinationRule", namespace=rule.namespace, name=rule.name))
    told: set[tuple[str, str]] = set()
    for registered in services if peers.rules else ():
        for port, endpoints in zip(registered.service.ports, registered.endpoints, strict=True):
            for asked in _asked(rule, port.number):
                if asked.policy.tls.mode not in _MESH_OR_NOT:
                    continue
                found = (_refusing(asked, each, peers) for each in endpoints)
                refusing = next((each for each in found if each is not None), None)
                if refusing is None or (asked.field, refusing.full_name) in told:
                    continue
                told.add((asked.field, refusing.full_name))
                yield _conflict(asked, registered, port, refusing, report)


def _asked(rule: TrafficRule, port: int) -> Iterator[_Asked]:
    whole = TrafficPolicy() if rule.policy is None else rule.policy
    own = dict(rule.ports).get(port, whole)
    outer = "spec.trafficPolicy"
    yield _Asked(f"{outer}.tls" if own.tls == whole.tls else f"{outer}.portLevelSettings", own)
    for index, subset in enumerate(rule.subsets):
        policy = subset.at(port)
        # what a subset inherits is told of where it is written
        if policy.tls != own.tls:
            place = "tls" if policy.tls == subset.policy.tls else "portLevelSettings"
            yield _Asked(f"spec.subsets[{index}].trafficPolicy.{place}", policy, subset.labels)


def _refusing(asked: _Asked, endpoint: Endpoint, peers: PeerAuthentications) -> PeerRule | None:
    """The policy by which an endpoint refuses what clients are to speak."""
    if not set(asked.labels) <= set(endpoint.labels):
        return None
    mode = peers.modes(endpoint.namespace, endpoint.labels).at(endpoint.port)
    if asked.policy.tls.mode is TlsMode.ISTIO_MUTUAL:
        refused = mode is PeerMode.DISABLE
    else:
        # without a sidecar nobody is there to refuse plaintext
        refused = mode is PeerMode.STRICT and endpoint.mutual_tls
    return peers.deciding(endpoint.namespace, endpoint.labels, endpoint.port) if refused else None


def _conflict(asked: _Asked, to: Registered, port: ServicePort, by: PeerRule, report: Report) -> Problem:
    mode = asked.policy.tls.mode
    takes = "plaintext" if mode is TlsMode.ISTIO_MUTUAL else "the mesh's mTLS"
    message = (
        f'{mode} fails at "{to.service.hostname}" port {port.number}: '
        f"by PeerAuthentication {by.full_name} it takes {takes} only."
    )
    hint = "Take tls out: clients then speak what each workload takes."
    return report.error(asked.field, message, hint, codes.TLS_CONFLICT)
