"""Operations on lists of filters and routes: where something goes in, what goes out."""

from collections.abc import Callable, Sequence
from typing import Any

from weft.model.patches import Operation

Matches = Callable[[Any], bool]


def edited(
    items: Sequence[Any], operation: Operation, value: Any, matches: Matches | None, end: int
) -> list[Any] | None:
    """The list after one operation; None where it changes nothing.

    Args:
        items: the list before.
        operation: what is done; merges change nothing here.
        value: what goes in.
        matches: tells the entry that the operation is about; None where none is named.
        end: where ADD puts its value, as an index.
    """
    at = None if matches is None else next((n for n, each in enumerate(items) if matches(each)), None)
    match operation:
        case Operation.INSERT_FIRST:
            return [value, *items]
        case Operation.ADD:
            return [*items[:end], value, *items[end:]]
        case Operation.INSERT_BEFORE if matches is None:
            return [value, *items]
        case Operation.INSERT_AFTER if matches is None:
            return [*items[:end], value, *items[end:]]
        case Operation.INSERT_BEFORE if at is not None:
            return [*items[:at], value, *items[at:]]
        case Operation.INSERT_AFTER if at is not None:
            return [*items[: at + 1], value, *items[at + 1 :]]
        case Operation.REPLACE if at is not None:
            return [*items[:at], value, *items[at + 1 :]]
        case Operation.REMOVE if matches is not None and at is not None:
            return [each for each in items if not matches(each)]
        case _:
            return None


def put(field: Any, items: Sequence[Any]) -> None:
    """Make `items` the content of a repeated field."""
    copies = [type(each).FromString(each.SerializeToString()) for each in items]
    del field[:]
    field.extend(copies)
