"""gRPC's status codes by name (gRPC, Status codes and their use)."""

from typing import Final

_NAMES: Final = (
    "OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS",
    "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED",
    "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
)  # fmt: skip

GRPC_STATUSES: Final = {name: code for code, name in enumerate(_NAMES)} | {
    str(code): code for code in range(len(_NAMES))
}
"""Codes by what people write: a name, or the number itself."""


def grpc_status(written: str) -> int | None:
    """The code of a name or number; None if there is no such status."""
    return GRPC_STATUSES.get(written.upper())
