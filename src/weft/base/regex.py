"""Regular expressions as Envoy and Kubernetes read them: RE2, which never takes longer than the text is long.

The library is loaded with the first expression; most processes never need it.
"""

from functools import lru_cache
from typing import Any, Final

_SAYS: Final = {
    "missing ]": "missing closing ]",
    "missing )": "missing closing )",
    "no argument for repetition operator": "missing argument to repetition operator",
    "bad repetition operator": "invalid nested repetition operator",
    "invalid perl operator": "invalid or unsupported Perl syntax",
    "invalid repetition size": "invalid repeat count",
    "trailing \\": "trailing backslash at end of expression",
}
"""RE2's word, and that of its sibling in Go, which people know from Kubernetes."""


class RegexError(ValueError):
    """The expression is none; the message says why, as Go does."""


@lru_cache(maxsize=1024)
def compiled(pattern: str) -> Any:
    """The expression, with `search`, `fullmatch`, `sub` and `groups` as in `re`. Raises RegexError."""
    import re2

    options = re2.Options()
    options.log_errors = False
    try:
        return re2.compile(pattern, options)
    except re2.error as error:
        why = error.args[0]
        what, _, part = (why.decode(errors="replace") if isinstance(why, bytes) else str(why)).partition(": ")
        said = _SAYS.get(what, what)
        raise RegexError(f"{said}: `{part}`" if part else said) from None


def fits(pattern: str, text: str) -> bool:
    """Whether the whole text fits an expression."""
    return compiled(pattern).fullmatch(text) is not None
