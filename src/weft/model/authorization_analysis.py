"""What is wrong between AuthorizationPolicies, the workloads that they select, and whom they have asked."""

from collections.abc import Iterable, Iterator
from typing import Final

from weft.api import codes
from weft.api.report import Report
from weft.base.names import nearest
from weft.base.problem import At, Problem
from weft.model.authorization import Action, Attribute, Clause, PolicyRule
from weft.model.clients import Client
from weft.model.external_authorization import Provider, Unanswerable, service_of
from weft.model.kubernetes import Workload
from weft.model.resolution import Directory
from weft.model.services import Labels, Protocol

_PROVIDER: Final = "spec.provider.name"
_BY_HTTP2: Final = frozenset({Protocol.HTTP2, Protocol.GRPC, Protocol.GRPC_WEB})
_OF_BYTES: Final = frozenset({Protocol.TCP, Protocol.TLS, Protocol.HTTPS})
_Served = dict[str, dict[Labels, dict[int, Protocol]]]
"""By the namespace and the labels of workloads: what their ports speak that services lead to."""


def problems(directory: Directory, workloads: Iterable[Workload]) -> Iterator[Problem]:
    """Everything wrong with all policies."""
    rules = directory.authorizations.rules
    if not rules:
        return
    served = _served(directory, workloads)
    for rule in rules:
        yield from policy_problems(rule, directory, served)


def policy_problems(rule: PolicyRule, directory: Directory, served: _Served) -> Iterator[Problem]:
    """What is wrong with one policy, given the rest of the cluster."""
    report = Report(At(kind="AuthorizationPolicy", namespace=rule.namespace, name=rule.name))
    yield from _whom(rule, directory, served, report)
    yield from _namespaces(rule, directory.namespaces, report)
    if rule.action is Action.CUSTOM:
        yield from _asked(rule, directory, served, report)


def _served(directory: Directory, workloads: Iterable[Workload]) -> _Served:
    """All workloads: pods, and what entries stand for."""
    found: _Served = {}
    for pod in workloads:
        found.setdefault(pod.namespace, {})[pod.labels] = {}
    for shared in directory.services.values():
        for registered in shared.all:
            for port, endpoints in zip(registered.service.ports, registered.endpoints, strict=True):
                for each in endpoints:
                    ports = found.setdefault(each.namespace, {}).setdefault(each.labels, {})
                    ports[each.port] = port.protocol
    return found


def _whom(rule: PolicyRule, directory: Directory, served: _Served, report: Report) -> Iterator[Problem]:
    if rule.scope.targeted or next(_concerned(rule, directory, served), None) is not None:
        return
    everywhere = rule.namespace == directory.mesh.root_namespace
    where = "of the mesh" if everywhere else "of this namespace"
    if rule.scope.selector:
        listed = ", ".join(f"{key}={value}" for key, value in rule.scope.selector)
        message = f"no workload {where} has the labels {listed}."
        yield report.warning("spec.selector", message, "Copy them from the pod's labels.", codes.NO_WORKLOADS)
    elif not everywhere:
        message = f"there is no workload {where} yet."
        yield report.info("metadata.namespace", message, "It holds for those to come.", codes.NO_WORKLOADS)


def _concerned(rule: PolicyRule, directory: Directory, served: _Served) -> Iterator[dict[int, Protocol]]:
    """The ports of the workloads that a policy is for."""
    root = directory.mesh.root_namespace
    for namespace in served if rule.namespace == root else (rule.namespace,):
        for labels, ports in served.get(namespace, {}).items():
            if rule.scope.takes(namespace, dict(labels), root):
                yield ports


def _namespaces(rule: PolicyRule, known: frozenset[str], report: Report) -> Iterator[Problem]:
    """Namespaces that there are not: a DENY of such a one denies nobody."""
    for field, written in rule.namespaces if known else ():
        first, star, last = written.partition("*")
        if written in known or (star and any(each.startswith(first) and each.endswith(last) for each in known)):
            continue
        near = nearest(written, known)
        hint = f'Did you mean "{near}"?' if near else "Create it, or mend the name."
        yield report.error(field, f'namespace not found "{written}".', hint, codes.NOT_FOUND)


def _asked(rule: PolicyRule, directory: Directory, served: _Served, report: Report) -> Iterator[Problem]:
    provider = directory.authorizations.answering(rule.provider, rule.namespace, directory.services)
    if isinstance(provider, Unanswerable):
        message = f"{provider.reason}, so what this policy is for is denied."
        yield report.error(_PROVIDER, message, provider.hint, codes.NOT_FOUND)
        return
    yield from _speaks(provider, rule, directory, report)
    if provider.http is None:
        return
    bytes_of = sorted(
        {
            number
            for ports in _concerned(rule, directory, served)
            for number, protocol in ports.items()
            if protocol in _OF_BYTES and any(_reaches(each, number) for each in rule.policy.clauses)
        }
    )
    if bytes_of:
        listed = ", ".join(map(str, bytes_of))
        message = f'provider "{provider.name}" knows requests only: connections to port {listed} are denied.'
        hint = "Confine the rules by ports to those of HTTP, or ask an envoyExtAuthzGrpc provider."
        yield report.warning(_PROVIDER, message, hint)


def _speaks(provider: Provider, rule: PolicyRule, directory: Directory, report: Report) -> Iterator[Problem]:
    """A gRPC provider has to be spoken to in HTTP/2."""
    found = service_of(provider, rule.namespace, directory.services)
    if provider.http is not None or isinstance(found, Unanswerable):
        return
    port = next(each for each in found.service.ports if each.number == provider.port)
    policy = directory.traffic(found.service, Client(rule.namespace)).policy
    if port.protocol in _BY_HTTP2 or (port.protocol.is_http and policy.pool.upgrade_to_http2):
        return
    message = (
        f'provider "{provider.name}" is asked by gRPC, which port {port.number} of its service does not speak.'
    )
    hint = f"Name that port grpc-{port.name or 'authz'}, or set its appProtocol: grpc."
    yield report.error(_PROVIDER, message, hint, codes.PORT_NAME)


def _reaches(clause: Clause, port: int) -> bool:
    """Whether a rule can be for connections to a port, as far as its ports say."""
    groups = clause.operations or ((),)
    return any(
        all(
            (str(port) in {value.value for value in each.values}) != each.negated
            for each in (*group, *clause.rest)
            if each.attribute is Attribute.PORT
        )
        for group in groups
    )
