"""Reading an object of a built-in kind by its schema, as Go's typed decoder would.

What Go's structs cannot hold is dropped and named (unknown fields), what they hold differently is brought to
one form (quantities), and a wrong type is a 400 that names the field.
"""

import string
from dataclasses import dataclass, field
from typing import Any

from weft.cluster.apiserver import errors, quantities
from weft.cluster.apiserver.kinds import Kind
from weft.cluster.apiserver.schemas import Schema, Schemas

# Fields that Kubernetes prints even when they are null.
_KEPT_NULLS = frozenset({"lastProbeTime"})
_QUANTITY = "Quantity"
_GO_TYPES = {"boolean": "bool", "string": "string", "number": "float64"}
_BYTES = "byte"
_BASE64 = frozenset(string.ascii_letters + string.digits + "+/")
_NO_QUANTITY = "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"


@dataclass(slots=True)
class Decoded:
    """An object in its kind's form, and the paths of fields that the kind does not have."""

    obj: dict[str, Any]
    unknown: list[str]


@dataclass(slots=True)
class _Walk:
    kind: Kind
    schemas: Schemas
    unknown: list[str] = field(default_factory=list)

    def wrong_type(self, value: Any, path: str, owner: str, wanted: str) -> errors.StatusError:
        plain = ".".join(part.partition("[")[0] for part in path.split("."))
        shown = json_type(value)
        if shown == "number" and wanted.startswith("int"):
            shown += f" {value}"[:50]
        return self.refused(
            f"json: cannot unmarshal {shown} into Go struct field {owner}.{plain} of type {wanted}"
        )

    def go_type(self, schema: Schema) -> str:
        """What Go calls the type of a field."""
        name = self.schemas.type_name(schema)
        schema = self.schemas.resolve(schema)
        match _type(schema):
            case "integer":
                return "int64" if schema.get("format") == "int64" else "int32"
            case "array":
                return f"[]{self.go_type(schema.get('items', {}))}"
            case "object" if name:
                package = "resource" if name == _QUANTITY else self.kind.version
                return f"{package}.{name}"
            case "object":
                extra = schema.get("additionalProperties")
                return f"map[string]{self.go_type(extra) if isinstance(extra, dict) else 'interface {}'}"
            case other:
                return _GO_TYPES.get(other, other)

    def refused(self, why: str) -> errors.StatusError:
        return errors.bad_request(
            f'{self.kind.kind} in version "{self.kind.version}" cannot be handled as a {self.kind.kind}: {why}'
        )

    def value(self, value: Any, schema: Schema, path: str, owner: str) -> Any:
        given, name = schema, self.schemas.type_name(schema)
        schema = self.schemas.resolve(schema)
        if name == _QUANTITY:
            return self.quantity(value)
        if "oneOf" in schema:
            if isinstance(value, bool) or not isinstance(value, int | str):
                raise self.refused(f"json: cannot unmarshal {json_type(value)} into Go value of type int32")
            return value
        wanted = _type(schema)
        match wanted, value:
            case ("object", dict()):
                return self.object(value, schema, path, name or owner)
            case ("array", list()):
                items = schema.get("items", {})
                return [self.value(item, items, f"{path}[{i}]", owner) for i, item in enumerate(value)]
            case ("", _):
                return value
        if not _is(value, wanted) or (wanted == "integer" and not _holds(value, schema)):
            raise self.wrong_type(value, path, owner, self.go_type(given))
        if schema.get("format") == _BYTES and (at := _corrupt_base64(value)) is not None:
            raise self.refused(f"illegal base64 data at input byte {at}")
        return int(value) if wanted == "integer" else value

    def object(self, value: dict[str, Any], schema: Schema, path: str, owner: str) -> dict[str, Any]:
        properties = schema.get("properties")
        if properties is None:
            extra = schema.get("additionalProperties")
            if not isinstance(extra, dict):
                return value  # an open object, such as FieldsV1 or RawExtension
            return {key: self.value(item, extra, path, owner) for key, item in value.items() if item is not None}
        result = {}
        for key, item in value.items():
            where = f"{path}.{key}" if path else key
            known = properties.get(key)
            if known is None:
                self.unknown.append(where)
            elif item is not None:
                result[key] = self.value(item, known, where, owner)
            elif key in _KEPT_NULLS:
                result[key] = None
        return result

    def quantity(self, value: Any) -> str:
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            raise self.refused(_NO_QUANTITY)
        try:
            return quantities.canonical(str(value).strip())
        except ValueError as error:
            raise self.refused(str(error)) from error


def _corrupt_base64(text: str) -> int | None:
    """The byte at which Go's decoder gives up on a text; None where it is sound. Line ends are nothing."""
    plain = [(at, letter) for at, letter in enumerate(text) if letter not in "\r\n"]
    for number, (at, letter) in enumerate(plain):
        if letter in _BASE64:
            continue
        rest = "".join(other for _, other in plain[number:])
        if letter != "=" or number % 4 < 2:
            return at
        if rest == "=" * (4 - number % 4):
            return None
        return len(text) if rest == "=" else at + (rest[:2] == "==")
    return None if len(plain) % 4 == 0 else plain[len(plain) - len(plain) % 4][0]


def _type(schema: Schema) -> str:
    kind = schema.get("type", "")
    if isinstance(kind, str):
        return kind
    return next((item for item in kind if item != "null"), "")


def _is(value: Any, wanted: str) -> bool:
    match wanted:
        case "string":
            return isinstance(value, str)
        case "boolean":
            return isinstance(value, bool)
        case "integer":
            return not isinstance(value, bool) and (isinstance(value, int) or _whole(value))
        case "number":
            return isinstance(value, int | float) and not isinstance(value, bool)
        case _:
            return False


def _holds(value: Any, schema: Schema) -> bool:
    """Whether Go's integer of that size can hold the number."""
    most = 2 ** (63 if schema.get("format") == "int64" else 31)
    return bool(-most <= value < most)


def _whole(value: Any) -> bool:
    return isinstance(value, float) and value.is_integer()


def json_type(value: Any) -> str:
    """What Go calls a value of JSON in its errors."""
    match value:
        case bool():
            return "bool"
        case str():
            return "string"
        case int() | float():
            return "number"
        case list():
            return "array"
        case _:
            return "object"


def decode(obj: dict[str, Any], kind: Kind, schema: Schema, schemas: Schemas) -> Decoded:
    """Bring `obj` to the form of its kind. A wrong type raises a 400; unknown fields are returned, dropped."""
    walk = _Walk(kind, schemas)
    result = walk.object(obj, schema, "", kind.kind)
    return Decoded(result, walk.unknown)


def missing(obj: dict[str, Any], schema: Schema, schemas: Schemas, path: str = "") -> list[errors.FieldError]:
    """The required fields that are absent, below any object that is there."""
    schema = schemas.resolve(schema)
    found = [errors.required(_join(path, name)) for name in schema.get("required", ()) if name not in obj]
    extra = schema.get("additionalProperties")
    for key, value in obj.items():
        if not path and key == "status":
            continue  # what is observed is not wanted; Go fills its required fields with zeros
        inner = schema.get("properties", {}).get(key, extra if isinstance(extra, dict) else None)
        if inner is not None:
            found += _missing_in(value, inner, schemas, _join(path, key))
    return found


def _missing_in(value: Any, schema: Schema, schemas: Schemas, path: str) -> list[errors.FieldError]:
    if isinstance(value, dict):
        return missing(value, schema, schemas, path)
    if isinstance(value, list):
        items = schemas.resolve(schema).get("items", {})
        return [e for i, item in enumerate(value) for e in _missing_in(item, items, schemas, f"{path}[{i}]")]
    return []


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
