"""How a gateway ends TLS: its transport socket, with certificates from Secrets, from files, or the mesh's own."""

from dataclasses import dataclass, replace
from ipaddress import ip_address
from typing import Any

from google.protobuf import wrappers_pb2

from weft.model.mesh_config import MeshConfig, TlsLimits
from weft.model.server_tls import CertificateFile, Credential, SecretName, ServerMode, ServerTls
from weft.xds import tls
from weft.xds.discovery import aggregated
from weft.xds.names import TRUST_ROOTS, WORKLOAD_CERTIFICATE, file_certificate, file_roots, secret
from weft.xds.proto import base_pb2, common_pb2, secret_pb2, string_pb2, tls_pb2

SECRET_PATIENCE_SECONDS = 5
"""How long a listener waits for a Secret that is not there yet.

After that it serves the other hosts of its port, and connections for this one are closed. Istio would keep the
whole port shut until the Secret comes.
"""

_VALIDATION: Any = common_pb2.CertificateValidationContext
_PARAMETERS: Any = common_pb2.TlsParameters
_SAN: Any = common_pb2.SubjectAltNameMatcher


@dataclass(frozen=True, slots=True)
class TlsSettings:
    """What the mesh says of TLS: `limits` hold where a server says nothing, `of_mesh` for the mesh's own TLS.

    `trust_domains` are those whose members ISTIO_MUTUAL lets in.
    """

    trust_domains: tuple[str, ...]
    limits: TlsLimits
    of_mesh: TlsLimits

    @classmethod
    def of(cls, mesh: MeshConfig) -> "TlsSettings":
        """Those of a mesh."""
        return cls((mesh.trust_domain, *mesh.trust_domain_aliases), mesh.tls, mesh.mutual_tls)


def downstream(written: ServerTls, settings: TlsSettings, *, requests: bool) -> Any:
    """The transport socket of a server; `requests` says that HTTP goes on inside."""
    mutual = written.mode is ServerMode.ISTIO_MUTUAL
    # as Istio documents, the mesh's own TLS heeds no curves
    config = with_defaults(written, replace(settings.of_mesh, curves=()) if mutual else settings.limits)
    common = tls_pb2.CommonTlsContext(alpn_protocols=_alpn(requests=requests, mutual=mutual))
    parameters = _parameters(config)
    if parameters != _PARAMETERS():
        common.tls_params.CopyFrom(parameters)
    certificates = [tls.by_agent(WORKLOAD_CERTIFICATE)] if mutual else map(_certificate, config.certificates)
    common.tls_certificate_sds_secret_configs.extend(certificates)
    context = tls_pb2.DownstreamTlsContext(common_tls_context=common)
    if config.mode is not ServerMode.SIMPLE:
        optional = config.mode is ServerMode.OPTIONAL_MUTUAL
        context.require_client_certificate.CopyFrom(wrappers_pb2.BoolValue(value=not optional))
        # whoever was let in once is asked again: their certificate may be revoked since
        context.disable_stateless_session_resumption = True
        _verify(context.common_tls_context, config, settings.trust_domains)
    return tls.socket(context)


def with_defaults(config: ServerTls, mesh: TlsLimits) -> ServerTls:
    """The settings with the mesh's where a server says nothing."""
    newest = "TLSV1_3" if mesh.tls13_only else ""
    return replace(
        config,
        least=config.least or newest,
        cipher_suites=config.cipher_suites or mesh.ciphers,
        curves=config.curves or mesh.curves,
    )


def _alpn(*, requests: bool, mutual: bool) -> tuple[str, ...]:
    """What the gateway speaks inside; nothing is promised for connections of which it knows nothing."""
    if requests:
        return tls.SERVER_ALPN
    return tls.TCP_ALPN if mutual else ()


def _parameters(config: ServerTls) -> Any:
    def version(written: str) -> int:
        return int(_PARAMETERS.TlsProtocol.Value(written.replace("TLSV", "TLSv"))) if written else 0

    return _PARAMETERS(
        tls_minimum_protocol_version=version(config.least),
        tls_maximum_protocol_version=version(config.most),
        cipher_suites=config.cipher_suites,
        ecdh_curves=config.curves,
    )


def _verify(common: Any, config: ServerTls, trust_domains: tuple[str, ...]) -> None:
    default = _VALIDATION(
        match_typed_subject_alt_names=[_name(each) for each in config.names],
        verify_certificate_spki=config.keys,
        verify_certificate_hash=config.hashes,
    )
    if config.crl:
        default.crl.CopyFrom(base_pb2.DataSource(filename=config.crl))
    if config.unverified:
        default.trust_chain_verification = _VALIDATION.ACCEPT_UNTRUSTED
    roots = None if config.roots is None else _roots(config.roots)
    if config.mode is ServerMode.ISTIO_MUTUAL:
        roots = tls.by_agent(TRUST_ROOTS)
        if not config.names:
            default.match_typed_subject_alt_names.extend(
                _SAN(san_type=_SAN.URI, matcher=string_pb2.StringMatcher(prefix=f"spiffe://{each}/"))
                for each in trust_domains
            )
    if roots is None:
        common.validation_context.CopyFrom(default)
    else:
        combined = tls_pb2.CommonTlsContext.CombinedCertificateValidationContext
        common.combined_validation_context.CopyFrom(
            combined(default_validation_context=default, validation_context_sds_secret_config=roots)
        )


def _name(written: str) -> Any:
    """A subject alternative name, of the kind that it looks like."""
    kind = _SAN.DNS
    if "://" in written:
        kind = _SAN.URI
    elif "@" in written:
        kind = _SAN.EMAIL
    elif _is_address(written):
        kind = _SAN.IP_ADDRESS
    return _SAN(san_type=kind, matcher=string_pb2.StringMatcher(exact=written))


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _certificate(credential: Credential) -> Any:
    match credential:
        case SecretName(name):
            return _by_istiod(secret(name))
        case CertificateFile(path, key):
            return tls.by_agent(file_certificate(path, key))


def _roots(credential: Credential) -> Any:
    match credential:
        case SecretName(name):
            return _by_istiod(secret(name))
        case CertificateFile(path, _):
            return tls.by_agent(file_roots(path))


def _by_istiod(name: str) -> Any:
    source = aggregated()
    source.initial_fetch_timeout.seconds = SECRET_PATIENCE_SECONDS
    return secret_pb2.SdsSecretConfig(name=name, sds_config=source)
