"""Whatever stands in a field, an object is taken or refused: no rule of any kind stumbles over it."""

import copy
from collections.abc import Iterator
from typing import Any

import pytest
from tests.cluster.apiserver.mistakes import Obj, mistakes

from weft.cluster.apiserver import errors, forms, strategies
from weft.cluster.apiserver.cluster import Call
from weft.cluster.apiserver.kinds import Kind
from weft.cluster.apiserver.schemas import Schemas
from weft.cluster.apiserver.scheme import Scheme
from weft.cluster.apiserver.users import User

ODD: tuple[Any, ...] = (None, {}, [], "", "x", "-", 0, -1, 1.5, True, [{}], ["x"], {"x": {}}, {"x": "y"}, [None])
SCHEME = Scheme(Schemas.bundled())


def sound() -> dict[str, Obj]:
    """One object of each kind in the table of mistakes: a sound one where there is one."""
    found: dict[str, Obj] = {}
    for group in mistakes().values():
        for mistake in group:
            obj = mistake.sound or mistake.bad
            if obj["kind"] not in found or mistake.sound:
                found[obj["kind"]] = obj
    return found


def spoiled(value: Any) -> Iterator[Any]:
    """The value with each of its parts replaced by something odd."""
    yield from ODD
    if isinstance(value, dict):
        for key, item in value.items():
            for odd in spoiled(item):
                yield {**value, key: odd}
    elif isinstance(value, list):
        for index, item in enumerate(value):
            for odd in spoiled(item):
                yield [*value[:index], odd, *value[index + 1 :]]


def checked(kind: Kind, given: Obj, before: Obj | None) -> Obj | None:
    """The object as it would be stored; None where it is refused."""
    call = Call(kind, "default" if kind.namespaced else "", "", User("u"), validation="Ignore")
    try:
        obj = forms.clean(call, forms.typed(copy.deepcopy(given), kind), SCHEME)
        if not obj["metadata"].get("name"):
            return None  # refused before any rule is asked
        obj["metadata"].setdefault("uid", "1")
        forms.fill(kind, obj, SCHEME)
        if before is None:
            strategies.prepare_create(kind, obj, SCHEME, "2026-01-01T00:00:00Z")
        else:
            strategies.prepare_update(kind, obj, before, "")
        forms.check(call, obj, SCHEME, before)
        forms.cautions(kind, obj, SCHEME, before)
    except errors.StatusError as refused:
        if refused.code >= 500:
            raise
        return None
    return obj


@pytest.mark.parametrize("name", sorted(sound()))
def test_no_odd_value_makes_a_rule_stumble(name: str) -> None:
    given = sound()[name]
    group, _, version = given["apiVersion"].rpartition("/")
    plain = SCHEME.by_kind(group, name)
    assert plain
    kind = SCHEME.find(group, version, plain.plural) or plain
    stored = checked(kind, given, None)
    for part in [key for key in given if key not in {"apiVersion", "kind"}]:
        for odd in spoiled(given[part]):
            checked(kind, {**given, part: odd}, None)
            if stored is not None:
                checked(kind, {**given, part: odd}, stored)
