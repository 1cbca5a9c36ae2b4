"""Transport sockets: mutual TLS with certificates that the agent hands out (SDS)."""

from dataclasses import replace
from typing import Any

from google.protobuf import duration_pb2, wrappers_pb2

from weft.model.mesh_config import NO_TLS_LIMITS, MeshConfig, TlsLimits
from weft.xds import encode
from weft.xds.names import FILES, SDS_CLUSTER, TRUST_ROOTS, WORKLOAD_CERTIFICATE
from weft.xds.proto import (
    base_pb2,
    common_pb2,
    config_source_pb2,
    grpc_service_pb2,
    raw_buffer_pb2,
    secret_pb2,
    string_pb2,
    tls_pb2,
)

TCP_ALPN = ("istio-peer-exchange", "istio")
"""What a sidecar offers for connections that carry no HTTP it knows of."""
HTTP_ALPN = ("istio-http/1.0", "istio-http/1.1", "istio-h2")
"""What a sidecar offers for requests."""
SERVER_ALPN = ("h2", "http/1.1")
"""What the receiving sidecar picks from: had it agreed on istio-h2, its codec would take the bytes for HTTP/1."""

FILE_PATIENCE_SECONDS = 2
"""How long a listener or a cluster waits for a file; then connections fail until it is there."""

_TLS_SOCKET = "envoy.transport_sockets.tls"


def mutual_upstream(
    server_name: str,
    identities: tuple[str, ...],
    any_below: tuple[str, ...],
    alpn: tuple[str, ...],
    limits: TlsLimits = NO_TLS_LIMITS,
) -> Any:
    """The client's side of mutual TLS.

    The server must be one of `identities` (SPIFFE IDs); where none is known, one of those below `any_below`.
    """
    names = [_san(exact=identity) for identity in identities] or [_san(prefix=each) for each in any_below]
    return socket(tls_pb2.UpstreamTlsContext(sni=server_name, common_tls_context=_common(names, alpn, limits)))


def mutual_downstream(mesh: MeshConfig, alpn: tuple[str, ...]) -> Any:
    """The server's side: clients must show a certificate of the trust domain, or of one of its aliases."""
    names = [_san(prefix=f"spiffe://{each}/") for each in (mesh.trust_domain, *mesh.trust_domain_aliases)]
    return socket(
        tls_pb2.DownstreamTlsContext(
            require_client_certificate=wrappers_pb2.BoolValue(value=True),
            disable_stateless_session_resumption=True,
            common_tls_context=_common(names, alpn, mesh.mutual_tls),
        )
    )


def plaintext() -> Any:
    """No TLS."""
    return base_pb2.TransportSocket(
        name="envoy.transport_sockets.raw_buffer", typed_config=encode.packed(raw_buffer_pb2.RawBuffer())
    )


def socket(context: Any) -> Any:
    """The transport socket of a DownstreamTlsContext or an UpstreamTlsContext."""
    return base_pb2.TransportSocket(name=_TLS_SOCKET, typed_config=encode.packed(context))


def parameters(limits: TlsLimits = NO_TLS_LIMITS) -> Any:
    """What a handshake may agree on: TLS 1.2 at least."""
    versions = common_pb2.TlsParameters
    return versions(
        tls_minimum_protocol_version=versions.TLSv1_3 if limits.tls13_only else versions.TLSv1_2,
        tls_maximum_protocol_version=versions.TLSv1_3,
        cipher_suites=limits.ciphers,
        ecdh_curves=limits.curves,
    )


def _san(*, exact: str = "", prefix: str = "") -> Any:
    matcher = string_pb2.StringMatcher(exact=exact) if exact else string_pb2.StringMatcher(prefix=prefix)
    return common_pb2.SubjectAltNameMatcher(san_type=common_pb2.SubjectAltNameMatcher.URI, matcher=matcher)


def _common(names: list[Any], alpn: tuple[str, ...], limits: TlsLimits = NO_TLS_LIMITS) -> Any:
    combined = tls_pb2.CommonTlsContext.CombinedCertificateValidationContext(
        default_validation_context=common_pb2.CertificateValidationContext(match_typed_subject_alt_names=names),
        validation_context_sds_secret_config=by_agent(TRUST_ROOTS),
    )
    return tls_pb2.CommonTlsContext(
        tls_params=parameters(replace(limits, curves=())),  # as Istio documents, the mesh's own TLS heeds none
        alpn_protocols=alpn,
        tls_certificate_sds_secret_configs=[by_agent(WORKLOAD_CERTIFICATE)],
        combined_validation_context=combined,
    )


def by_agent(name: str) -> Any:
    """A secret that the agent beside the proxy hands out.

    Nothing goes on without the proxy's own certificate. A file that is missing is waited for a little only: while
    one cluster waits, Envoy takes in no other (`ClusterManagerImpl::updateClusterCounts` holds all of CDS back).
    """
    service = grpc_service_pb2.GrpcService(
        envoy_grpc=grpc_service_pb2.GrpcService.EnvoyGrpc(cluster_name=SDS_CLUSTER)
    )
    source = config_source_pb2.ApiConfigSource(
        api_type=config_source_pb2.ApiConfigSource.GRPC,
        transport_api_version=config_source_pb2.ApiVersion.V3,
        set_node_on_first_message_only=True,
        grpc_services=[service],
    )
    return secret_pb2.SdsSecretConfig(
        name=name,
        sds_config=config_source_pb2.ConfigSource(
            api_config_source=source,
            resource_api_version=config_source_pb2.ApiVersion.V3,
            initial_fetch_timeout=duration_pb2.Duration(
                seconds=FILE_PATIENCE_SECONDS if name.startswith(FILES) else 0  # 0 is without end
            ),
        ),
    )
