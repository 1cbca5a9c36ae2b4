"""Whom Envoy's ext_authz filters ask, and what becomes of the answer (envoy.extensions.filters.*.ext_authz.v3)."""

from typing import Any

from weft.xds.simulate_match import ProviderAnswer, Request, string_matches
from weft.xds.simulate_rbac import Metadata, found_at, value_fits
from weft.xds.understood import NotUnderstoodError

# what goes to the client of a denial where nothing is named: all but these
_NOT_OF_DENIALS = frozenset({":status", "content-length", "transfer-encoding"})
_ALLOWED = ProviderAnswer()


def asked_by(config: Any, metadata: Metadata) -> str:
    """The rule for which the filter asks, empty where it does not.

    Raises NotUnderstoodError for one that asks about everything: whom it asks, only its author knows.
    """
    if not config.HasField("filter_enabled_metadata"):
        message = f"the simulator does not understand {config.DESCRIPTOR.full_name} without a rule"
        raise NotUnderstoodError(message)
    matcher = config.filter_enabled_metadata
    value = found_at(matcher, metadata)
    return str(value) if value_fits(matcher.value, value) else ""


def cluster_of(config: Any) -> str:
    """The cluster of the provider."""
    if "http_service" in config.DESCRIPTOR.fields_by_name and config.HasField("http_service"):
        return str(config.http_service.server_uri.cluster)
    return str(config.grpc_service.envoy_grpc.cluster_name)


def answer(cluster: str, request: Request) -> ProviderAnswer:
    """What the provider says of a request; where that is not given, it allows it."""
    return dict(request.answers).get(cluster, _ALLOWED)


def passed_on(config: Any, said: ProviderAnswer, field: str) -> tuple[tuple[str, str], ...]:
    """The headers of an answer that are passed on, by a field of AuthorizationResponse; by gRPC, all of them."""
    if not config.HasField("http_service"):
        return () if field == "allowed_client_headers_on_success" else said.headers
    response = config.http_service.authorization_response
    if field == "allowed_client_headers" and not response.HasField(field):
        return tuple(pair for pair in said.headers if pair[0] not in _NOT_OF_DENIALS)
    patterns = getattr(response, field).patterns
    return tuple(
        (name, value) for name, value in said.headers if any(string_matches(each, name) for each in patterns)
    )
