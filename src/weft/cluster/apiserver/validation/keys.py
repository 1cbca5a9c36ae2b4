"""The keys of ConfigMaps and Secrets, which are file names."""

import re

_KEY = re.compile(r"[-._a-zA-Z0-9]+")
_SAYS = (
    "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',"
    "  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')"
)


def reasons(key: str) -> list[str]:
    """Why this can be no key; empty if it can."""
    found = ["must be no more than 253 bytes"] if len(key) > 253 else []
    if not _KEY.fullmatch(key):
        found.append(_SAYS)
    if key in {".", ".."}:
        found.append(f"must not be '{key}'")
    elif key.startswith(".."):
        found.append("must not start with '..'")
    return found
