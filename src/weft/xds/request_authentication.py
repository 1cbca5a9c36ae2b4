"""Tokens of requests, verified by Envoy's jwt_authn filter: a bad one is answered 401, none at all goes on.

Every token that a request carries has to be good: issuers that share a place (a header, a parameter) are
alternatives, places are demands of their own. Istio's filter lets a request pass with one good token, whatever the
others are. The headers that tell the application of tokens are taken from no client, not even on requests that the
filter lets pass.
"""

from collections.abc import Iterable
from typing import Any, Final

from google.protobuf import empty_pb2

from weft.model.request_authentication import TokenRule
from weft.xds import claims, encode, forged_headers
from weft.xds.proto import base_pb2, http_connection_manager_pb2, jwt_authn_pb2, route_components_pb2

FILTER: Final = claims.METADATA

_DEFAULT_PLACES: Final = frozenset({("header", "authorization"), ("parameter", "access_token")})
_REQUIREMENT: Any = jwt_authn_pb2.JwtRequirement
_PROVIDER: Any = jwt_authn_pb2.JwtProvider


def filters(rules: tuple[TokenRule, ...], *, routed_by_claims: bool = False) -> list[Any]:
    """The HTTP filter that verifies tokens, to stand before all that looks at who asks; none without rules.

    `routed_by_claims`: routes may match on claims, so that they are chosen anew once these are known.
    """
    if not rules:
        return []
    named = {f"origins-{index}": rule for index, rule in enumerate(rules)}
    config = jwt_authn_pb2.JwtAuthentication(
        providers={name: _provider(rule, routed_by_claims=routed_by_claims) for name, rule in named.items()},
        rules=[
            jwt_authn_pb2.RequirementRule(
                match=route_components_pb2.RouteMatch(prefix="/"), requires=_requirement(named)
            )
        ],
        bypass_cors_preflight=True,
    )
    return [http_connection_manager_pb2.HttpFilter(name=FILTER, typed_config=encode.packed(config))]


def believe_no_client(manager: Any, rules: tuple[TokenRule, ...]) -> None:
    """Let a HttpConnectionManager take out first of all what only verified tokens may tell the application."""
    forged = sorted({header for rule in rules for header in _told(rule)} - {place for _, place in _places(rules)})
    if forged:
        forged_headers.take_out(manager, forged, as_variables=True)


def _provider(rule: TokenRule, *, routed_by_claims: bool) -> Any:
    provider = _PROVIDER(
        issuer=rule.issuer,
        audiences=rule.audiences,
        local_jwks=base_pb2.DataSource(inline_string=rule.keys),
        forward=rule.forward,
        from_headers=[jwt_authn_pb2.JwtHeader(name=name, value_prefix=prefix) for name, prefix in rule.headers],
        from_params=rule.params,
        from_cookies=rule.cookies,
        forward_payload_header=rule.payload_header,
        payload_in_metadata=claims.PAYLOAD,
        clear_route_cache=routed_by_claims,
    )
    for header, claim in rule.claim_headers:
        provider.claim_to_headers.append(jwt_authn_pb2.JwtClaimToHeader(header_name=header, claim_name=claim))
    provider.normalize_payload_in_metadata.space_delimited_claims.extend(rule.words)
    return provider


def _requirement(named: dict[str, TokenRule]) -> Any:
    demands = [_alternatives(group) for group in _sharing_places(named)]
    if len(demands) == 1:
        return demands[0]
    return _REQUIREMENT(requires_all=jwt_authn_pb2.JwtRequirementAndList(requirements=demands))


def _alternatives(group: dict[str, TokenRule]) -> Any:
    """One good token of a group, that of a required issuer if there is one; else also none at all."""
    required = [name for name, rule in group.items() if rule.required]
    accepted = [_REQUIREMENT(provider_name=name) for name in required or group]
    if not required:
        accepted.append(_REQUIREMENT(allow_missing=empty_pb2.Empty()))
    if len(accepted) == 1:
        return accepted[0]
    return _REQUIREMENT(requires_any=jwt_authn_pb2.JwtRequirementOrList(requirements=accepted))


def _sharing_places(named: dict[str, TokenRule]) -> list[dict[str, TokenRule]]:
    """The rules in groups of those that look for tokens in a common place."""
    groups: list[dict[str, TokenRule]] = []
    for name, rule in named.items():
        near = [group for group in groups if _places((rule,)) & _places(group.values())]
        groups = [group for group in groups if group not in near]
        groups.append({key: each for group in near for key, each in group.items()} | {name: rule})
    return groups


def _places(rules: Iterable[TokenRule]) -> frozenset[tuple[str, str]]:
    found: set[tuple[str, str]] = set()
    for rule in rules:
        own = {("header", name) for name, _ in rule.headers}
        own |= {("parameter", name) for name in rule.params} | {("cookie", name) for name in rule.cookies}
        found |= own or _DEFAULT_PLACES
    return frozenset(found)


def _told(rule: TokenRule) -> tuple[str, ...]:
    """The headers by which the application is told of a token."""
    payload = (rule.payload_header,) if rule.payload_header else ()
    return (*payload, *(header for header, _ in rule.claim_headers))
