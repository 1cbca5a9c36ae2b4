"""A pen for problems: it knows the object, and each check only names the field."""

from dataclasses import dataclass, replace

from weft.api import codes
from weft.base.problem import At, Problem, Severity


@dataclass(frozen=True, slots=True)
class Report:
    """Writes problems of one object. Fields are paths as users write them."""

    at: At

    def error(self, field: str, message: str, hint: str, code: str = codes.SCHEMA) -> Problem:
        """Write what makes the object invalid, or gives an effect nobody asked for."""
        return Problem(code, Severity.ERROR, replace(self.at, field=field), message, hint)

    def warning(self, field: str, message: str, hint: str, code: str = codes.SCHEMA_WARNING) -> Problem:
        """Write what works otherwise than it looks."""
        return Problem(code, Severity.WARNING, replace(self.at, field=field), message, hint)

    def info(self, field: str, message: str, hint: str, code: str = codes.SCHEMA_WARNING) -> Problem:
        """Write what is good to know."""
        return Problem(code, Severity.INFO, replace(self.at, field=field), message, hint)
