"""Who may call a workload, as Envoy's own RBAC filters decide it (envoy.config.rbac.v3).

One filter for each group of policies, in Istio's order: AUDIT, DENY, ALLOW. A request passes all of them. Before
these come the providers of CUSTOM policies (`xds.external_authorization`).
"""

from collections.abc import Iterable, Iterator
from ipaddress import ip_network
from typing import Any, Final

from weft.model.authorization import (
    All,
    Attribute,
    Authorization,
    Clause,
    Condition,
    Policy,
    Text,
    Way,
)
from weft.xds import claims, listeners_http
from weft.xds.proto import (
    address_pb2,
    http_rbac_pb2,
    metadata_pb2,
    network_rbac_pb2,
    path_matcher_pb2,
    rbac_pb2,
    route_components_pb2,
    string_pb2,
)

HTTP_RBAC: Final = "envoy.filters.http.rbac"
NETWORK_RBAC: Final = "envoy.filters.network.rbac"
DRY_RUN_ALLOW: Final = "istio_dry_run_allow_"
DRY_RUN_DENY: Final = "istio_dry_run_deny_"

_RBAC: Any = rbac_pb2.RBAC
_POLICY: Any = rbac_pb2.Policy
_PERMISSION: Any = rbac_pb2.Permission
_PRINCIPAL: Any = rbac_pb2.Principal
# fits nothing, and yet tells whoever looks that the policy is there
_NEVER: Final = _POLICY(
    permissions=[_PERMISSION(not_rule=_PERMISSION(any=True))], principals=[_PRINCIPAL(not_id=_PRINCIPAL(any=True))]
)
_OF_OPERATION: Final = frozenset(
    {
        Attribute.HOST,
        Attribute.METHOD,
        Attribute.PATH,
        Attribute.PORT,
        Attribute.DESTINATION_IP,
        Attribute.SERVER_NAME,
    }
)
"""What Envoy counts among permissions; all else is of the principal."""


def request_filters(authorization: Authorization | None) -> list[Any]:
    """The HTTP filters; none where there are no policies."""
    return [
        listeners_http.http_filter(HTTP_RBAC, http_rbac_pb2.RBAC(**rules))
        for rules in _groups(authorization, requests=True)
    ]


def connection_filters(authorization: Authorization | None) -> list[Any]:
    """The network filters for connections of bytes; none where there are no policies."""
    return [
        listeners_http.network_filter(NETWORK_RBAC, network_rbac_pb2.RBAC(stat_prefix="tcp.", **rules))
        for rules in _groups(authorization, requests=False)
    ]


def closed(reason: str) -> Any:
    """The network filter that closes every connection; the log tells the reason."""
    everything = _POLICY(permissions=[_PERMISSION(any=True)], principals=[_PRINCIPAL(any=True)])
    rules = _RBAC(action=_RBAC.DENY, policies={reason: everything})
    return listeners_http.network_filter(NETWORK_RBAC, network_rbac_pb2.RBAC(stat_prefix="tcp.", rules=rules))


def _groups(authorization: Authorization | None, *, requests: bool) -> Iterator[dict[str, Any]]:
    if authorization is None:
        return
    for policies, action, prefix in (
        (authorization.audit, _RBAC.LOG, ""),
        (authorization.deny, _RBAC.DENY, DRY_RUN_DENY),
        (authorization.allow, _RBAC.ALLOW, DRY_RUN_ALLOW),
    ):
        rules: dict[str, Any] = {}
        enforced = [each for each in policies if not each.dry_run]
        tried = [each for each in policies if each.dry_run]
        if enforced:
            rules["rules"] = rules_of(enforced, action, requests=requests)
        if tried and prefix:
            rules["shadow_rules"] = rules_of(tried, action, requests=requests)
            rules["shadow_rules_stat_prefix"] = prefix
        if rules:
            yield rules


def rules_of(
    policies: Iterable[Policy], action: int, *, requests: bool, before: str = "", behind: str = ""
) -> Any:
    """The RBAC of policies that all do the same; `before` and `behind` are parts of their rules' names."""
    made = _RBAC(action=action)
    for policy in policies:
        if not policy.clauses:
            made.policies[f"{before}{_name(policy, 0)}{behind}"].CopyFrom(_NEVER)
        for index, clause in enumerate(policy.clauses):
            kept = clause if requests else _of_connections(clause, only_whole=action == _RBAC.ALLOW)
            if kept is not None:
                made.policies[f"{before}{_name(policy, index)}{behind}"].CopyFrom(_policy(kept))
    return made


def _name(policy: Policy, rule: int) -> str:
    """Istio's name of a rule: access logs tell it as what denied a request."""
    return f"ns[{policy.namespace}]-policy[{policy.name}]-rule[{rule}]"


def _of_connections(clause: Clause, *, only_whole: bool) -> Clause | None:
    """What is left of a rule for bytes, which have no methods, paths and the like.

    A rule that allows is dropped as a whole, one that denies goes on without these: never is more allowed than was
    meant (Istio, "TCP protocol" of the policy's fields).
    """
    groups = (*clause.senders, *clause.operations, clause.rest)
    if not any(each.attribute.of_request for group in groups for each in group):
        return clause
    if only_whole:
        return None

    def left(conditions: All) -> All:
        return tuple(each for each in conditions if not each.attribute.of_request)

    return Clause(tuple(map(left, clause.senders)), tuple(map(left, clause.operations)), left(clause.rest))


def _policy(clause: Clause) -> Any:
    rest_of_operation = [each for each in clause.rest if each.attribute in _OF_OPERATION]
    rest_of_sender = [each for each in clause.rest if each.attribute not in _OF_OPERATION]
    return _POLICY(
        permissions=[_permissions((*each, *rest_of_operation)) for each in clause.operations or ((),)],
        principals=[_principals((*each, *rest_of_sender)) for each in clause.senders or ((),)],
    )


def _permissions(conditions: All) -> Any:
    if not conditions:
        return _PERMISSION(any=True)
    return _PERMISSION(and_rules=_PERMISSION.Set(rules=[_permission(each) for each in conditions]))


def _principals(conditions: All) -> Any:
    if not conditions:
        return _PRINCIPAL(any=True)
    return _PRINCIPAL(and_ids=_PRINCIPAL.Set(ids=[_principal(each) for each in conditions]))


def _permission(condition: Condition) -> Any:
    values = [_one_permission(condition.attribute, each) for each in condition.values]
    found = values[0] if len(values) == 1 else _PERMISSION(or_rules=_PERMISSION.Set(rules=values))
    return _PERMISSION(not_rule=found) if condition.negated else found


def _one_permission(attribute: Attribute, value: Text) -> Any:
    match attribute:
        case Attribute.HOST:
            return _PERMISSION(header=_header(":authority", value))
        case Attribute.METHOD:
            return _PERMISSION(header=_header(":method", value))
        case Attribute.PATH:
            return _PERMISSION(url_path=path_matcher_pb2.PathMatcher(path=_string(value)))
        case Attribute.PORT:
            return _PERMISSION(destination_port=int(value.value))
        case Attribute.DESTINATION_IP:
            return _PERMISSION(destination_ip=_block(value.value))
        case _:
            return _PERMISSION(requested_server_name=_string(value))


def _principal(condition: Condition) -> Any:
    values = [each for value in condition.values for each in _one_principal(condition, value)]
    found = values[0] if len(values) == 1 else _PRINCIPAL(or_ids=_PRINCIPAL.Set(ids=values))
    return _PRINCIPAL(not_id=found) if condition.negated else found


def _one_principal(condition: Condition, value: Text) -> Iterator[Any]:
    match condition.attribute:
        case Attribute.IDENTITY:
            yield _PRINCIPAL(authenticated=_PRINCIPAL.Authenticated(principal_name=_string(value)))
        case Attribute.SOURCE_IP:
            yield _PRINCIPAL(direct_remote_ip=_block(value.value))
        case Attribute.REMOTE_IP:
            yield _PRINCIPAL(remote_ip=_block(value.value))
        case Attribute.HEADER:
            yield _PRINCIPAL(header=_header(condition.name[0], value))
        case Attribute.SUBJECT:
            for issuer, subject in _token_principals(value):
                both = [_claim(("iss",), issuer), _claim(("sub",), subject)]
                yield _PRINCIPAL(and_ids=_PRINCIPAL.Set(ids=both))
        case Attribute.CLAIM:
            yield _claim(condition.name, value)
        case _:
            first, *path = condition.name
            segments = [metadata_pb2.MetadataMatcher.PathSegment(key=each) for each in path]
            matched = claims.text_or_entry(_string(value))
            yield _PRINCIPAL(metadata=metadata_pb2.MetadataMatcher(filter=first, path=segments, value=matched))


def _claim(path: tuple[str, ...], value: Text) -> Any:
    matched = claims.text_or_entry(_string(value))
    return _PRINCIPAL(metadata=claims.claim(path, matched))


def _token_principals(value: Text) -> Iterator[tuple[Text, Text]]:
    """Issuer and subject of a principal `ISSUER/SUBJECT`; issuers have slashes too: any may be the one."""
    anything = Text(Way.PRESENT)
    written = value.value
    if value.way is Way.PRESENT:
        yield anything, anything
        return
    if value.way is Way.PREFIX:
        yield (Text(Way.PREFIX, written), anything)
    if value.way is Way.SUFFIX:
        yield (anything, Text(Way.SUFFIX, written))
    for position, character in enumerate(written):
        if character == "/":
            before, behind = written[:position], written[position + 1 :]
            issuer, subject = Text(Way.EXACT, before), Text(Way.EXACT, behind)
            if value.way is Way.SUFFIX:
                issuer = Text(Way.SUFFIX, before) if before else anything
            if value.way is Way.PREFIX:
                subject = Text(Way.PREFIX, behind) if behind else anything
            yield issuer, subject


def _header(name: str, value: Text) -> Any:
    if value.way is Way.PRESENT:
        return route_components_pb2.HeaderMatcher(name=name, present_match=True)
    return route_components_pb2.HeaderMatcher(name=name, string_match=_string(value))


def _string(value: Text) -> Any:
    match value.way:
        case Way.REGEX:
            matcher = string_pb2.StringMatcher()
            matcher.safe_regex.regex = value.value
            return matcher
        case Way.PRESENT:
            matcher = string_pb2.StringMatcher()
            matcher.safe_regex.regex = ".+"
            return matcher
        case way:
            return string_pb2.StringMatcher(**{way.value: value.value})


def _block(value: str) -> Any:
    network = ip_network(value)
    block = address_pb2.CidrRange(address_prefix=str(network.network_address))
    block.prefix_len.value = network.prefixlen
    return block
