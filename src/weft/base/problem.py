"""User trouble as data: what is wrong, where, and the way out."""

from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """How bad a problem is: an error has an effect that the user did not ask for."""

    ERROR = "Error"
    WARNING = "Warning"
    INFO = "Info"


@dataclass(frozen=True, slots=True, order=True)
class At:
    """Where a problem is: an object of the cluster, a file, or both; and the field in it.

    `field` is a path as users write it: `spec.http[0].route[0].destination.host`.
    """

    kind: str = ""
    namespace: str = ""
    name: str = ""
    field: str = ""
    file: str = ""
    line: int = 0

    def __str__(self) -> str:
        place = self.file and (f"{self.file}:{self.line}" if self.line else self.file)
        thing = "/".join(part for part in (self.kind, self.namespace, self.name) if part)
        return " ".join(part for part in (f"({place or thing})" if place or thing else "", self.field) if part)


@dataclass(frozen=True, slots=True)
class Problem:
    """Something a user can mend. `code` is Istio's analysis code where one exists (IST0101)."""

    code: str
    severity: Severity
    at: At
    message: str
    hint: str

    def __str__(self) -> str:
        return f"{self.severity} [{self.code}] {self.at}: {self.message} {self.hint}".rstrip()
