"""Bringing what a client sent to the form of its kind, and saying what is wrong with it."""

import re
from collections.abc import Sequence
from typing import Any

from weft.cluster.apiserver import defaults, errors, structural, validation
from weft.cluster.apiserver.cautions import of_custom, of_object
from weft.cluster.apiserver.cel.rules import Validator
from weft.cluster.apiserver.cluster import Call, Obj
from weft.cluster.apiserver.decoding import decode, json_type, missing
from weft.cluster.apiserver.kinds import Kind
from weft.cluster.apiserver.schemas import Schema
from weft.cluster.apiserver.scheme import Scheme
from weft.cluster.apiserver.validation import definitions, pods

_WRONG_TYPE = re.compile(r"json: cannot unmarshal (\w+) into Go struct field \S+ of type (\S+)")


def typed(obj: Any, kind: Kind) -> Obj:
    """The object with its kind set; a 400 where it says that it is another kind."""
    if not isinstance(obj, dict):
        raise errors.bad_request(
            "the object provided is unrecognized (must be of type Object): a JSON object is wanted"
        )
    said_version, said_kind = obj.get("apiVersion"), obj.get("kind")
    if said_kind and said_kind != kind.kind:
        raise errors.bad_request(
            f'{said_kind} in version "{str(said_version).rpartition("/")[2]}" cannot be handled as a {kind.kind}:'
            f" converting ({_go_name(said_version, said_kind)}) to ({_internal(kind)}): unknown conversion"
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
            f" {json_type(metadata)} into Go struct field {kind.kind}.metadata of type v1.ObjectMeta"
        )
    return {**obj, "apiVersion": kind.api_version, "kind": kind.kind, "metadata": metadata or {}}


def _go_name(version: Any, kind: Any) -> str:
    return f"{str(version).rpartition('/')[2]}.{kind}"


def _internal(kind: Kind) -> str:
    return f"{kind.group.partition('.')[0] or 'core'}.{kind.kind}"


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
        try:
            decoded = decode(obj, kind, schema, scheme.schemas)
        except errors.StatusError as error:
            raise _refused(call, error) from None
        result, unknown = decoded.obj, decoded.unknown
    if not quiet:
        _strict(call, [f'duplicate field "{path}"' for path in call.repeated], unknown)
    return result


def _strict(call: Call, repeated: Sequence[str], unknown: Sequence[str]) -> None:
    """Say what a strict decoder says of a body: as warnings, or as a refusal."""
    found = [*repeated, *(f'unknown field "{path}"' for path in unknown)]
    if not found or call.validation == "Ignore":
        return
    if call.validation == "Warn":
        call.warnings += found
        return
    refused = errors.bad_request(
        f'{call.kind.kind} in version "{call.kind.version}" cannot be handled as a {call.kind.kind}:'
        f" strict decoding error: {', '.join(found)}"
    )
    raise _refused(call, refused)


def _refused(call: Call, error: errors.StatusError) -> errors.StatusError:
    """A body that cannot be decoded, or, where it came of a patch, the patch that is to blame."""
    if not call.patch:
        return error
    why = error.message.partition(f" cannot be handled as a {call.kind.kind}: ")[2] or error.message
    found = errors.invalid_value("patch", call.patch, _converted(why) if call.patch.startswith("map[") else why)
    causes = [{"reason": found.reason, "message": found.text, "field": found.field}]
    return errors.StatusError(422, "Invalid", f' "" is invalid: {found}', {"causes": causes})


def check_debugging(kind: Kind, pod: Obj, before: Obj) -> None:
    """Refuse what `kubectl debug` may not add to a pod, or change of what it added before."""
    if found := pods.debugged(pod, before):
        raise errors.invalid(kind, pod["metadata"].get("name", ""), found)


def _converted(why: str) -> str:
    """A wrong type in the words of the converter that takes strategic patches, which is no JSON decoder."""
    if not (found := _WRONG_TYPE.fullmatch(why)):
        return why
    value, wanted = found[1], found[2]
    given = {"number": "int64", "object": "map", "array": "slice"}.get(value, value)
    if wanted.startswith(("[]", "map[")):
        return f"cannot restore {'slice' if wanted.startswith('[]') else 'map'} from {given}"
    if "." in wanted:
        return f"cannot restore struct from: {given}"
    if (value, wanted) == ("number", "string"):
        return "cannot convert int64 to string"
    return f"unrecognized type: {wanted}"


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


def check(call: Call, obj: Obj, scheme: Scheme, before: Obj | None = None, *, status: bool = False) -> None:
    """Refuse an object that its kind does not allow (422 with every field), or a change from `before`.

    `status`: nothing else can have changed, and what a built-in kind reports of itself is taken as it is.
    """
    kind = call.kind
    custom = scheme.custom(kind)
    found = validation.metadata(kind, obj, before, built_in=custom is None)
    if custom:
        found += structural.check(obj, custom.schema, old=before)
        if custom.ruled:
            found += _rules(call, obj, scheme, custom.schema, before, found)
    elif not status and (schema := scheme.schemas.of(kind)):
        own = validation.check(kind, obj, before) if _judged(kind, obj, before) else []
        found += own
        if not validation.complete(kind):
            named = {error.field for error in own}
            found += [error for error in missing(obj, schema, scheme.schemas) if error.field not in named]
    if not found:
        found += validation.expressions(kind, obj, before, scheme.cel)
    if found:
        raise errors.invalid(kind, obj["metadata"].get("name", ""), found)


def cautions(kind: Kind, obj: Obj, scheme: Scheme, before: Obj | None = None) -> list[str]:
    """What whoever writes this object is warned of."""
    return of_custom(obj) if scheme.custom(kind) else of_object(kind, obj, before)
