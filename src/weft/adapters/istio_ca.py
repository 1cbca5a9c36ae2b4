"""The messages of istio.v1.auth.IstioCertificateService, which no package carries."""

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

METHOD = "/istio.v1.auth.IstioCertificateService/CreateCertificate"

_PACKAGE = "istio.v1.auth"
_FIELD = descriptor_pb2.FieldDescriptorProto


def encode_request(csr: str, seconds: int) -> bytes:
    """An IstioCertificateRequest: a PEM request, and how long the certificate should live."""
    body: bytes = _REQUEST(csr=csr, validity_duration=seconds).SerializeToString()
    return body


def decode_chain(answer: bytes) -> tuple[str, ...]:
    """The PEM texts of an IstioCertificateResponse: leaf first, root last."""
    return tuple(_RESPONSE.FromString(answer).cert_chain)


def _classes() -> tuple[Any, Any]:
    file = descriptor_pb2.FileDescriptorProto(name="weft/agent/istio_ca.proto", package=_PACKAGE, syntax="proto3")
    request = file.message_type.add(name="IstioCertificateRequest")
    request.field.add(name="csr", number=1, type=_FIELD.TYPE_STRING, label=_FIELD.LABEL_OPTIONAL)
    request.field.add(name="validity_duration", number=3, type=_FIELD.TYPE_INT64, label=_FIELD.LABEL_OPTIONAL)
    response = file.message_type.add(name="IstioCertificateResponse")
    response.field.add(name="cert_chain", number=1, type=_FIELD.TYPE_STRING, label=_FIELD.LABEL_REPEATED)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    names = (f"{_PACKAGE}.{name}" for name in ("IstioCertificateRequest", "IstioCertificateResponse"))
    first, second = (message_factory.GetMessageClass(pool.FindMessageTypeByName(name)) for name in names)
    return first, second


_REQUEST, _RESPONSE = _classes()
