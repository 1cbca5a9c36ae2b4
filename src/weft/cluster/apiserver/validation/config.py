"""ConfigMaps and Secrets."""

import base64
import binascii
from typing import Any

import msgspec

from weft.cluster.apiserver.errors import FieldError, forbidden_field, invalid_value, required, too_long
from weft.cluster.apiserver.validation import keys
from weft.cluster.apiserver.validation.rules import Found, immutable

Obj = dict[str, Any]
_LARGEST = 1024 * 1024
_FROZEN = "field is immutable when `immutable` is set"
_REDACTED = "<secret contents redacted>"
# the type of a Secret, and the keys it must have
_NEEDED = {
    "kubernetes.io/dockercfg": (".dockercfg",),
    "kubernetes.io/dockerconfigjson": (".dockerconfigjson",),
    "kubernetes.io/ssh-auth": ("ssh-privatekey",),
    "kubernetes.io/tls": ("tls.crt", "tls.key"),
}
_JSON = frozenset({"kubernetes.io/dockercfg", "kubernetes.io/dockerconfigjson"})
_TOKEN, _ACCOUNT = "kubernetes.io/service-account-token", "kubernetes.io/service-account.name"
_LOGIN = ("username", "password")


def _keys(data: Obj, path: str) -> Found:
    for key in sorted(data):
        for why in keys.reasons(key):
            yield invalid_value(f"{path}[{key}]", key, why)


def _decoded(value: str) -> bytes:
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        return b""  # the decoder refuses it; nobody gets here with it


def config_map(obj: Obj) -> list[FieldError]:
    """Keys are file names, and all of it is at most a mebibyte."""
    return [*_config_map(obj.get("data") or {}, obj.get("binaryData") or {})]


def _config_map(data: Obj, binary: Obj) -> Found:
    yield from _keys(data, "data")
    for key in sorted({*data} & {*binary}):
        yield invalid_value(f"data[{key}]", key, "duplicate of key present in binaryData")
    yield from _keys(binary, "binaryData")
    size = sum(len(value.encode()) for value in data.values()) + sum(len(_decoded(v)) for v in binary.values())
    if size > _LARGEST:
        yield too_long("[]", _LARGEST)


def secret(obj: Obj) -> list[FieldError]:
    """Keys are file names, and its type says which must be there."""
    return [*_secret(obj, obj.get("data") or {})]


def _secret(obj: Obj, data: Obj) -> Found:
    yield from _keys(data, "data")
    if sum(len(_decoded(value)) for value in data.values()) > _LARGEST:
        yield too_long("data", _LARGEST)
    kind = obj.get("type", "Opaque")
    if kind == _TOKEN and not (obj["metadata"].get("annotations") or {}).get(_ACCOUNT):
        yield required(f"metadata.annotations[{_ACCOUNT}]")
    if kind == "kubernetes.io/basic-auth" and not {*data} & {*_LOGIN}:
        for key in _LOGIN:
            yield required(f"data[{key}]")
    for key in _NEEDED.get(kind, ()):
        if key not in data:
            yield required(f"data[{key}]")
        elif kind in _JSON:
            yield from _json(_decoded(data[key]), f"data[{key}]")


def _json(text: bytes, path: str) -> Found:
    try:
        found = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError):
        why = "unexpected end of JSON input" if not text.strip() else _wrong_start(text)
        yield invalid_value(path, _REDACTED, why)
        return
    if found is not None and not isinstance(found, dict):
        kind = {str: "string", list: "array", bool: "bool"}.get(type(found), "number")
        why = f"json: cannot unmarshal {kind} into Go value of type map[string]interface {{}}"
        yield invalid_value(path, _REDACTED, why)


def _wrong_start(text: bytes) -> str:
    first = text.strip().decode(errors="replace")[:1]
    if first not in {"{", "[", '"'}:
        return f"invalid character '{first}' looking for beginning of value"
    return "unexpected end of JSON input"


def config_map_changed(obj: Obj, before: Obj) -> list[FieldError]:
    """What was declared immutable stays."""
    return [*_frozen(obj, before, ("data", "binaryData"))]


def secret_changed(obj: Obj, before: Obj) -> list[FieldError]:
    """A Secret's type stays; all of it does, where it was declared immutable."""
    return [*immutable(obj, before, "", "type"), *_frozen(obj, before, ("data",))]


def _frozen(obj: Obj, before: Obj, fields: tuple[str, ...]) -> Found:
    if not before.get("immutable"):
        return
    if obj.get("immutable") is not True:
        yield forbidden_field("immutable", _FROZEN)
    for field in fields:
        if (obj.get(field) or {}) != (before.get(field) or {}):
            yield forbidden_field(field, _FROZEN)
