"""Providers that decide, asked by Envoy's ext_authz filters, for what CUSTOM policies are for and nothing else.

For each provider there are two filters: RBAC, whose shadow rules are those of the policies and which denies
nothing, and ext_authz, which only asks where these fit. Each pair has a key of its own in the metadata between
them, so that no provider is asked, or passed over, by the policies of another. What nobody can be asked about is
denied.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Any, Final

from weft.model.authorization import Authorization, Inquiry
from weft.model.external_authorization import OverHttp, Provider
from weft.xds import encode, listeners_http, names
from weft.xds.authorization import HTTP_RBAC, NETWORK_RBAC, rules_of
from weft.xds.proto import (
    base_pb2,
    config_source_pb2,
    ext_authz_pb2,
    grpc_service_pb2,
    http_rbac_pb2,
    http_status_pb2,
    http_uri_pb2,
    metadata_pb2,
    network_ext_authz_pb2,
    network_rbac_pb2,
    rbac_pb2,
    string_pb2,
    value_matcher_pb2,
)

HTTP_FILTER: Final = "envoy.filters.http.ext_authz"
NETWORK_FILTER: Final = "envoy.filters.network.ext_authz"
DRY_RUN: Final = "istio_dry_run_"
"""How the prefixes of statistics begin that only count."""
DRY_RUN_CUSTOM: Final = f"{DRY_RUN}custom_"
POLICY_ID: Final = "shadow_effective_policy_id"
UNANSWERED: Final = "-deny-due-to-bad-CUSTOM-action"
"""How the names of rules end that deny what nobody can be asked about, as Istio's do."""

_EXT_AUTHZ: Any = ext_authz_pb2
_ASKING: Final = {HTTP_FILTER: ext_authz_pb2.ExtAuthz, NETWORK_FILTER: network_ext_authz_pb2.ExtAuthz}
_DENY: Any = rbac_pb2.RBAC.DENY
_V3: Any = config_source_pb2.ApiVersion.V3


def request_filters(authorization: Authorization | None) -> list[Any]:
    """The HTTP filters, to stand before those that verify tokens: a provider may bring one."""
    return [] if authorization is None else list(_of_requests(authorization))


def connection_filters(authorization: Authorization | None) -> list[Any]:
    """The network filters for connections of bytes. Who only knows requests cannot be asked about these."""
    return [] if authorization is None else list(_of_connections(authorization))


def key(provider: str) -> str:
    """What begins the keys of a provider's pair of filters in the metadata of RBAC, and its statistics.

    Of providers whose names come to the same, the names of rules still tell whose they are.
    """
    return f"istio_ext_authz_{re.sub('[^A-Za-z0-9_.-]', '_', provider)}_"


def rule_prefix(provider: str) -> str:
    """What begins the names of rules that have a provider asked, as in Istio."""
    return f"istio-ext-authz-{provider}-"


def denied_by(filters: Iterable[Any]) -> str:
    """The policy by which the last provider was asked, as an expression of CEL; empty where no filter asks any."""
    found = "'-'"
    for each in filters:
        if each.name in _ASKING:
            asking = _ASKING[each.name].FromString(each.typed_config.value).filter_enabled_metadata
            if len(asking.path) == 1:
                left = f"metadata.filter_metadata['{asking.filter}']"
                found = f"'{asking.path[0].key}' in {left} ? {left}['{asking.path[0].key}'] : ({found})"
    return "" if found == "'-'" else found


def _of_requests(authorization: Authorization) -> Iterator[Any]:
    if authorization.tried:
        shadow = rules_of(authorization.tried, _DENY, requests=True)
        config = http_rbac_pb2.RBAC(shadow_rules=shadow, shadow_rules_stat_prefix=DRY_RUN_CUSTOM)
        yield listeners_http.http_filter(HTTP_RBAC, config)
    for each in authorization.custom:
        if isinstance(each.asked, Provider):
            shadow, prefix = _shadow(each, requests=True), key(each.provider)
            config = http_rbac_pb2.RBAC(shadow_rules=shadow, shadow_rules_stat_prefix=prefix)
            yield listeners_http.http_filter(HTTP_RBAC, config)
            yield listeners_http.http_filter(HTTP_FILTER, _asking(each.asked))
        else:
            yield listeners_http.http_filter(HTTP_RBAC, http_rbac_pb2.RBAC(rules=_denied(each, requests=True)))


def _of_connections(authorization: Authorization) -> Iterator[Any]:
    if authorization.tried:
        shadow = rules_of(authorization.tried, _DENY, requests=False)
        config = network_rbac_pb2.RBAC(
            stat_prefix="tcp.", shadow_rules=shadow, shadow_rules_stat_prefix=DRY_RUN_CUSTOM
        )
        yield listeners_http.network_filter(NETWORK_RBAC, config)
    for each in authorization.custom:
        if isinstance(each.asked, Provider) and each.asked.http is None:
            shadow, prefix = _shadow(each, requests=False), key(each.provider)
            config = network_rbac_pb2.RBAC(
                stat_prefix="tcp.", shadow_rules=shadow, shadow_rules_stat_prefix=prefix
            )
            yield listeners_http.network_filter(NETWORK_RBAC, config)
            yield listeners_http.network_filter(NETWORK_FILTER, _asking_about_connections(each.asked))
        else:
            config = network_rbac_pb2.RBAC(stat_prefix="tcp.", rules=_denied(each, requests=False))
            yield listeners_http.network_filter(NETWORK_RBAC, config)


def _shadow(inquiry: Inquiry, *, requests: bool) -> Any:
    return rules_of(inquiry.policies, _DENY, requests=requests, before=rule_prefix(inquiry.provider))


def _denied(inquiry: Inquiry, *, requests: bool) -> Any:
    before = rule_prefix(inquiry.provider)
    return rules_of(inquiry.policies, _DENY, requests=requests, before=before, behind=UNANSWERED)


def _asking(provider: Provider) -> Any:
    config = _EXT_AUTHZ.ExtAuthz(
        transport_api_version=_V3,
        failure_mode_allow=provider.fail_open,
        clear_route_cache=provider.clear_route_cache,
        filter_enabled_metadata=_where_rules_fit(HTTP_RBAC, provider),
    )
    if provider.status_on_error:
        config.status_on_error.CopyFrom(http_status_pb2.HttpStatus(code=provider.status_on_error))
    if provider.body is not None:
        shown = _EXT_AUTHZ.BufferSettings(
            max_request_bytes=provider.body.most,
            allow_partial_message=provider.body.partial,
            pack_as_bytes=provider.body.as_bytes,
        )
        config.with_request_body.CopyFrom(shown)
    if provider.http is None:
        config.grpc_service.CopyFrom(_grpc(provider))
    else:
        _over_http(config, provider, provider.http)
    return config


def _over_http(config: Any, provider: Provider, http: OverHttp) -> None:
    if http.shown:
        config.allowed_headers.CopyFrom(_headers(http.shown))
    service = _EXT_AUTHZ.HttpService(
        path_prefix=http.path_prefix,
        server_uri=http_uri_pb2.HttpUri(
            uri=f"http://{provider.host}",
            cluster=_cluster(provider),
            timeout=encode.duration(provider.timeout),
        ),
    )
    # Envoy fills in its operators there; these values are fixed
    service.authorization_request.headers_to_add.extend(
        base_pb2.HeaderValue(key=name, value=value.replace("%", "%%")) for name, value in http.added
    )
    for field, headers in (
        ("allowed_upstream_headers", http.to_upstream),
        ("allowed_client_headers", http.to_client_denied),
        ("allowed_client_headers_on_success", http.to_client_allowed),
    ):
        if headers:
            getattr(service.authorization_response, field).CopyFrom(_headers(headers))
    config.http_service.CopyFrom(service)


def _asking_about_connections(provider: Provider) -> Any:
    return network_ext_authz_pb2.ExtAuthz(
        stat_prefix="tcp.",
        transport_api_version=_V3,
        failure_mode_allow=provider.fail_open,
        grpc_service=_grpc(provider),
        filter_enabled_metadata=_where_rules_fit(NETWORK_RBAC, provider),
    )


def _grpc(provider: Provider) -> Any:
    cluster = _cluster(provider)
    service = grpc_service_pb2.GrpcService(timeout=encode.duration(provider.timeout))
    # servers refuse a bar in :authority, which is by default the cluster's name
    envoy = grpc_service_pb2.GrpcService.EnvoyGrpc(cluster_name=cluster, authority=cluster.replace("|", "_."))
    service.envoy_grpc.CopyFrom(envoy)
    return service


def _cluster(provider: Provider) -> str:
    return names.outbound_cluster(provider.host, provider.port, "")


def _where_rules_fit(rbac: str, provider: Provider) -> Any:
    result = metadata_pb2.MetadataMatcher.PathSegment(key=f"{key(provider.name)}{POLICY_ID}")
    named = string_pb2.StringMatcher(prefix=rule_prefix(provider.name))
    value = value_matcher_pb2.ValueMatcher(string_match=named)
    return metadata_pb2.MetadataMatcher(filter=rbac, path=[result], value=value)


def _headers(written: tuple[str, ...]) -> Any:
    return string_pb2.ListStringMatcher(patterns=[_header(each) for each in written])


def _header(written: str) -> Any:
    if written.startswith("*"):
        return string_pb2.StringMatcher(suffix=written[1:], ignore_case=True)
    if written.endswith("*"):
        return string_pb2.StringMatcher(prefix=written[:-1], ignore_case=True)
    return string_pb2.StringMatcher(exact=written, ignore_case=True)
