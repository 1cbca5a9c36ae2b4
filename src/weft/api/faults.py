"""Where and why an object does not fit its shape: every place, by the path that users write.

msgspec stops at the first misfit and writes `[...]` for a map's key; this walk comes after it refused.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from msgspec import inspect

from weft.api.shape import NUMBER_HINT
from weft.base.names import nearest

_PLAIN_KEY = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)
_MAX_SHOWN = 60


@dataclass(frozen=True, slots=True)
class Fault:
    """One misfit. `path` is empty for the object itself."""

    path: str
    message: str
    hint: str


def key_path(path: str, key: str) -> str:
    """Join a map's key to a path: `headers.user`, `headers["x.y"]`."""
    if not _PLAIN_KEY.fullmatch(key):
        return f'{path}["{key}"]'
    return f"{path}.{key}" if path else key


def faults(kind: inspect.Type, value: Any, path: str = "") -> Iterator[Fault]:
    """Walk `value` along its type and give every misfit, in the order of the shape's fields."""
    match kind:
        case inspect.Metadata(type=inner, extra=extra):
            hint = (
                (extra or {}).get(NUMBER_HINT, "")
                if isinstance(value, int | float) and not isinstance(value, bool)
                else ""
            )
            for each in faults(inner, value, path):
                yield replace(each, hint=hint.format(value)) if hint else each
        case inspect.UnionType(types=types):
            yield from _union(types, value, path)
        case inspect.StructType():
            yield from _struct(kind, value, path)
        case inspect.DictType(value_type=inner):
            yield from _map(inner, value, path)
        case inspect.VarTupleType(item_type=inner) | inspect.ListType(item_type=inner):
            yield from _list(inner, value, path)
        case _:
            yield from _scalar(kind, value, path)


def _scalar(kind: inspect.Type, value: Any, path: str) -> Iterator[Fault]:
    match kind:
        case inspect.LiteralType(values=values):
            if value not in values:
                yield choice(tuple(str(each) for each in values), value, path)
        case inspect.StrType():
            if not isinstance(value, str):
                hint = (
                    f'Write it in quotes: "{value}".'
                    if isinstance(value, int | float) and not isinstance(value, bool)
                    else ""
                )
                yield expected("a string", value, path, hint)
        case inspect.BoolType():
            if not isinstance(value, bool):
                yield expected("true or false", value, path, "Write it without quotes.")
        case inspect.IntType() | inspect.FloatType():
            yield from _number(kind, value, path)
        case _:
            return


def _struct(kind: inspect.StructType, value: Any, path: str) -> Iterator[Fault]:
    if not isinstance(value, Mapping):
        yield expected("an object", value, path)
        return
    known = {each.encode_name: each for each in kind.fields}
    for name, each in known.items():
        if name in value:
            yield from faults(each.type, value[name], key_path(path, name))
        elif each.required:
            yield Fault(key_path(path, name), "the field is missing.", f"Add {name}.")
    if not kind.forbid_unknown_fields:
        return
    for name in value:
        if name not in known:
            near = nearest(str(name), known)
            hint = f'Did you mean "{near}"?' if near else f"Known here: {', '.join(sorted(known))}."
            yield Fault(key_path(path, str(name)), f'unknown field "{name}".', hint)


def _union(types: tuple[inspect.Type, ...], value: Any, path: str) -> Iterator[Fault]:
    if value is None and any(isinstance(each, inspect.NoneType) for each in types):
        return
    candidates = [list(faults(each, value, path)) for each in types if not isinstance(each, inspect.NoneType)]
    yield from min(candidates, key=len, default=())


def _map(inner: inspect.Type, value: Any, path: str) -> Iterator[Fault]:
    if not isinstance(value, Mapping):
        yield expected("a map", value, path)
        return
    for key, each in value.items():
        yield from faults(inner, each, key_path(path, str(key)))


def _list(inner: inspect.Type, value: Any, path: str) -> Iterator[Fault]:
    if not isinstance(value, list | tuple):
        yield expected("a list", value, path, "Write each entry on a line of its own, after a dash.")
        return
    for index, each in enumerate(value):
        yield from faults(inner, each, f"{path}[{index}]")


def _number(kind: inspect.IntType | inspect.FloatType, value: Any, path: str) -> Iterator[Fault]:
    whole = isinstance(kind, inspect.IntType)
    noun = "a whole number" if whole else "a number"
    fits = isinstance(value, int) or (isinstance(value, float) and (not whole or value.is_integer()))
    if isinstance(value, bool) or not fits:
        quoted = isinstance(value, str) and value.strip().lstrip("-").replace(".", "", 1).isdecimal()
        yield expected(noun, value, path, "Write it without quotes." if quoted else "")
        return
    low, high = kind.ge, kind.le
    if (low is not None and value < low) or (high is not None and value > high):
        bounds = f"{low} to {high}" if high is not None else f"{low} or more"
        yield Fault(path, f"{value} is out of range.", f"Use {noun}, {bounds}.")


def choice(values: tuple[str, ...], value: Any, path: str) -> Fault:
    """Say that a value is none of those that are known."""
    near = nearest(str(value), values)
    hint = f'Did you mean "{near}"?' if near else f"Use one of {', '.join(values)}."
    return Fault(path, f"{_shown(value)} is not one of the known values.", hint)


def expected(noun: str, value: Any, path: str, hint: str = "") -> Fault:
    """Say that a value is of another kind."""
    return Fault(path, f"expected {noun}, got {_shown(value)}.", hint or f"Write {noun} here.")


def _shown(value: Any) -> str:
    match value:
        case None:
            return "nothing"
        case bool():
            return str(value).lower()
        case str():
            text = f'"{value}"'
        case Mapping():
            return "an object"
        case list() | tuple():
            return "a list"
        case _:
            text = str(value)
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}…"
