"""Names of tokens' claims, as rules write them."""

import re
from typing import Final

CLAIMS: Final = "@request.auth.claims"
"""Begins the name of a claim where a rule may name headers too."""

_BRACKETS: Final = re.compile(r"(?:\[[^\[\]]+\])+")


def claim_path(name: str) -> tuple[str, ...]:
    """The path of `@request.auth.claims.realm.role` or `@request.auth.claims[realm][role]`; () if it is none.

    Brackets hold names with dots in them, such as URLs.
    """
    if not name.lower().startswith(CLAIMS):
        return ()
    rest = name[len(CLAIMS) :]
    if _BRACKETS.fullmatch(rest):
        return tuple(rest[1:-1].split("]["))
    parts = tuple(rest[1:].split("."))
    return parts if rest.startswith(".") and all(parts) and not set("[]") & set(rest) else ()
