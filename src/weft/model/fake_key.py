"""The keys of an issuer whose keys are not known: one that nobody can sign for.

Its point on the curve P-256 is made of a sentence by hashing, so that nobody can ever have known a private half;
Istio once used a pair for this, whose private half was in its source.
"""

import json
from base64 import urlsafe_b64encode
from hashlib import sha256
from itertools import count
from typing import Final

# NIST P-256 (FIPS 186-4, D.1.2.3): y² = x³ - 3x + b, and p = 3 modulo 4
_P: Final = 2**256 - 2**224 + 2**192 + 2**96 - 1
_B: Final = 0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B
_SENTENCE: Final = b"The keys of this issuer could not be fetched."


def _point() -> tuple[int, int]:
    for number in count():
        x = int.from_bytes(sha256(_SENTENCE + number.to_bytes(4)).digest())
        square = (x**3 - 3 * x + _B) % _P
        y = pow(square, (_P + 1) // 4, _P)
        if x < _P and y * y % _P == square:
            return x, y
    raise AssertionError


def _encoded(value: int) -> str:
    return urlsafe_b64encode(value.to_bytes(32)).rstrip(b"=").decode()


def _no_keys() -> str:
    x, y = _point()
    key = {"kty": "EC", "crv": "P-256", "kid": "not-fetched", "x": _encoded(x), "y": _encoded(y)}
    return json.dumps({"keys": [key]})


NO_KEYS: Final = _no_keys()
"""A JWKS that verifies no token."""
