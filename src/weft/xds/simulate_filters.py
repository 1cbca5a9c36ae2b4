"""What the filters before the router make of a request, in their order: tokens, policies, and whom these ask."""

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from weft.xds import claims, simulate_ext_authz, simulate_rbac
from weft.xds.authorization import HTTP_RBAC
from weft.xds.external_authorization import HTTP_FILTER as EXT_AUTHZ
from weft.xds.proto import ext_authz_pb2, http_rbac_pb2, jwt_authn_pb2
from weft.xds.simulate_match import Request
from weft.xds.simulate_rbac import Metadata, Names
from weft.xds.simulate_tokens import early, verified


@dataclass(frozen=True, slots=True)
class Filtered:
    """The request as it goes on; with `status`, a filter answers it.

    `routed` is the request as routes are chosen by. `denied`, `tried` and `asked` are those of `Outcome`.
    `to_client` are headers of the answer.
    """

    request: Request
    routed: Request
    status: int = 0
    body: bytes = b""
    denied: str = ""
    tried: tuple[tuple[str, bool], ...] = ()
    asked: tuple[str, ...] = ()
    to_client: tuple[tuple[str, str], ...] = ()


def filtered(manager: Any, request: Request, peer: Names) -> Filtered:
    """Follow a request of `peer` through the filters of a HttpConnectionManager."""
    request = early(manager, request)
    found, metadata = Filtered(request, request), _metadata(request)
    for each in manager.http_filters:
        packed = each.typed_config.value
        if each.name == claims.METADATA:
            found = _of_tokens(jwt_authn_pb2.JwtAuthentication.FromString(packed), found)
            metadata |= _metadata(found.request)
        elif each.name == HTTP_RBAC:
            known = simulate_rbac.Known(manager, found.request, peer, metadata)
            verdict = simulate_rbac.of_request(http_rbac_pb2.RBAC.FromString(packed), known)
            metadata[HTTP_RBAC] = metadata.get(HTTP_RBAC, {}) | verdict.metadata
            found = replace(found, denied=verdict.denied, tried=(*found.tried, *verdict.tried))
            if verdict.denied:
                found = replace(found, status=403, body=simulate_rbac.BODY)
        elif each.name == EXT_AUTHZ:
            found = _of_provider(ext_authz_pb2.ExtAuthz.FromString(packed), found, metadata)
        if found.status:
            return found
    return found


def _metadata(request: Request) -> Metadata:
    return {claims.METADATA: {claims.PAYLOAD: json.loads(request.claims)}} if request.claims else {}


def _of_tokens(config: Any, found: Filtered) -> Filtered:
    known = verified(config, found.request)
    # a good token has the route chosen anew
    routed = found.routed if known.request == found.request else known.request
    return replace(found, request=known.request, routed=routed, status=known.status, body=known.body)


def _of_provider(config: Any, found: Filtered, metadata: Metadata) -> Filtered:
    """What the provider says, if it is asked."""
    by = simulate_ext_authz.asked_by(config, metadata)
    if not by:
        return found
    cluster = simulate_ext_authz.cluster_of(config)
    said = simulate_ext_authz.answer(cluster, found.request)
    found = replace(found, asked=(*found.asked, cluster))
    if not said.status:
        if config.failure_mode_allow:
            return found
        return replace(found, status=config.status_on_error.code or 403, denied=by)
    if said.status != 200:
        told = simulate_ext_authz.passed_on(config, said, "allowed_client_headers")
        return replace(found, status=said.status, body=said.body, denied=by, to_client=(*found.to_client, *told))
    more = simulate_ext_authz.passed_on(config, said, "allowed_upstream_headers")
    request = replace(found.request, headers=_with(found.request.headers, more))
    told = simulate_ext_authz.passed_on(config, said, "allowed_client_headers_on_success")
    return replace(
        found,
        request=request,
        routed=request if config.clear_route_cache else found.routed,
        to_client=(*found.to_client, *told),
    )


def _with(headers: Iterable[tuple[str, str]], more: Iterable[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    replaced = dict(more)
    return (*(pair for pair in headers if pair[0] not in replaced), *replaced.items())
