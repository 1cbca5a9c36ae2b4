"""Service account tokens: signed here, bound to their account and pod, checked against both."""

import base64
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from weft.cluster.apiserver import errors
from weft.cluster.apiserver.cluster import Cluster, Obj
from weft.cluster.apiserver.issuer import OLD_CLAIMS, OLD_ISSUER, OLD_PARTS, algorithm, key_id
from weft.cluster.apiserver.kinds import Kind
from weft.cluster.apiserver.users import AUTHENTICATED, CREDENTIAL, ISSUER, SERVICE_ACCOUNT, User

AUDIENCE = ISSUER
"""What tokens are for when nobody says; the API server itself."""
_SHORTEST, _LONGEST = 600, 1 << 32
_USUAL = 3600
_POD_NAME = "authentication.kubernetes.io/pod-name"
_POD_UID = "authentication.kubernetes.io/pod-uid"
_NODE_NAME = "authentication.kubernetes.io/node-name"
_REQUEST = Kind("authentication.k8s.io", "v1", "TokenRequest", "tokenrequests", "tokenrequest")
_BOUND = {"Pod": "pods", "Secret": "secrets", "Node": "nodes"}
_NODE_UID = "authentication.kubernetes.io/node-uid"


class TokenError(Exception):
    """A token that proves nothing; the message says why."""


@dataclass(frozen=True, slots=True)
class Tokens:
    """The signer and checker. `private_pem` is an RSA or P-256 key."""

    cluster: Cluster
    key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey

    @classmethod
    def load(cls, cluster: Cluster, private_pem: bytes) -> "Tokens":
        """Read the signing key; ValueError where it is neither RSA nor elliptic."""
        key = load_pem_private_key(private_pem, None)
        if not isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey):
            raise TypeError("the service account key must be an RSA or an elliptic curve key")
        return cls(cluster, key)

    @property
    def _algorithm(self) -> str:
        return algorithm(self.key)

    def issue(self, account: Obj, request: Obj) -> Obj:
        """Answer a `TokenRequest` for a service account: the request with its status."""
        spec = request.get("spec") or {}
        seconds = int(_USUAL if spec.get("expirationSeconds") is None else spec["expirationSeconds"])
        if not _SHORTEST <= seconds <= _LONGEST:
            bound = "10 minutes" if seconds < _SHORTEST else "2^32 seconds"
            detail = f"may not specify a duration {'less' if seconds < _SHORTEST else 'larger'} than {bound}"
            raise errors.invalid(_REQUEST, "", [errors.invalid_value("spec.expirationSeconds", seconds, detail)])
        now = self.cluster.world.now()
        expires = now + timedelta(seconds=seconds)
        audiences = list(spec.get("audiences") or [AUDIENCE])
        claims = self._claims(account, spec.get("boundObjectRef"), audiences, now, expires)
        token = jwt.encode(claims, self.key, algorithm=self._algorithm, headers={"kid": key_id(self.key)})
        status = {"token": token, "expirationTimestamp": expires.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")}
        return {
            "kind": "TokenRequest",
            "apiVersion": "authentication.k8s.io/v1",
            "metadata": {"name": account["metadata"]["name"], "namespace": account["metadata"]["namespace"]},
            "spec": {**spec, "audiences": audiences, "expirationSeconds": seconds},
            "status": status,
        }

    def _claims(
        self, account: Obj, bound: Obj | None, audiences: list[str], now: datetime, expires: datetime
    ) -> dict[str, Any]:
        meta = account["metadata"]
        private: Obj = {
            "namespace": meta["namespace"],
            "serviceaccount": {"name": meta["name"], "uid": meta["uid"]},
        }
        if bound:
            private |= self._bound(bound, meta)
        begun = int(now.timestamp())
        return {
            "iss": ISSUER,
            "sub": f"{SERVICE_ACCOUNT}{meta['namespace']}:{meta['name']}",
            "aud": audiences,
            "iat": begun,
            "nbf": begun,
            "exp": int(expires.timestamp()),
            "jti": self.cluster.world.uid(),
            "kubernetes.io": private,
        }

    def _bound(self, bound: Obj, account: Obj) -> Obj:
        kind, name = str(bound.get("kind", "")), str(bound.get("name", ""))
        plural = _BOUND.get(kind)
        if plural is None or bound.get("apiVersion", "v1") != "v1":
            raise errors.bad_request(
                f"cannot bind token to object of type {bound.get('apiVersion', '')}, Kind={kind}"
            )
        namespace = "" if kind == "Node" else account["namespace"]
        found = self.cluster.core(plural, namespace, name)
        if found is None:
            raise errors.StatusError(
                404, "NotFound", f'{plural} "{name}" not found', {"name": name, "kind": plural}
            )
        uid = found["metadata"]["uid"]
        if bound.get("uid") not in {None, "", uid}:
            why = (
                f"the UID in the bound object reference ({bound.get('uid')}) does not match the UID in record."
                " The object might have been deleted and then recreated"
            )
            said = f'Operation cannot be fulfilled on {kind} "{name}": {why}'
            raise errors.StatusError(409, "Conflict", said, {"name": name, "kind": kind})
        runs_as = (found.get("spec") or {}).get("serviceAccountName", "default")
        if kind == "Pod" and runs_as != account["name"]:
            raise errors.bad_request(
                f'cannot bind token for serviceaccount "{account["name"]}" to pod running with different'
                " serviceaccount name."
            )
        claim: Obj = {kind.lower(): {"name": name, "uid": uid}}
        return claim | (self._node(found) if kind == "Pod" else {})

    def _node(self, pod: Obj) -> Obj:
        """The node of a pod, as its tokens tell it."""
        name = str((pod.get("spec") or {}).get("nodeName") or "")
        node = self.cluster.core("nodes", "", name) if name else None
        if not name:
            return {}
        return {"node": {"name": name, **({"uid": node["metadata"]["uid"]} if node else {})}}

    def check(self, token: str, audiences: list[str]) -> tuple[User, list[str]]:
        """Who the token stands for, and which of the audiences it is good for. Raises TokenError."""
        claims = self._claimed(token)
        if claims.get("iss") == OLD_ISSUER:
            return self._of_secret(claims, token), self._for_server(audiences)
        now = self.cluster.world.now().timestamp()
        if now >= claims.get("exp", 0) or now + 1 < claims.get("nbf", 0):
            raise TokenError("the token has expired")
        good = [audience for audience in audiences if audience in claims.get("aud", ())]
        if not good:
            raise TokenError(
                f"token audiences {claims.get('aud')} is invalid for the target audiences {audiences}"
            )
        return self._user(claims), good

    @staticmethod
    def _for_server(audiences: list[str]) -> list[str]:
        if AUDIENCE not in audiences:
            raise TokenError(f"token audiences [{AUDIENCE}] is invalid for the target audiences {audiences}")
        return [AUDIENCE]

    def _claimed(self, token: str) -> dict[str, Any]:
        """What the token says, if it is one of ours."""
        try:
            claims: dict[str, Any] = jwt.decode(
                token,
                self.key.public_key(),
                algorithms=[self._algorithm],
                options={"verify_aud": False, "verify_exp": False, "verify_iat": False, "verify_nbf": False},
            )
        except jwt.PyJWTError as error:
            raise TokenError(f"the token is not valid: {error}") from error
        if claims.get("iss") not in {ISSUER, OLD_ISSUER}:
            raise TokenError("the token is not valid: Invalid issuer")
        return claims

    def _of_secret(self, claims: dict[str, Any], token: str) -> User:
        """Whom a token stands for that a Secret of its account holds: it is good as long as it lies there."""
        namespace, secret, name, uid = (str(claims.get(f"{OLD_CLAIMS}{end}", "")) for end in OLD_PARTS)
        self._still("serviceaccounts", namespace, {"name": name, "uid": uid})
        found = self.cluster.core("secrets", namespace, secret)
        held = ((found or {}).get("data") or {}).get("token", "")
        if base64.b64decode(held) != token.encode():
            raise TokenError(f"the token's secret {namespace}/{secret} is gone")
        groups = ("system:serviceaccounts", f"system:serviceaccounts:{namespace}", AUTHENTICATED)
        return User(f"{SERVICE_ACCOUNT}{namespace}:{name}", uid, groups)

    def _user(self, claims: dict[str, Any]) -> User:
        private = claims.get("kubernetes.io") or {}
        namespace, account = private.get("namespace", ""), private.get("serviceaccount") or {}
        self._still("serviceaccounts", namespace, account)
        extra = {CREDENTIAL: (f"JTI={claims.get('jti', '')}",)}
        if pod := private.get("pod"):
            self._still("pods", namespace, pod)
            extra |= {_POD_NAME: (pod["name"],), _POD_UID: (pod["uid"],)}
        if secret := private.get("secret"):
            self._still("secrets", namespace, secret)
        if node := private.get("node"):
            if not private.get("pod"):
                self._still("nodes", "", node)
            extra |= {_NODE_NAME: (node["name"],)}
            extra |= {_NODE_UID: (node["uid"],)} if node.get("uid") else {}
        return User(
            f"{SERVICE_ACCOUNT}{namespace}:{account['name']}",
            account["uid"],
            ("system:serviceaccounts", f"system:serviceaccounts:{namespace}", AUTHENTICATED),
            extra,
        )

    def _still(self, plural: str, namespace: str, reference: Obj) -> None:
        found = self.cluster.core(plural, namespace, str(reference.get("name", "")))
        if found is None or found["metadata"]["uid"] != reference.get("uid"):
            raise TokenError(f"the token's {plural[:-1]} {namespace}/{reference.get('name')} is gone")
