"""How deep objects may be nested: far deeper than any kind's, and never too deep for a recursive walk."""

from typing import Any

DEEPEST = 100


def too_deep(value: Any, left: int = DEEPEST) -> bool:
    """Whether a value of JSON is nested deeper than that."""
    if left == 0:
        return True
    if isinstance(value, dict):
        return any(too_deep(item, left - 1) for item in value.values())
    return isinstance(value, list) and any(too_deep(item, left - 1) for item in value)
