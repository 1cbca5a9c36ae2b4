"""Who makes a request: by a client certificate of the cluster's authority, or a service account's token."""

import hashlib
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from weft.cluster.apiserver.tokens import AUDIENCE, TokenError, Tokens
from weft.cluster.apiserver.users import AUTHENTICATED, CREDENTIAL, NOBODY, User


@dataclass(frozen=True, slots=True)
class Authentication:
    """The order of proofs: certificate, then bearer token."""

    tokens: Tokens

    def user(self, certificate: Mapping[str, Any] | None, authorization: str, encoded: bytes = b"") -> User | None:
        """The caller: nobody in particular if nothing is shown, None if what is shown proves nothing.

        `certificate` is `SSLSocket.getpeercert()` of a chain that TLS has verified, `encoded` its DER.
        """
        if certificate and (found := of_certificate(certificate, encoded)):
            return found
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            return NOBODY
        try:
            return self.tokens.check(token.strip(), [AUDIENCE])[0]
        except TokenError:
            return None


def of_certificate(certificate: Mapping[str, Any], encoded: bytes = b"") -> User | None:
    """The user that a certificate's subject names: CN is the name, each O a group."""
    parts = [pair for group in certificate.get("subject", ()) for pair in group]
    name = next((value for key, value in parts if key == "commonName"), "")
    groups = tuple(value for key, value in parts if key == "organizationName")
    digest = hashlib.sha256(encoded).hexdigest() if encoded else ""
    extra = {CREDENTIAL: (f"X509SHA256={digest}",)} if digest else {}
    return User(name, groups=(*groups, AUTHENTICATED), extra=extra) if name else None


def server_context(certificate: str, key: str, authority: str) -> ssl.SSLContext:
    """TLS as the server speaks it: at least 1.2, certificates of clients asked for and checked where sent.

    Arguments are paths of PEM files.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(certificate, key)
    context.load_verify_locations(authority)
    context.verify_mode = ssl.CERT_OPTIONAL
    context.set_alpn_protocols(["http/1.1"])
    return context
