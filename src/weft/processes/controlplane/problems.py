"""What users should mend, logged when it appears and when it is gone."""

import logging
from collections.abc import Callable

from weft.base.problem import Problem, Severity

log = logging.getLogger("weft.problems")


class ProblemLog:
    """Remembers what it has said. `source` works out the problems of this moment."""

    def __init__(self, source: Callable[[], tuple[Problem, ...]]) -> None:
        self._source = source
        self.current: tuple[Problem, ...] = ()

    def look(self) -> None:
        """Compare with what was there before, and say what is new and what is gone."""
        try:
            found = self._source()
        except Exception:
            # advice that cannot be worked out must not end the service
            log.exception("the problems could not be worked out")
            return
        before, after = set(self.current), set(found)
        for one in found:
            if one not in before:
                log.log(logging.INFO if one.severity is Severity.INFO else logging.WARNING, "%s", one)
        for one in self.current:
            if one not in after:
                log.info("no longer: %s", one)
        self.current = found
