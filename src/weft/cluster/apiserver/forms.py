"""Bringing what a client sent to the form of its kind, and saying what is wrong with it."""

from collections.abc import Sequence
from typing import Any

from weft.cluster.apiserver import defaults, errors, structural, validation
from weft.cluster.apiserver.cel.rules import Validator
from weft.cluster.apiserver.cluster import Call, Obj
from weft.cluster.apiserver.decoding import decode, missing
from weft.cluster.apiserver.kinds import Kind
from weft.cluster.apiserver.schemas import Schema
from weft.cluster.apiserver.scheme import Scheme
from weft.cluster.apiserver.validation import definitions


def typed(obj: Any, kind: Kind) -> Obj:
    """The object with its kind set; a 400 where it says that it is another kind."""
    if not isinstance(obj, dict):
        raise errors.bad_request(
            "the object provided is unrecognized (must be of type Object): a JSON object is wanted"
        )
    said_version, said_kind = obj.get("apiVersion"), obj.get("kind")
    if said_kind and said_kind != kind.kind:
        raise errors.bad_request(
            f'{said_kind} in version "{said_version}" cannot be handled as a {kind.kind}: converting ({said_kind})'
            f" to ({kind.kind}): unknown conversion"
        )
    if said_version and said_version != kind.api_version:
        raise errors.bad_request(
            f"the API version in the data ({said_version}) does not match the expected API"
            f" version ({kind.api_version})"
        )
    metadata = obj.get("metadata")
    if metadata is not None and not isinstance(metadata, dict):
        raise errors.bad_request(
            f'{kind.kind} in version "{kind.version}" cannot be handled as a {kind.kind}: json: cannot unmarshal'
            f" {type(metadata).__name__} into Go struct field {kind.kind}.metadata of type v1.ObjectMeta"
        )
    return {**obj, "apiVersion": kind.api_version, "kind": kind.kind, "metadata": metadata or {}}


def clean(call: Call, obj: Obj, scheme: Scheme, *, quiet: bool = False) -> Obj:
    """The object without what its kind cannot hold. Unknown fields are refused, warned of or ignored, as asked."""
    kind = call.kind
    custom = scheme.custom(kind)
    if custom:
        pruned, unknown = structural.prune(obj, custom.schema)
        result: Obj = pruned
        meta = scheme.schemas.metadata()
        found = decode({"metadata": result.get("metadata", {})}, kind, meta, scheme.schemas)
        result["metadata"] = found.obj["metadata"]
        unknown += found.unknown
        for inner in structural.embedded(result, custom.schema):
            if isinstance(inner.get("metadata"), dict):
                below = decode({"metadata": inner["metadata"]}, kind, meta, scheme.schemas)
                inner["metadata"] = below.obj["metadata"]
    else:
        schema = scheme.schemas.of(kind)
        if schema is None:
            return obj
        decoded = decode(obj, kind, schema, scheme.schemas)
        result, unknown = decoded.obj, decoded.unknown
    if not quiet:
        _unknown(call, unknown)
    return result


def _unknown(call: Call, unknown: Sequence[str]) -> None:
    if not unknown or call.validation == "Ignore":
        return
    if call.validation == "Strict":
        listed = ", ".join(f'unknown field "{path}"' for path in unknown)
        raise errors.bad_request(
            f'{call.kind.kind} in version "{call.kind.version}" cannot be handled as a {call.kind.kind}:'
            f" strict decoding error: {listed}"
        )
    call.warnings += [f'unknown field "{path}"' for path in unknown]


def fill(kind: Kind, obj: Obj, scheme: Scheme) -> None:
    """Set the kind's defaults in place."""
    if custom := scheme.custom(kind):
        structural.fill(obj, custom.schema)
    else:
        defaults.fill(kind, obj)


_BLOCKING = frozenset(
    {
        "FieldValueNotSupported",
        "FieldValueRequired",
        "FieldValueTooLong",
        "FieldValueTooMany",
        "FieldValueTypeInvalid",
    }
)


def _rules(
    call: Call, obj: Obj, scheme: Scheme, schema: Schema, before: Obj | None, found: Sequence[errors.FieldError]
) -> list[errors.FieldError]:
    """What the schema's CEL rules refuse; they are not run on an object whose form is wrong."""
    if any(error.reason in _BLOCKING for error in found):
        return [errors.BLOCKED]
    validator = Validator(scheme.cel, scheme.clock)
    validator.validate(obj, before, schema)
    call.warnings += validator.warnings
    return validator.found


def _judged(kind: Kind, obj: Obj, before: Obj | None) -> bool:
    """Whether an object is looked at again: a definition that an older server took must be able to go."""
    kept = before is not None and before.get("spec") == obj.get("spec")
    return not (kept and (kind.group, kind.kind) == definitions.KIND)


def check(call: Call, obj: Obj, scheme: Scheme, before: Obj | None = None) -> None:
    """Refuse an object that its kind does not allow (422 with every field), or a change from `before`."""
    kind = call.kind
    found = validation.metadata(kind, obj)
    if custom := scheme.custom(kind):
        found += structural.check(obj, custom.schema, old=before)
        if custom.ruled:
            found += _rules(call, obj, scheme, custom.schema, before, found)
    elif schema := scheme.schemas.of(kind):
        own = validation.check(kind, obj) if _judged(kind, obj, before) else []
        found += own
        named = {error.field for error in own}
        found += [error for error in missing(obj, schema, scheme.schemas) if error.field not in named]
    if not found:
        found += validation.expressions(kind, obj, before, scheme.cel)
    if before is not None and not found:
        found += validation.check_change(kind, obj, before)
    if found:
        raise errors.invalid(kind, obj["metadata"].get("name", ""), found)
