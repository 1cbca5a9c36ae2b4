"""What others need for checking service accounts' tokens themselves: OpenID discovery and the public key."""

import base64
import hashlib
from dataclasses import dataclass
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from weft.cluster.apiserver.users import ISSUER, SERVICE_ACCOUNT

_JWKS = "/openid/v1/jwks"
OLD_ISSUER = "kubernetes/serviceaccount"
"""Who signs tokens that lie in Secrets."""
OLD_CLAIMS = "kubernetes.io/serviceaccount/"
OLD_PARTS = ("namespace", "secret.name", "service-account.name", "service-account.uid")
Key = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey


def algorithm(key: Key) -> str:
    """The name of the signature that a key makes."""
    return "RS256" if isinstance(key, rsa.RSAPrivateKey) else "ES256"


def key_id(key: Key) -> str:
    """The key's name in tokens: the hash of its public half, as Kubernetes makes it."""
    encoded = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return _text(hashlib.sha256(encoded).digest())


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _number(value: int, size: int = 0) -> str:
    return _text(value.to_bytes(size or (value.bit_length() + 7) // 8, "big"))


def of_secret(key: Key, secret: dict[str, Any], account: dict[str, Any]) -> str:
    """The token that a Secret of type `kubernetes.io/service-account-token` holds; it does not expire."""
    namespace, name = account["metadata"]["namespace"], account["metadata"]["name"]
    values = (namespace, secret["metadata"]["name"], name, account["metadata"]["uid"])
    claims = {f"{OLD_CLAIMS}{end}": value for end, value in zip(OLD_PARTS, values, strict=True)}
    claims |= {"iss": OLD_ISSUER, "sub": f"{SERVICE_ACCOUNT}{namespace}:{name}"}
    return jwt.encode(claims, key, algorithm=algorithm(key), headers={"kid": key_id(key)})


@dataclass(frozen=True, slots=True)
class Issuer:
    """The documents of one signing key."""

    key: Key

    def configuration(self) -> dict[str, Any]:
        """The answer to `/.well-known/openid-configuration`."""
        return {
            "issuer": ISSUER,
            "jwks_uri": f"{ISSUER}{_JWKS}",
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": [algorithm(self.key)],
        }

    def keys(self) -> dict[str, Any]:
        """The answer to `/openid/v1/jwks`."""
        use = {"use": "sig", "kid": key_id(self.key), "alg": algorithm(self.key)}
        public = self.key.public_key()
        if isinstance(public, rsa.RSAPublicKey):
            numbers = public.public_numbers()
            return {"keys": [{**use, "kty": "RSA", "n": _number(numbers.n), "e": _number(numbers.e)}]}
        point = public.public_numbers()
        size = (public.key_size + 7) // 8
        place = {"x": _number(point.x, size), "y": _number(point.y, size)}
        return {"keys": [{**use, "kty": "EC", "crv": "P-256", **place}]}
