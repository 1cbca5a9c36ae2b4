"""The messages of `istio.v1.auth.IstioCertificateService/CreateCertificate`, and of what to verify others with.

Istio's have no place for lists of revoked certificates, and none for roots of single trust domains. They are in
fields beside Istio's, which others skip.
"""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, struct_pb2
from google.protobuf.message import DecodeError

from weft.pki.succession import TrustBundle, Trusted

SERVICE = "istio.v1.auth.IstioCertificateService"
METHOD = "CreateCertificate"

_IMPERSONATED, _SIGNER = "ImpersonatedIdentity", "CertSigner"
_LONGEST_WISH = 2**31  # seconds

_Field = descriptor_pb2.FieldDescriptorProto


class MessageError(ValueError):
    """The bytes are not the message that they should be."""


@dataclass(frozen=True, slots=True)
class CertificateRequest:
    """What a workload sends. `lifetime` is a wish, in whole seconds; zero leaves it to the authority.

    `impersonated` is the SPIFFE ID of the workload that a node's proxy asks for, "" where the caller asks for
    itself; `signer` names one of several signers of the cluster.
    """

    csr_pem: str
    lifetime: timedelta = timedelta()
    impersonated: str = ""
    signer: str = ""


@dataclass(frozen=True, slots=True)
class CertificateAnswer:
    """What a workload gets: its certificate and what leads to the root, as PEM texts, and what to trust."""

    chain: tuple[str, ...]
    trusted: Trusted


def encode_request(request: CertificateRequest) -> bytes:
    """An IstioCertificateRequest."""
    seconds = int(request.lifetime.total_seconds())
    message = _REQUEST(csr=request.csr_pem, validity_duration=seconds)
    for key, value in ((_IMPERSONATED, request.impersonated), (_SIGNER, request.signer)):
        if value:
            message.metadata.fields[key].string_value = value
    return bytes(message.SerializeToString())


def decode_request(message: bytes) -> CertificateRequest:
    """An IstioCertificateRequest; MessageError for other bytes."""
    raw = _parse(_REQUEST, message)
    told = {key: raw.metadata.fields[key].string_value for key in (_IMPERSONATED, _SIGNER)}
    # whatever number is written, it is a time
    seconds = min(max(raw.validity_duration, 0), _LONGEST_WISH)
    return CertificateRequest(raw.csr, timedelta(seconds=seconds), told[_IMPERSONATED], told[_SIGNER])


def encode_response(answer: CertificateAnswer) -> bytes:
    """An IstioCertificateResponse: leaf first, all roots together last."""
    message = _RESPONSE(cert_chain=(*answer.chain, answer.trusted.roots))
    _put_beside(message, answer.trusted)
    return bytes(message.SerializeToString())


def decode_response(message: bytes) -> CertificateAnswer:
    """An IstioCertificateResponse; MessageError for other bytes."""
    raw = _parse(_RESPONSE, message)
    # Istio's authority may leave the root away where it signs by it itself
    *chain, roots = raw.cert_chain or [""]
    return CertificateAnswer(tuple(chain) or tuple(raw.cert_chain), _trusted(roots, raw))


def encode_trust(trusted: Trusted) -> bytes:
    """An istio.mesh.v1alpha1.ProxyConfig with nothing but what to trust."""
    message = _PROXY(ca_certificates_pem=[trusted.roots])
    _put_beside(message, trusted)
    return bytes(message.SerializeToString(deterministic=True))


def decode_trust(message: bytes) -> Trusted:
    """What is in such a message; MessageError for other bytes."""
    raw = _parse(_PROXY, message)
    return _trusted("".join(raw.ca_certificates_pem), raw)


def _put_beside(message: Any, trusted: Trusted) -> None:
    message.revocation_lists = trusted.revoked
    for each in trusted.bundles:
        message.trust_bundles.add(trust_domains=each.domains, roots=each.roots)


def _trusted(roots: str, raw: Any) -> Trusted:
    bundles = tuple(TrustBundle(tuple(each.trust_domains), each.roots) for each in raw.trust_bundles)
    return Trusted(roots, str(raw.revocation_lists), bundles)


def _parse(kind: Any, message: bytes) -> Any:
    try:
        return kind.FromString(message)
    except DecodeError as error:
        raise MessageError(f"not a {kind.DESCRIPTOR.name}: {error}") from error


def _add_beside(message: Any) -> None:
    # far from Istio's numbers, which have two digits and grow by one at a time
    message.field.add(name="revocation_lists", number=20_001, type=_Field.TYPE_STRING, label=_Field.LABEL_OPTIONAL)
    message.field.add(
        name="trust_bundles",
        number=20_002,
        type=_Field.TYPE_MESSAGE,
        type_name=".istio.v1.auth.TrustBundle",
        label=_Field.LABEL_REPEATED,
    )


def _classes() -> tuple[Any, ...]:
    # a pool of their own: whoever loads Istio's descriptors beside us does not collide with these
    file = descriptor_pb2.FileDescriptorProto(name="istio_ca.proto", package="istio.v1.auth", syntax="proto3")
    request = file.message_type.add(name="IstioCertificateRequest")
    request.field.add(name="csr", number=1, type=_Field.TYPE_STRING, label=_Field.LABEL_OPTIONAL)
    request.field.add(name="validity_duration", number=3, type=_Field.TYPE_INT64, label=_Field.LABEL_OPTIONAL)
    request.field.add(
        name="metadata",
        number=4,
        type=_Field.TYPE_MESSAGE,
        type_name=".google.protobuf.Struct",
        label=_Field.LABEL_OPTIONAL,
    )
    file.dependency.append(struct_pb2.DESCRIPTOR.name)
    response = file.message_type.add(name="IstioCertificateResponse")
    response.field.add(name="cert_chain", number=1, type=_Field.TYPE_STRING, label=_Field.LABEL_REPEATED)
    _add_beside(response)
    proxy = file.message_type.add(name="ProxyConfig")
    proxy.field.add(name="ca_certificates_pem", number=34, type=_Field.TYPE_STRING, label=_Field.LABEL_REPEATED)
    _add_beside(proxy)
    bundle = file.message_type.add(name="TrustBundle")
    bundle.field.add(name="trust_domains", number=1, type=_Field.TYPE_STRING, label=_Field.LABEL_REPEATED)
    bundle.field.add(name="roots", number=2, type=_Field.TYPE_STRING, label=_Field.LABEL_OPTIONAL)
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(struct_pb2.DESCRIPTOR.serialized_pb)
    pool.Add(file)
    names = ("IstioCertificateRequest", "IstioCertificateResponse", "ProxyConfig")
    return tuple(
        message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{file.package}.{name}")) for name in names
    )


_REQUEST, _RESPONSE, _PROXY = _classes()
