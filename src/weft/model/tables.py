"""Tables that tell whether a change changed anything, and relations between keys."""

from collections.abc import Hashable
from typing import TypeVar

K = TypeVar("K", bound=Hashable)
L = TypeVar("L", bound=Hashable)
T = TypeVar("T")


def put(table: dict[K, T], key: K, value: T | None) -> bool:
    """Set or drop a value; whether that changed anything."""
    old = table.get(key)
    if old == value:
        return False
    if value is None:
        del table[key]
    else:
        table[key] = value
    return True


def relate(table: dict[K, set[L]], one: K, other: L, *, link: bool) -> None:
    """Tie two keys to each other, or take them apart."""
    if link:
        table.setdefault(one, set()).add(other)
        return
    table.get(one, set()).discard(other)
    if not table.get(one):
        table.pop(one, None)
