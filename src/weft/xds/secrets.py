"""Secrets as Envoy takes them (envoy.extensions.transport_sockets.tls.v3.Secret)."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from envoy.extensions.transport_sockets.tls.v3 import secret_pb2, tls_spiffe_validator_config_pb2

from weft.xds.resource import SECRET, Resource

_tls: Any = secret_pb2
_common: Any = tls_spiffe_validator_config_pb2


@dataclass(frozen=True, slots=True)
class Contents:
    """What a secret holds as PEM; "" for what it does not, or keeps in files."""

    chain: str = ""
    key: str = field(default="", repr=False)
    roots: str = ""


def contents(resource: Resource) -> Contents:
    """What is in a secret."""
    secret = _tls.Secret.FromString(resource.body)
    own = secret.tls_certificate
    return Contents(
        _text(own.certificate_chain), _text(own.private_key), _text(secret.validation_context.trusted_ca)
    )


def _text(source: Any) -> str:
    inline: bytes = source.inline_bytes
    return str(source.inline_string) or inline.decode("utf-8", "replace")


def certificate(name: str, chain: str, key: str) -> Resource:
    """A certificate chain and its private key, both PEM."""
    secret = _tls.Secret(name=name)
    secret.tls_certificate.certificate_chain.inline_bytes = chain.encode()
    secret.tls_certificate.private_key.inline_bytes = key.encode()
    return _resource(name, secret)


def roots(
    name: str, certificates: str, crl: str = "", bundles: Iterable[tuple[Iterable[str], str]] = ()
) -> Resource:
    """The PEM certificates to verify others with, and lists of those that are revoked.

    `bundles` are trust domains, each with the certificates that vouch for it: where there are any, none vouches
    for other trust domains than its own (SPIFFECertValidatorConfig).
    """
    secret = _tls.Secret(name=name)
    validator = _common.SPIFFECertValidatorConfig()
    for domains, text in bundles:
        for domain in domains:
            validator.trust_domains.add(name=domain).trust_bundle.inline_bytes = text.encode()
    if validator.trust_domains:
        custom = secret.validation_context.custom_validator_config
        custom.name = "envoy.tls.cert_validator.spiffe"
        custom.typed_config.Pack(validator)
    secret.validation_context.trusted_ca.inline_bytes = certificates.encode()
    if crl:
        secret.validation_context.crl.inline_bytes = crl.encode()
    return _resource(name, secret)


def _resource(name: str, secret: Any) -> Resource:
    body: bytes = secret.SerializeToString(deterministic=True)
    return Resource(SECRET, name, hashlib.sha256(body).hexdigest()[:16], body)
