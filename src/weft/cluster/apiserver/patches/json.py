"""JSON patch (RFC 6902), by the `jsonpatch` library."""

from typing import Any

import jsonpatch
from jsonpointer import JsonPointerException

from weft.cluster.apiserver import errors


def apply(target: dict[str, Any], operations: Any) -> dict[str, Any]:
    """The target after all operations. A malformed patch is a 400, one that does not fit the object a 422."""
    if not isinstance(operations, list):
        raise errors.bad_request(
            "error decoding patch: json: cannot unmarshal object into Go value of type jsonpatch.Patch"
        )
    try:
        result = jsonpatch.JsonPatch(operations).apply(target)
    except (jsonpatch.InvalidJsonPatch, KeyError, TypeError) as error:
        raise errors.bad_request(f"error decoding patch: {error}") from error
    except (jsonpatch.JsonPatchException, JsonPointerException) as error:
        message = f"the server rejected our request due to an error in our request: {error}"
        raise errors.StatusError(422, "Invalid", message) from error
    if not isinstance(result, dict):
        raise errors.bad_request("a patch must leave an object")
    return result
