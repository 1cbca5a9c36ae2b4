"""The validating webhook's answer (AdmissionReview, admission.k8s.io/v1): refuse the invalid, warn of the rest.

Objects come in any order, so a missing host or subset is a warning here; only an object that is wrong in itself is
refused.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, Final

from weft.api.authorization_policy import AuthorizationPolicy
from weft.api.decode import check, decode
from weft.api.destination_rule import DestinationRule
from weft.api.gateway import Gateway
from weft.api.peer_authentication import PeerAuthentication
from weft.api.resources import RESOURCES
from weft.api.service_entry import ServiceEntry
from weft.api.shape import Resource
from weft.api.sidecar import Sidecar
from weft.api.virtual_service import VirtualService
from weft.base.problem import Problem, Severity
from weft.model import analysis, authorization_analysis
from weft.model.authorization import Authorizations, policy_rule
from weft.model.destination_rules import DestinationRules, traffic_rule
from weft.model.gateway_analysis import Surroundings, gateway_problems
from weft.model.gateways import Gateways, gateway
from weft.model.peer_analysis import peer_problems
from weft.model.peer_authentications import PeerAuthentications, peer_rule
from weft.model.routing_rule import routing_rule
from weft.model.service_entries import entry_rule, hidden
from weft.model.sidecar_analysis import sidecar_problems
from weft.model.sidecars import Sidecars, sidecar_rule
from weft.model.snapshot import Snapshot
from weft.model.token_analysis import claim_problems
from weft.model.virtual_services import VirtualServices

# Kubernetes cuts warnings that are longer, and drops them all beyond 4096 characters
_MAX_WARNING: Final = 250
_MAX_WARNINGS: Final = 16


def review(admission_review: Mapping[str, Any], snapshot: Snapshot) -> dict[str, Any]:
    """Answer one AdmissionReview. Deletions pass; so do kinds that are none of the mesh's."""
    request = admission_review.get("request") or {}
    obj = request.get("object")
    found: tuple[Problem, ...] = ()
    warnings: list[str] = []
    if isinstance(obj, Mapping) and request.get("operation") != "DELETE":
        kind = str((request.get("kind") or {}).get("kind") or obj.get("kind") or "")
        if kind in RESOURCES:
            found = _problems(RESOURCES[kind].shape, _placed(obj, request), snapshot)
        elif _is_istio(request):
            warnings.append(f"{kind} is stored, but not acted on yet.")
    errors = [each for each in found if each.severity is Severity.ERROR]
    # Info is for weft analyze: nobody is to be disturbed at kubectl apply
    warnings += [_line(each) for each in found if each.severity is Severity.WARNING]
    response: dict[str, Any] = {"uid": request.get("uid", ""), "allowed": not errors}
    if errors:
        message = "\n".join(_line(each) for each in errors)
        response["status"] = {"status": "Failure", "message": message, "reason": "Invalid", "code": 422}
    if warnings:
        response["warnings"] = _shortened(warnings)
    version = admission_review.get("apiVersion") or "admission.k8s.io/v1"
    return {"apiVersion": version, "kind": "AdmissionReview", "response": response}


def _problems(shape: type[Resource], obj: Mapping[str, Any], snapshot: Snapshot) -> tuple[Problem, ...]:
    decoded = decode(shape, obj)
    if isinstance(decoded, tuple):
        return decoded
    between = (replace(each, severity=Severity.WARNING) for each in _between(decoded, snapshot))
    return analysis.ordered((*check(decoded), *between))


def _between(source: Resource, snapshot: Snapshot) -> tuple[Problem, ...]:
    """What is wrong between this object and the cluster, with the object already in its place."""
    directory, domain = snapshot.directory, snapshot.domain
    match source:
        case VirtualService():
            rule = routing_rule(source, domain)
            others = (each for each in directory.virtual_services.rules if each.full_name != rule.full_name)
            with_rule = replace(directory, virtual_services=VirtualServices((*others, rule)))
            claims = claim_problems(rule, with_rule, tuple(snapshot.workloads.values()))
            return (*analysis.routing_problems(rule, with_rule), *claims)
        case DestinationRule():
            policy = traffic_rule(source, domain)
            rules = directory.destination_rules
            rest = (each for each in rules.rules if each.full_name != policy.full_name)
            with_policy = DestinationRules((*rest, policy), rules.mesh)
            return analysis.traffic_problems(policy, replace(directory, destination_rules=with_policy))
        case Gateway():
            made = gateway(source, domain)
            known = (each for each in directory.gateways.rules if each.path != made.path)
            around = Surroundings(
                Gateways((*known, made)), tuple(snapshot.workloads.values()), directory.services.values()
            )
            return tuple(gateway_problems(made, around))
        case Sidecar():
            scope = sidecar_rule(source, domain)
            rest_of = (each for each in directory.sidecars.rules if each.full_name != scope.full_name)
            sidecars = Sidecars((*rest_of, scope), snapshot.mesh.root_namespace)
            pods = tuple(snapshot.workloads.values())
            return tuple(sidecar_problems(scope, replace(directory, sidecars=sidecars), pods))
        case AuthorizationPolicy():
            alone = Authorizations((policy_rule(source, domain),), snapshot.mesh)
            pods = tuple(snapshot.workloads.values())
            return tuple(authorization_analysis.problems(replace(directory, authorizations=alone), pods))
        case PeerAuthentication():
            asked = peer_rule(source, domain)
            peers = directory.peer_authentications
            besides = (each for each in peers.rules if each.full_name != asked.full_name)
            with_peer = replace(directory, peer_authentications=PeerAuthentications((*besides, asked), peers.root))
            return tuple(peer_problems(asked, with_peer, tuple(snapshot.workloads.values())))
        case ServiceEntry():
            made_of = entry_rule(source, snapshot.mesh.trust_domain)
            taken = (each for each in made_of.hosts if each in directory.services)
            return tuple(
                analysis.entry_problem(hidden(made_of, host))
                for host in taken
                if directory.services[host].service.kubernetes
            )
        case _:
            return ()


def _placed(obj: Mapping[str, Any], request: Mapping[str, Any]) -> Mapping[str, Any]:
    """The object with the namespace and name that the request has for it, if it has none of its own."""
    meta = obj.get("metadata")
    if not isinstance(meta, Mapping):
        return obj
    given = {key: request[key] for key in ("namespace", "name") if request.get(key) and not meta.get(key)}
    # an object without a time stamp is about to be made: it is the youngest
    stamp = {"creationTimestamp": meta.get("creationTimestamp") or "9999"}
    return {**obj, "metadata": {**meta, **given, **stamp}}


def _is_istio(request: Mapping[str, Any]) -> bool:
    group = str((request.get("kind") or {}).get("group") or "")
    return group.endswith(".istio.io")


def _line(problem: Problem) -> str:
    place = f"{problem.at.field}: " if problem.at.field else ""
    return f"{place}{problem.message} {problem.hint} [{problem.code}]".replace("  ", " ")


def _shortened(warnings: Iterable[str]) -> list[str]:
    listed = [each if len(each) <= _MAX_WARNING else f"{each[:_MAX_WARNING]}…" for each in warnings]
    if len(listed) <= _MAX_WARNINGS:
        return listed
    return [*listed[: _MAX_WARNINGS - 1], f"and {len(listed) - _MAX_WARNINGS + 1} more: see weft analyze."]
