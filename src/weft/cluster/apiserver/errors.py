"""Refusals of the API server: an exception that carries a Kubernetes `Status`.

The sentences are the ones that kubectl's users know (apimachinery, `pkg/api/errors` and `field.Error`).
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from weft.cluster.apiserver.kinds import Kind


class StatusError(Exception):
    """A request that is refused; `status()` is the body of the answer and `code` its HTTP code."""

    def __init__(
        self, code: int, reason: str, message: str, details: dict[str, Any] | None = None, *, retry_after: int = 0
    ) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message
        self.details = {**(details or {}), **({"retryAfterSeconds": retry_after} if retry_after else {})}
        self.retry_after = retry_after
        self.metadata: dict[str, Any] = {}
        """The list metadata of the answer."""

    def status(self) -> dict[str, Any]:
        """The `Status` object that clients decode."""
        body: dict[str, Any] = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": self.metadata,
            "status": "Failure",
            "message": self.message,
            **({"reason": self.reason} if self.reason else {}),
        }
        if self.details:
            body["details"] = self.details
        body["code"] = self.code
        return body


@dataclass(frozen=True, slots=True)
class FieldError:
    """One field that is wrong. `reason` is a cause such as `FieldValueInvalid`; `text` follows the field."""

    field: str
    reason: str
    text: str

    def __str__(self) -> str:
        return f"{self.field}: {self.text}"


class Shown(str):
    """A bad value as its message shall show it: for what Go prints in a form of its own."""

    __slots__ = ()


NIL_MAP = Shown("null")
"""A map or list that is absent; absent pointers (None) are shown in quotes."""


def _shown(value: Any) -> str:
    match value:
        case Shown():
            return str(value)
        case None:
            return '"null"'
        case dict() | list():
            text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
            return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")  # as Go does
        case _:
            return json.dumps(value, ensure_ascii=False)


BLOCKED = FieldError(
    "<nil>",
    "FieldValueInvalid",
    'Invalid value: "null": some validation rules were not checked because the object was invalid; correct the'
    " existing errors to complete validation",
)
"""Said after errors of the schema that keep rules from being run."""


def required(field: str, detail: str = "") -> FieldError:
    """A field that is absent and must not be."""
    return FieldError(field, "FieldValueRequired", f"Required value: {detail}" if detail else "Required value")


def invalid_value(field: str, value: Any, detail: str) -> FieldError:
    """A field whose value is malformed."""
    return FieldError(field, "FieldValueInvalid", f"Invalid value: {_shown(value)}: {detail}")


def unsupported(field: str, value: Any, supported: Sequence[Any]) -> FieldError:
    """A field whose value is none of an enumeration."""
    known = ", ".join(_shown(item) for item in supported)
    return FieldError(
        field, "FieldValueNotSupported", f"Unsupported value: {_shown(value)}: supported values: {known}"
    )


def duplicate(field: str, value: Any) -> FieldError:
    """A value that must be unique in its list."""
    return FieldError(field, "FieldValueDuplicate", f"Duplicate value: {_shown(value)}")


def forbidden_field(field: str, detail: str) -> FieldError:
    """A field that may not be set or changed here."""
    return FieldError(field, "FieldValueForbidden", f"Forbidden: {detail}")


def not_found_field(field: str, value: Any) -> FieldError:
    """A field that names something that is not there."""
    return FieldError(field, "FieldValueNotFound", f"Not found: {_shown(value)}")


def too_long(field: str, most: int) -> FieldError:
    """A value of more bytes than allowed; it is not shown."""
    return FieldError(field, "FieldValueTooLong", f"Too long: may not be more than {most} bytes")


def too_many(field: str, count: int, most: int) -> FieldError:
    """A list of more items than allowed."""
    return FieldError(field, "FieldValueTooMany", f"Too many: {count}: must have at most {most} items")


def _details(kind: Kind, name: str) -> dict[str, Any]:
    return {
        **({"name": name} if name else {}),
        **({"group": kind.group} if kind.group else {}),
        "kind": kind.plural,
    }


def not_found(kind: Kind, name: str) -> StatusError:
    """404: `pods "x" not found`."""
    return StatusError(404, "NotFound", f'{kind.group_resource} "{name}" not found', _details(kind, name))


def already_exists(kind: Kind, name: str) -> StatusError:
    """409: `deployments.apps "x" already exists`."""
    return StatusError(
        409, "AlreadyExists", f'{kind.group_resource} "{name}" already exists', _details(kind, name)
    )


def conflict(kind: Kind, name: str, detail: str = "") -> StatusError:
    """409: somebody else wrote since the object was read."""
    why = detail or "the object has been modified; please apply your changes to the latest version and try again"
    message = f'Operation cannot be fulfilled on {kind.group_resource} "{name}": {why}'
    return StatusError(409, "Conflict", message, _details(kind, name))


def invalid(kind: Kind, name: str, errors: Sequence[FieldError]) -> StatusError:
    """422 with one cause per field."""
    said = list(dict.fromkeys(str(error) for error in errors))
    text = said[0] if len(said) == 1 else "[" + ", ".join(said) + "]"
    details = {
        **({"name": name} if name else {}),
        **({"group": kind.group} if kind.group else {}),
        "kind": kind.kind,
        "causes": [{"reason": e.reason, "message": e.text, "field": e.field} for e in errors],
    }
    return StatusError(422, "Invalid", f'{kind.group_kind} "{name}" is invalid: {text}', details)


def invalid_options(options: str, found: FieldError) -> StatusError:
    """422: what a request's query or options say; `options` is their kind, such as `ListOptions`."""
    return invalid(Kind("meta.k8s.io", "v1", options, "", ""), "", [found])


def forbidden(kind: Kind, name: str, why: str, causes: Sequence[dict[str, str]] = ()) -> StatusError:
    """403: `pods "x" is forbidden: why`."""
    details = {**_details(kind, name), **({"causes": list(causes)} if causes else {})}
    what = f'{kind.group_resource} "{name}"' if name else kind.group_resource
    return StatusError(403, "Forbidden", f"{what} is forbidden: {why}", details)


def bad_request(message: str) -> StatusError:
    """400: the request itself cannot be understood."""
    return StatusError(400, "BadRequest", message)


def expired(message: str) -> StatusError:
    """410: a revision or a list's continuation that is no longer kept."""
    return StatusError(410, "Expired", message)


def no_such_path() -> StatusError:
    """404 for a path that is no resource of this server."""
    return StatusError(404, "NotFound", "the server could not find the requested resource")


def method_not_allowed(kind: Kind) -> StatusError:
    """405: the resource does not have this verb."""
    said = "the server does not allow this method on the requested resource"
    return StatusError(405, "MethodNotAllowed", said, _details(kind, ""))


def internal(message: str) -> StatusError:
    """500: something outside the request failed, such as an admission webhook."""
    return StatusError(
        500, "InternalError", f"Internal error occurred: {message}", {"causes": [{"message": message}]}
    )
