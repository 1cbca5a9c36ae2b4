"""Whether a TLS handshake with a filter chain comes about, and what is agreed on."""

from dataclasses import dataclass
from typing import Any

from weft.xds.proto import common_pb2, tls_pb2
from weft.xds.simulate_match import ClientCertificate, Request

_PARAMETERS: Any = common_pb2.TlsParameters
_VALIDATION: Any = common_pb2.CertificateValidationContext
_SAN: Any = common_pb2.SubjectAltNameMatcher
_NEWEST = "TLSv1_3"
_VERSIONS = ("TLSv1_0", "TLSv1_1", "TLSv1_2", "TLSv1_3")
_KINDS = {_SAN.DNS: "DNS", _SAN.URI: "URI", _SAN.EMAIL: "EMAIL", _SAN.IP_ADDRESS: "IP"}


@dataclass(frozen=True, slots=True)
class Handshake:
    """`refused` says why there is none. `ended`: plaintext goes on inside, in `protocol` if one was agreed on."""

    refused: str = ""
    ended: bool = False
    protocol: str = ""


def handshake(chain: Any, request: Request) -> Handshake:
    """What becomes of the request's connection at a chain, before its filters see a byte."""
    socket = chain.transport_socket
    if not chain.HasField("transport_socket") or not socket.typed_config.Is(
        tls_pb2.DownstreamTlsContext.DESCRIPTOR
    ):
        return Handshake()
    if not request.tls:
        return Handshake("the client speaks no TLS")
    context = tls_pb2.DownstreamTlsContext.FromString(socket.typed_config.value)
    common = context.common_tls_context
    refused = _parameters(common.tls_params, request) or _client(context, request.certificate)
    agreed = next((each for each in common.alpn_protocols if each in request.protocols), "")
    return Handshake(refused) if refused else Handshake(ended=True, protocol=agreed)


def _parameters(parameters: Any, request: Request) -> str:
    least, most = parameters.tls_minimum_protocol_version, parameters.tls_maximum_protocol_version
    # what Envoy's servers speak by themselves is 1.2 and 1.3
    first = _VERSIONS.index(_PARAMETERS.TlsProtocol.Name(least) if least else "TLSv1_2")
    last = _VERSIONS.index(_PARAMETERS.TlsProtocol.Name(most) if most else _NEWEST)
    common = [each for each in _VERSIONS[first : last + 1] if each in request.versions]
    if not common:
        return "there is no TLS version in common"
    suites = parameters.cipher_suites
    if common[-1] != _NEWEST and suites and request.cipher_suites and not set(suites) & set(request.cipher_suites):
        return "there is no cipher suite in common"
    curves = parameters.ecdh_curves
    if curves and request.curves and not set(curves) & set(request.curves):
        return "there is no curve in common"
    return ""


def _client(context: Any, shown: ClientCertificate | None) -> str:
    common = context.common_tls_context
    kind = common.WhichOneof("validation_context_type")
    if shown is None:
        return "the client shows no certificate" if context.require_client_certificate.value else ""
    if kind is None:
        return ""  # nobody asks for it
    roots = ""
    rules = common.validation_context
    if kind == "combined_validation_context":
        rules = common.combined_validation_context.default_validation_context
        roots = common.combined_validation_context.validation_context_sds_secret_config.name
    trusting = rules.trust_chain_verification == _VALIDATION.ACCEPT_UNTRUSTED
    if roots and not trusting and roots not in shown.signed_by:
        return "the client's certificate is of no authority known here"
    if rules.HasField("crl") and shown.revoked:
        return "the client's certificate is revoked"
    return _pinned(rules, shown)


def _pinned(rules: Any, shown: ClientCertificate) -> str:
    wanted = rules.match_typed_subject_alt_names
    if wanted and not any(_is_named(each, shown) for each in wanted):
        return "the client's certificate has none of the names asked for"
    keys, hashes = (
        rules.verify_certificate_spki,
        {each.replace(":", "").lower() for each in rules.verify_certificate_hash},
    )
    if (keys or hashes) and shown.key not in keys and shown.digest not in hashes:
        return "the client's certificate is none of those asked for"
    return ""


def _is_named(wanted: Any, shown: ClientCertificate) -> bool:
    matcher = wanted.matcher
    names = (name for kind, name in shown.names if kind == _KINDS[wanted.san_type])
    if matcher.HasField("prefix"):
        return any(name.startswith(matcher.prefix) for name in names)
    return any(name == matcher.exact for name in names)
