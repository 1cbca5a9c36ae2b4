"""Which case sets which field of Istio's kinds: the page `docs/reference/fields.md`, and what has no case.

A shape that several places share (a connection pool, the policy of a subset) is shown where it stands first; each
further place needs a case that uses it at all. What no case can show is listed in `elsewhere.yaml`, with its test.
`python -m tests.cases.fields` prints what is missing.
"""

import ast
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import msgspec
import yaml
from msgspec import inspect
from tests.cases.engine import HERE, files
from tests.cases.tokens import text

from weft.api.decode import decode
from weft.api.resources import RESOURCES
from weft.api.shape import ACTED_ON

ROOT: Final = HERE.parent.parent
PAGE: Final = ROOT / "docs" / "reference" / "fields.md"
ELSEWHERE: Final = HERE / "elsewhere.yaml"
_SHOWN = 3


@dataclass(frozen=True)
class Field:
    """A leaf of a kind's spec, or a shape that stands elsewhere too (`like`, its first place there).

    `values` are the choices, if it is one of several.
    """

    kind: str
    path: str
    values: tuple[str, ...] = ()
    acted_on: bool = True
    like: str = ""


@dataclass
class Seen:
    """Which cases set what: by kind and path, and by kind, path and value."""

    paths: dict[tuple[str, str], set[str]] = field(default_factory=lambda: defaultdict(set))
    values: dict[tuple[str, str, str], set[str]] = field(default_factory=lambda: defaultdict(set))


def fields() -> list[Field]:
    """Every field of every kind, in the order of the kinds' names and of their shapes."""
    places: dict[type, str] = {}
    found: list[Field] = []
    for kind in sorted(RESOURCES):
        spec = next(each for each in msgspec.structs.fields(RESOURCES[kind].shape) if each.name == "spec")
        found += _leaves(inspect.type_info(spec.type), Field(kind, "spec"), places)
    return found


def _leaves(node: inspect.Type, here: Field, places: dict[type, str]) -> Iterator[Field]:
    match node:
        case inspect.Metadata(type=inner, extra=extra):
            acted_on = here.acted_on and (extra or {}).get(ACTED_ON) is not False
            yield from _leaves(inner, replace(here, acted_on=acted_on), places)
        case inspect.UnionType(types=types):
            inner = next(each for each in types if not isinstance(each, inspect.NoneType))
            yield from _leaves(inner, here, places)
        case inspect.StructType(cls=cls) if cls in places:
            yield replace(here, like=places[cls])
        case inspect.StructType(cls=cls, fields=parts) if parts:
            places[cls] = f"{here.kind} {here.path.removeprefix('spec.')}"
            for each in parts:
                yield from _leaves(each.type, replace(here, path=f"{here.path}.{each.encode_name}"), places)
        case inspect.VarTupleType(item_type=item) | inspect.ListType(item_type=item):
            yield from _leaves(item, replace(here, path=f"{here.path}[]"), places)
        case inspect.LiteralType(values=values):
            yield replace(here, values=tuple(str(each) for each in values if each is not None))
        case _:
            yield here


def seen() -> Seen:
    """All that the cases set."""
    found = Seen()
    for path in files(edge=True):
        body = yaml.safe_load(text(path))
        for obj in body["given"]:
            kind = RESOURCES.get(obj["kind"])
            # what is refused shows nothing
            if kind is not None and not isinstance(decode(kind.shape, obj), tuple):
                _set(obj["kind"], obj.get("spec", {}), "spec", str(path.relative_to(HERE).with_suffix("")), found)
    return found


def _set(kind: str, value: Any, path: str, case: str, found: Seen) -> None:
    found.paths[kind, path].add(case)
    match value:
        case Mapping():
            for key, each in value.items():
                _set(kind, each, f"{path}.{key}", case, found)
        case list():
            for each in value:
                _set(kind, each, f"{path}[]", case, found)
        case _:
            found.values[kind, path, str(value)].add(case)


def elsewhere() -> dict[str, dict[str, str]]:
    """By kind and field: the test that shows what no case can."""
    return yaml.safe_load(ELSEWHERE.read_text()) or {}


def evidence(one: Field, found: Seen) -> str:
    """What shows that a field works, as the page says it; empty if nothing does."""
    if cases := found.paths.get((one.kind, one.path)):
        more = len(cases) - _SHOWN
        return ", ".join(sorted(cases)[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
    told = elsewhere().get(one.kind, {}).get(one.path, "")
    return f"`{told}`" if told else ""


def gaps() -> list[str]:
    """Fields without a case, choices that no case makes, and what `elsewhere.yaml` gets wrong."""
    found, missing = seen(), []
    for one in fields():
        if not one.acted_on:
            continue
        if not evidence(one, found):
            missing.append(f"{one.kind} {one.path}")
        elif one.path not in elsewhere().get(one.kind, {}):
            made = {value for kind, path, value in found.values if (kind, path) == (one.kind, one.path)}
            missing += [f"{one.kind} {one.path}: {each}" for each in one.values if each not in made]
    return missing + [f"elsewhere.yaml: {each}" for each in _wrong_references()]


def _wrong_references() -> Iterator[str]:
    known = {(each.kind, each.path) for each in fields()}
    for kind, told in elsewhere().items():
        for path, test in told.items():
            file, _, name = test.partition("::")
            if (kind, path) not in known:
                yield f"{kind} has no field {path}"
            if not (ROOT / file).exists() or name not in _functions(ROOT / file):
                yield f"there is no test {test}"


def _functions(path: Path) -> set[str]:
    tree = ast.parse(path.read_text())
    return {each.name for each in tree.body if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)}


def page() -> str:
    """The page: every field of every kind, and its cases."""
    found = seen()
    lines = [
        "# Fields of Istio's kinds",
        "",
        "Every field that Weft acts on, and the cases that show it. A case is a file `tests/cases/NAME.yaml`:",
        "objects as users write them, requests, and what becomes of them by the model, the simulator and Envoy.",
        "`tests/cases/test_fields.py` writes this page and fails for a field, or a choice of one, without a case.",
    ]
    kind = ""
    for one in fields():
        if one.kind != kind:
            kind = one.kind
            lines += ["", f"## {kind}", "", "| field | shown by |", "| --- | --- |"]
        shown = evidence(one, found) if one.acted_on else "not acted on; whoever sets it is told so"
        like = f" (fields as `{one.like}`)" if one.like else ""
        lines.append(f"| `{one.path.removeprefix('spec.')}`{like} | {shown} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print("\n".join(gaps()) or "nothing is missing")
