"""Secrets as Envoy takes them (envoy.extensions.transport_sockets.tls.v3.Secret)."""

import hashlib
from typing import Any

from envoy.extensions.transport_sockets.tls.v3 import secret_pb2

from weft.xds.resource import SECRET, Resource

_tls: Any = secret_pb2


def certificate(name: str, chain: str, key: str) -> Resource:
    """A certificate chain and its private key, both PEM."""
    secret = _tls.Secret(name=name)
    secret.tls_certificate.certificate_chain.inline_bytes = chain.encode()
    secret.tls_certificate.private_key.inline_bytes = key.encode()
    return _resource(name, secret)


def roots(name: str, certificates: str, crl: str = "") -> Resource:
    """The PEM certificates to verify others with, and lists of those that are revoked."""
    secret = _tls.Secret(name=name)
    secret.validation_context.trusted_ca.inline_bytes = certificates.encode()
    if crl:
        secret.validation_context.crl.inline_bytes = crl.encode()
    return _resource(name, secret)


def _resource(name: str, secret: Any) -> Resource:
    body: bytes = secret.SerializeToString(deterministic=True)
    return Resource(SECRET, name, hashlib.sha256(body).hexdigest()[:16], body)
