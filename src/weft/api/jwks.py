"""JSON Web Key Sets (RFC 7517): whether a text is one that tokens can be verified with."""

import json
from typing import Any, Final

_PARTS: Final = {"RSA": ("n", "e"), "EC": ("crv", "x", "y"), "OKP": ("crv", "x"), "oct": ("k",)}
_CURVES: Final = {"EC": {"P-256", "P-384", "P-521"}, "OKP": {"Ed25519"}}


def jwks_fault(text: str) -> str:
    """Say what is wrong with a key set, empty if nothing. One usable key is enough (Envoy skips the others)."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return "is not JSON"
    keys = found.get("keys") if isinstance(found, dict) else None
    if not isinstance(keys, list):
        return 'has no list "keys"'
    if not any(_is_usable(key) for key in keys):
        return "has no key that tokens can be verified with"
    return ""


def holds_private_keys(text: str) -> bool:
    """Whether a key set that has no fault gives secrets away: the private half of a pair."""
    return any(
        isinstance(key, dict) and key.get("kty") != "oct" and "d" in key for key in json.loads(text)["keys"]
    )


def _is_usable(key: Any) -> bool:
    kind = key.get("kty") if isinstance(key, dict) else None
    if not isinstance(kind, str) or kind not in _PARTS:
        return False
    whole = all(isinstance(key.get(part), str) and key[part] for part in _PARTS[kind])
    return whole and (kind not in _CURVES or key["crv"] in _CURVES[kind])
