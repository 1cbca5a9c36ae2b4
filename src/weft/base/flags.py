"""Yes and no as environment variables of Istio's programs write them."""

from typing import Final

_YES: Final = frozenset({"1", "t", "T", "TRUE", "true", "True"})


def is_true(text: str) -> bool:
    """Whether a text says yes, by the words of Go's ParseBool.

    >>> [is_true(each) for each in ("true", "1", "no", "")]
    [True, True, False, False]
    """
    return text in _YES
