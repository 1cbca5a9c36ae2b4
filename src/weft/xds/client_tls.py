"""TLS that the proxy begins towards hosts with certificates of their own (SIMPLE, MUTUAL)."""

from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any, Final

from weft.model.client_tls import ClientTls, TlsMode
from weft.model.mesh_config import NO_TLS_LIMITS, TlsLimits
from weft.xds import names, tls
from weft.xds.proto import common_pb2, config_source_pb2, secret_pb2, tls_pb2

_SYSTEM: Final = "system"
"""In place of a file: the roots of the system that the proxy runs on; the agent finds them."""
ALPN_OVERRIDE: Final = "alpn_override"
"""Cluster metadata that keeps the mesh's own offers (`istio-http/1.1`) from servers that do not know them."""

_Validation: Any = tls_pb2.CommonTlsContext.CombinedCertificateValidationContext


@dataclass(frozen=True, slots=True)
class Origination:
    """TLS of one cluster. `asked_for` is the host, if it is one name; `http`: requests ask by their own host."""

    settings: ClientTls
    asked_for: str
    http: bool
    http2: bool
    limits: TlsLimits = NO_TLS_LIMITS

    @property
    def by_request(self) -> bool:
        """Whether the server name is that of the request."""
        return self.http and not self.settings.sni

    @property
    def verified_by_name(self) -> bool:
        """Whether the certificate must be for the name that was asked for, because nothing else is said.

        The roots of the system vouch for everybody. Whom roots of one's own vouch for is trusted, as in Istio, but
        for requests, which say whom they want.
        """
        settings = self.settings
        own_roots = settings.roots or settings.credential
        named = bool(settings.sni or self.asked_for or self.http)
        return named and settings.verify and not settings.names and not own_roots

    @property
    def verified_by_request(self) -> bool:
        """Whether the certificate must be for the host of the request, though roots of one's own vouch for it."""
        settings = self.settings
        return self.by_request and settings.verify and not settings.names and not self.verified_by_name


def socket(config: Origination) -> Any:
    """The transport socket of a cluster."""
    settings = config.settings
    context = tls_pb2.UpstreamTlsContext(
        sni=settings.sni or config.asked_for,
        auto_sni_san_validation=config.verified_by_name,
        common_tls_context=tls_pb2.CommonTlsContext(
            tls_params=tls.parameters(config.limits), alpn_protocols=["h2"] if config.http2 else []
        ),
    )
    common = context.common_tls_context
    if settings.mode is TlsMode.MUTUAL:
        common.tls_certificate_sds_secret_configs.append(_certificate(settings))
    if settings.verify:
        common.combined_validation_context.CopyFrom(_validation(config))
    return tls.socket(context)


def _certificate(settings: ClientTls) -> Any:
    if settings.credential:
        return streamed(names.secret(settings.credential))
    return tls.by_agent(names.file_certificate(settings.certificate, settings.key))


def _validation(config: Origination) -> Any:
    settings = config.settings
    context = common_pb2.CertificateValidationContext(
        match_typed_subject_alt_names=[_name(each) for each in settings.names]
    )
    if settings.credential:
        roots = streamed(names.secret(f"{settings.credential}-cacert"))
    else:
        roots = tls.by_agent(names.file_roots(settings.roots or _SYSTEM, settings.revoked))
    return _Validation(default_validation_context=context, validation_context_sds_secret_config=roots)


def _name(name: str) -> Any:
    matcher = common_pb2.SubjectAltNameMatcher
    found = matcher(san_type=_kind(name))
    found.matcher.exact = name
    return found


def _kind(name: str) -> Any:
    kinds = common_pb2.SubjectAltNameMatcher
    if "://" in name:
        return kinds.URI
    try:
        ip_address(name)
    except ValueError:
        return kinds.DNS
    return kinds.IP_ADDRESS


def streamed(name: str) -> Any:
    """A secret that comes by the aggregated stream."""
    source = config_source_pb2.ConfigSource(
        ads=config_source_pb2.AggregatedConfigSource(), resource_api_version=config_source_pb2.ApiVersion.V3
    )
    return secret_pb2.SdsSecretConfig(name=name, sds_config=source)
