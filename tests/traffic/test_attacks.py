"""Ways to get past a sidecar that no table of requests can spell: forged tokens, and requests that are broken."""

import base64
import contextlib
import hashlib
import hmac
import json
import socket
import time
from collections.abc import Iterator
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from tests.cases import access
from tests.cases.access import POD, Ask
from tests.cases.access_in_envoy import Callers, callers, served

from weft.adapters import netns

KEY, THIEF = (rsa.generate_private_key(65537, 2048) for _ in range(2))
ISSUER = "https://one.example"
CLAIMS = {"iss": ISSUER, "sub": "me", "aud": "shop"}
JWK: dict[str, Any] = {
    **jwt.algorithms.RSAAlgorithm.to_jwk(KEY.public_key(), as_dict=True),
    "kid": "one",
    "alg": "RS256",
}
GIVEN: list[dict[str, Any]] = [
    {
        "kind": "RequestAuthentication",
        "metadata": {"name": "tokens", "namespace": "shop"},
        "spec": {"jwtRules": [{"issuer": ISSUER, "audiences": ["shop"], "jwks": json.dumps({"keys": [JWK]})}]},
    },
    {
        "kind": "AuthorizationPolicy",
        "metadata": {"name": "known", "namespace": "shop"},
        "spec": {"rules": [{"from": [{"source": {"requestPrincipals": ["*"]}}]}]},
    },
]
CASE = {"given": GIVEN, "to": {"ports": {8080: "http", 8081: "auto"}}}


@pytest.fixture(scope="module")
def asking(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callers]:
    with callers(tmp_path_factory.mktemp("callers")) as made, served(access.read(CASE), made):
        yield made


def token(key: Any = KEY, algorithm: str = "RS256", headers: dict[str, Any] | None = None, **claims: Any) -> str:
    told = {**CLAIMS, "exp": int(time.time()) + 600, **claims}
    return jwt.encode(told, key, algorithm=algorithm, headers={"kid": "one", **(headers or {})})


def coded(part: dict[str, Any] | bytes) -> str:
    written = part if isinstance(part, bytes) else json.dumps(part).encode()
    return base64.urlsafe_b64encode(written).rstrip(b"=").decode()


def made_of(header: dict[str, Any], signature: bytes = b"", **claims: Any) -> str:
    told = {**CLAIMS, "exp": int(time.time()) + 600, **claims}
    return f"{coded(header)}.{coded(told)}.{coded(signature)}"


def by_public_key(secret: bytes, header: dict[str, Any]) -> str:
    """A token signed by HMAC, with what everybody knows in place of the secret."""
    unsigned = made_of(header).rpartition(".")[0]
    return f"{unsigned}.{coded(hmac.new(secret, unsigned.encode(), hashlib.sha256).digest())}"


def public(how: serialization.PublicFormat, encoding: serialization.Encoding) -> bytes:
    return KEY.public_key().public_bytes(encoding, how)


PEM = public(serialization.PublicFormat.SubjectPublicKeyInfo, serialization.Encoding.PEM)
HS256 = {"alg": "HS256", "typ": "JWT", "kid": "one"}
PARTS = token().split(".")
FORGED = {
    "of the thief's own key": token(THIEF),
    "with the thief's key inside": token(
        THIEF, headers={"jwk": jwt.algorithms.RSAAlgorithm.to_jwk(THIEF.public_key(), as_dict=True)}
    ),
    "with the thief's keys elsewhere": token(
        THIEF, headers={"jku": "http://127.0.0.1/", "x5u": "http://127.0.0.1/"}
    ),
    "of a key that is not known": token(THIEF, headers={"kid": "two"}),
    "signed by nobody": made_of({"alg": "none", "typ": "JWT"}),
    "signed by None": made_of({"alg": "None", "kid": "one"}),
    "signed by NONE with a signature": made_of({"alg": "NONE", "kid": "one"}, b"x"),
    "without an algorithm": made_of({"typ": "JWT", "kid": "one"}, b"x"),
    "with an empty signature": made_of({"alg": "RS256", "kid": "one"}),
    "with the signature of another": ".".join((*token(sub="boss").split(".")[:2], PARTS[2])),
    "with its head exchanged": f"{coded({'alg': 'none', 'kid': 'one'})}.{PARTS[1]}.{PARTS[2]}",
    "signed with the public key in PEM": by_public_key(PEM, HS256),
    "signed with the public key in PEM, stripped": by_public_key(PEM.strip(), HS256),
    "signed with the public key in DER": by_public_key(
        public(serialization.PublicFormat.SubjectPublicKeyInfo, serialization.Encoding.DER), HS256
    ),
    "signed with the public key's modulus": by_public_key(JWK["n"].encode(), HS256),
    "by another algorithm of the same key": token(algorithm="PS256"),
    "expired": token(exp=int(time.time()) - 3600),
    "not valid yet": token(nbf=int(time.time()) + 3600),
    "of another issuer": token(iss="https://two.example"),
    "of an issuer that begins alike": token(iss=f"{ISSUER}.evil.example"),
    "of no issuer": token(iss=""),
    "for another audience": token(aud="till"),
    "for no audience": token(aud=[]),
    "with a critical extension": token(THIEF, headers={"crit": ["x"], "x": 1}),
    "cut short": ".".join(PARTS[:2]),
    "with a part too many": f"{token()}.x",
    "of no sense": "a.b.c",
    "that is empty": "",
}


def status(asking: Callers, *, method: str = "GET", path: str = "/", port: int = 8080, **headers: str) -> str:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return asking.ask(Ask("", "", method, port, path, "", headers=named))


def test_a_good_token_lets_in(asking: Callers) -> None:
    assert status(asking, authorization=f"Bearer {token()}") == "200"
    assert status(asking, path=f"/?access_token={token()}") == "200"
    assert status(asking) == "403"


@pytest.mark.parametrize("kind", FORGED)
def test_a_token_lets_nobody_in(asking: Callers, kind: str) -> None:
    assert status(asking, authorization=f"Bearer {FORGED[kind]}") in {"401", "403"}
    assert status(asking, path=f"/?access_token={FORGED[kind]}") in {"401", "403"}


def test_a_forged_token_is_not_outweighed_by_a_good_one(asking: Callers) -> None:
    forged, good = FORGED["of the thief's own key"], token()
    assert status(asking, authorization=f"Bearer {forged}", path=f"/?access_token={good}") == "401"
    assert status(asking, authorization=f"Bearer {good}", path=f"/?access_token={forged}") == "401"
    for first, last in ((forged, good), (good, forged)):
        more = (("authorization", f"Bearer {last}"),)
        twice = Ask("", "", "GET", 8080, "/", "", headers={"authorization": f"Bearer {first}"}, more=more)
        assert asking.ask(twice) == "401"


def said(asking: Callers, port: int, *lines: str) -> str:
    """The first line of the answer to a request that is written by hand; nothing where the connection ends."""

    def ask() -> str:
        with socket.create_connection((POD, port), timeout=10) as connection:
            connection.sendall("\r\n".join((*lines, "", "")).encode())
            received = b""
            with contextlib.suppress(ConnectionError):
                while b"\r\n" not in received and (more := connection.recv(4096)):
                    received += more
            return received.partition(b"\r\n")[0].decode()

    return netns.inside(asking.here.namespace, ask)


@pytest.mark.parametrize(
    "request_line",
    [
        "get / HTTP/1.1",
        "GETX / HTTP/1.1",
        "CONNECT web:80 HTTP/1.1",
        "CONNECT / HTTP/1.1",
        "OPTIONS * HTTP/1.1",
        "GET  / HTTP/1.1",
        "GET /\t HTTP/1.1",
        "GET / HTTP/1.1 ",
        "GET / HTTP/9.9",
        "GET admin HTTP/1.1",
        "GET ?/ HTTP/1.1",
        "GET /\x00 HTTP/1.1",
        "GET http:///admin HTTP/1.1",
        "GET //web/admin HTTP/1.1",
        "GET /admin HTTP/1.1",
        "GET /",
    ],
)
def test_a_request_that_is_spelled_otherwise_reaches_nobody(asking: Callers, request_line: str) -> None:
    """Without a token; the port that detects its protocol takes what it does not know for bytes, and closes."""
    for port in (8080, 8081):
        answer = said(asking, port, request_line, "host: web", "connection: close")
        assert " 200 " not in answer
        assert answer == "" or answer.split()[1][0] == "4", answer


def test_headers_that_are_no_headers_reach_nobody(asking: Callers) -> None:
    good = f"authorization: Bearer {token()}"
    assert " 200 " in said(asking, 8080, "GET / HTTP/1.1", "host: web", good, "connection: close")
    for line in (":path: /", ":method: GET", "x y: z", ": z", "\tx: y", "x: \x00"):
        answer = said(asking, 8080, "GET / HTTP/1.1", "host: web", line, good, "connection: close")
        assert " 400 " in answer, (line, answer)
