"""JSON patch (RFC 6902), by the `jsonpatch` library, within the bounds that the API server sets."""

import copy
from typing import Any

import jsonpatch
import msgspec
from jsonpointer import JsonPointer, JsonPointerException

from weft.cluster.apiserver import decoding, errors
from weft.cluster.apiserver.depth import DEEPEST, too_deep

MOST = 10_000
"""Operations in a patch."""
COPIED = 3 * 1024 * 1024
"""Bytes that the `copy` operations of a patch may add."""


def apply(target: dict[str, Any], operations: Any) -> dict[str, Any]:
    """The target after all operations. A malformed patch is a 400, one that does not fit the object a 422."""
    if not isinstance(operations, list):
        what = decoding.json_type(operations)
        raise errors.bad_request(
            f"error decoding patch: json: cannot unmarshal {what} into Go value of type jsonpatch.Patch"
        )
    if len(operations) > MOST:
        most = f"The allowed maximum operations in a JSON patch is {MOST}, got {len(operations)}"
        raise errors.StatusError(413, "RequestEntityTooLarge", f"Request entity too large: {most}")
    try:
        jsonpatch.JsonPatch(operations)  # all must be well-formed before the first is done
        result = _applied(copy.deepcopy(target), operations)
    except (jsonpatch.InvalidJsonPatch, JsonPointerException, KeyError, TypeError) as error:
        raise errors.bad_request(f"error decoding patch: {error}") from error
    except RecursionError:
        raise _rejected(f"the object would be nested deeper than {DEEPEST} levels") from None
    if not isinstance(result, dict):
        raise errors.bad_request("a patch must leave an object")
    if too_deep(result):
        raise _rejected(f"the object would be nested deeper than {DEEPEST} levels")
    return result


def _applied(result: Any, operations: list[dict[str, Any]]) -> Any:
    copied = 0
    for operation in operations:
        op, path = operation["op"], operation["path"]
        try:
            if op == "copy":
                copied += len(msgspec.json.encode(JsonPointer(operation["from"]).resolve(result)))
                if copied > COPIED:
                    size = f"the accumulated size increase of copy is {copied}, exceeding the limit {COPIED}"
                    raise _rejected(f"Unable to complete the copy, {size}")
            result = jsonpatch.JsonPatch([operation]).apply(result, in_place=True)
        except jsonpatch.JsonPatchTestFailed:
            raise _rejected(f"testing value {path} failed: test failed") from None
        except (jsonpatch.JsonPatchException, JsonPointerException) as error:
            if isinstance(error, jsonpatch.InvalidJsonPatch):
                raise
            raise _rejected(f"{op} operation does not apply: doc is missing path: {path}: missing value") from None
    return result


def _rejected(why: str) -> errors.StatusError:
    most = 500  # a path may be as long as a body
    message = f"the server rejected our request due to an error in our request: {why[:most]}"
    return errors.StatusError(422, "Invalid", message)
