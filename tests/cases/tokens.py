"""Tokens in cases: made when a case is read, and judged for the model by pyjwt.

A case names its tokens and their claims, `tokens: {ME: {iss: https://one, sub: me}}`, and writes `${ME}` wherever
one is to stand. A claim `key: other` signs with a key that no rule knows, `alg` is another algorithm, `exp: -3600`
is an hour ago. `${ME_PAYLOAD}` is the middle part of a token.
`${JWKS}` is the key set that verifies all but those of the key `other`.
"""

import json
import time
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from string import Template
from typing import Any, Final

import jwt
import yaml
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from weft.model.request_authentication import TokenRule

_PLACES: Final = ((("authorization", "Bearer "),), ("access_token",))
_FITTING: Final = {"RS256": "RSA", "PS256": "RSA", "ES256": "EC", "HS256": "oct"}
_ALGORITHMS: Final = {"RS256": "rsa", "PS256": "rsa", "ES256": "ec", "HS256": "secret"}


@cache
def _keys(name: str) -> dict[str, Any]:
    return {
        "rsa": rsa.generate_private_key(65537, 2048),
        "ec": ec.generate_private_key(ec.SECP256R1()),
        "secret": f"a secret of {name}, long enough for a hash",
    }


@cache
def jwks() -> str:
    """The public keys, and the secret one."""
    keys = _keys("good")
    public = (
        jwt.algorithms.RSAAlgorithm.to_jwk(keys["rsa"].public_key(), as_dict=True),
        jwt.algorithms.ECAlgorithm.to_jwk(keys["ec"].public_key(), as_dict=True),
        jwt.algorithms.HMACAlgorithm.to_jwk(keys["secret"], as_dict=True),
    )
    return json.dumps({"keys": [{**key, "kid": key["kty"]} for key in public]})


def token(claims: Mapping[str, Any], name: str = "good") -> str:
    """A signed token, good for an hour unless its claims say otherwise; its times are counted from now."""
    claims = dict(claims)
    algorithm = claims.pop("alg", "RS256")
    key = _keys(claims.pop("key", name)).get(_ALGORITHMS.get(algorithm, ""))
    now = int(time.time())
    times = {each: now + claims.get(each, 3600) for each in ("exp", "nbf") if each == "exp" or each in claims}
    return jwt.encode(claims | times, key or "", algorithm=algorithm)


def text(path: Path) -> str:
    """A case as it is read: with its tokens."""
    written = path.read_text()
    if "\ntokens:" not in written:
        return written
    tokens = yaml.safe_load(written)["tokens"]
    made = {name: token(each) for name, each in tokens.items()}
    payloads = {f"{name}_PAYLOAD": each.split(".")[1] for name, each in made.items()}
    return Template(written).safe_substitute(made, **payloads, JWKS=jwks())


def judged(rules: tuple[TokenRule, ...], headers: dict[str, str], query: dict[str, str]) -> dict[str, Any] | int:
    """What a request's tokens come to: their claims, or the status that the request is answered with."""
    claims: dict[str, Any] = {}
    for places in {_places_of(each) for each in rules}:
        group = [each for each in rules if _places_of(each) == places]
        required = [each for each in group if each.required]
        outcomes = [_judged(each, headers, query) for each in required or group]
        good = [each for each in outcomes if isinstance(each, dict)]
        if good:
            claims = good[0]
        elif required or any(outcomes):
            return 403 if 403 in outcomes else 401
    return claims


def _places_of(rule: TokenRule) -> tuple[Any, ...]:
    own = (rule.headers, rule.params, rule.cookies)
    return own if any(own) else (*_PLACES, ())


def _judged(rule: TokenRule, headers: dict[str, str], query: dict[str, str]) -> dict[str, Any] | int:
    """The claims, 0 for no token, else the status."""
    by_header, by_parameter, by_cookie = _places_of(rule)
    jar = dict(each.strip().partition("=")[::2] for each in headers.get("cookie", "").split(";"))
    found = []
    for name, prefix in by_header:
        if name in headers and headers[name].startswith(prefix):
            found.append(headers[name].removeprefix(prefix))
    found += [query[name] for name in by_parameter if name in query]
    found += [jar[name] for name in by_cookie if name in jar]
    outcomes = [_decoded(rule, each) for each in found]
    return next((each for each in outcomes if isinstance(each, dict)), max(outcomes, default=0))


def _decoded(rule: TokenRule, text: str) -> Any:
    try:
        algorithm = jwt.get_unverified_header(text)["alg"]
        keys = [key for key in json.loads(rule.keys)["keys"] if _FITTING.get(algorithm) == key["kty"]]
        claims = jwt.decode(
            text,
            jwt.get_algorithm_by_name(algorithm).from_jwk(keys[0]),
            algorithms=list(_ALGORITHMS),
            issuer=rule.issuer or None,
            audience=rule.audiences or None,
            leeway=60,
            options={"verify_aud": bool(rule.audiences), "verify_sub": False},
        )
        return claims | {name: claims[name].split() for name in rule.words if isinstance(claims.get(name), str)}
    except (jwt.InvalidAudienceError, jwt.MissingRequiredClaimError):
        return 403
    except (jwt.PyJWTError, IndexError):
        return 401
