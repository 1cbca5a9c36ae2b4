"""The simple JSONPath of `additionalPrinterColumns`: fields, indexes, `[*]` and `[?(@.type=="Ready")]`."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

_TOKEN = re.compile(
    r"""
    \.?(?P<field>(?:[^.\[\]\\]|\\.)+)            # .name, with \. for a dot inside
  | \[\s*(?P<index>-?\d+)\s*\]                   # [0]
  | \.?\[?(?P<all>\*)\]?                         # [*] or .*
  | \[\s*(?P<quote>['"])(?P<quoted>.*?)(?P=quote)\s*\]   # ['a.b']
  | \[\?\(\s*@\.(?P<key>[^\s=!<>]+)\s*(?P<operator>==|!=)\s*(?P<wanted>"[^"]*"|'[^']*'|[^\s)]+)\s*\)\]
    """,
    re.VERBOSE,
)


class JsonPathError(ValueError):
    """A path that this reader does not understand; the message tells from where on."""


@dataclass(frozen=True, slots=True)
class Field:
    """A field of an object."""

    name: str


@dataclass(frozen=True, slots=True)
class Index:
    """An item of a list; negative counts from the end."""

    position: int


@dataclass(frozen=True, slots=True)
class Every:
    """All items of a list, or all values of an object."""


@dataclass(frozen=True, slots=True)
class Filter:
    """The items whose field at `path` equals, or does not equal, a text."""

    path: tuple[Field, ...]
    wanted: str
    equal: bool


Step = Field | Index | Every | Filter


@lru_cache(maxsize=1024)
def parse(path: str) -> tuple[Step, ...]:
    """The steps of `.spec.hosts[0]`; braces around it, as in templates, are allowed."""
    text, at, steps = path.strip().removeprefix("{").removesuffix("}").removeprefix("$"), 0, list[Step]()
    while at < len(text):
        token = _TOKEN.match(text, at)
        if token is None or token.end() == at:
            raise JsonPathError(f"JSONPath {path!r} is not understood from {text[at:]!r} on")
        steps.append(_step(token))
        at = token.end()
    return tuple(steps)


def _step(token: re.Match[str]) -> Step:
    if token["all"]:
        return Every()
    if token["index"]:
        return Index(int(token["index"]))
    if token["key"]:
        path = tuple(Field(name) for name in token["key"].split("."))
        return Filter(path, token["wanted"].strip("'\""), token["operator"] == "==")
    name = token["quoted"] if token["quote"] else token["field"]
    return Field(re.sub(r"\\(.)", r"\1", name))


def find(steps: tuple[Step, ...], value: Any) -> Iterator[Any]:
    """The values that a path leads to, in order; none where it leads nowhere."""
    if not steps:
        yield value
        return
    for inner in _take(steps[0], value):
        yield from find(steps[1:], inner)


def _take(step: Step, value: Any) -> Iterator[Any]:
    match step, value:
        case Field(name), dict() if name in value:
            yield value[name]
        case Index(position), list() if -len(value) <= position < len(value):
            yield value[position]
        case Every(), list():
            yield from value
        case Every(), dict():
            yield from value.values()
        case Filter(path, wanted, equal), list():
            for item in value:
                if any((_shown(found) == wanted) is equal for found in find(path, item)):
                    yield item
        case _:
            return


def _shown(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
