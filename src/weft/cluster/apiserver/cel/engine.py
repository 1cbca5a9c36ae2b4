"""The engine: expressions are checked against types when they are written and run on plain values afterwards.

The library is loaded with the first expression: it weighs some 20 MiB, and most clusters have none.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any

from weft.base.regex import RegexError, compiled
from weft.cluster.apiserver.cel import amounts, lists, macros, places
from weft.cluster.apiserver.cel.signatures import OPAQUE, Signature, method
from weft.cluster.apiserver.cel.types import Declared, Types

if TYPE_CHECKING:
    from collections.abc import Mapping

_PROGRAMS = 4096
_EXTENSIONS = ("strings", "math", "bindings", "encoders", "sets", "lists", "comprev2")
_SPENT = "Iteration budget exceeded"
OVER_BUDGET = "operation cancelled: actual cost limit exceeded"
OLD_SELF = "oldSelf"
_OLD = "oldSelfWhereThereIsOne"
# what the engine says → what Kubernetes' says (cel-go)
_SAID: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"Key not found in map : \"?(.*?)\"?$", re.DOTALL), r"no such key: \1"),
    (
        re.compile(r"No matching overloads found.*|Applying SELECT to non-message type", re.DOTALL),
        "no such overload",
    ),
    (re.compile(r"divide by zero"), "division by zero"),
    (re.compile(r"Index error: index=(-?\d+) .*"), r"index out of bounds: \1"),
    (re.compile(_SPENT), OVER_BUDGET),
)
_CHECKED: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r" not found in struct '[^']*'"), ""),
    (
        re.compile(r"expression of type '([^']*)' cannot be the operand of a select operation"),
        r"type '\1' does not support field selection",
    ),
    (re.compile(r"\bweft\.object\d+\b"), "object"),
)


class CompileError(Exception):
    """An expression that is not CEL, or speaks of what is not there; the text has lines, as the compiler's."""


class EvaluationError(Exception):
    """An expression that has no value here, such as a key that is not there."""

    @property
    def over_budget(self) -> bool:
        """Whether it was stopped because it took too long."""
        return str(self) == OVER_BUDGET


def uses(text: str, name: str) -> bool:
    """Whether the expression speaks of a variable (and not merely in a string)."""
    return re.search(rf"(?<![\w.]){name}\b", _bare(text)) is not None


def _bare(text: str) -> str:
    """The expression with its strings emptied and without comments."""
    return re.sub(r"'(?:\\.|[^'\\])*'|\"(?:\\.|[^\"\\])*\"|//[^\n]*", "''", text)


def optional_old(text: str) -> str:
    """The rule where `oldSelf` is an optional: taken out of a list, for values cannot be optional themselves."""
    return f"cel.bind({OLD_SELF}, {_OLD}[?0], (\n{text}\n))"


@dataclass(slots=True)
class Engine:
    """Compiles and runs expressions. `extra` are functions beyond Kubernetes' own libraries: the authorizer's."""

    extra: tuple[Signature, ...] = ()
    _programs: OrderedDict[str, Any] = field(default_factory=OrderedDict)
    _environments: dict[str, Any] = field(default_factory=dict)

    def checker(
        self, variables: Mapping[str, Declared], types: Types, *, old_is_optional: bool = False
    ) -> Checker:
        """What checks many expressions against the same variables."""
        from cel_expr_python import cel

        known = dict(variables)
        if old_is_optional:
            known[_OLD] = Declared("list", known.pop(OLD_SELF))
        environment = cel.NewEnv(
            types.pool(),
            config=_config(cel),
            variables={name: _type(cel, kind) for name, kind in known.items()},
            extensions=[self._library(cel, checked=True)],
        )
        return Checker(environment, old_is_optional)

    def run(self, text: str, data: Mapping[str, Any], old: list[Any] | None = None) -> Any:
        """The value of an expression. With `old`, `oldSelf` is an optional of its item. Raises EvaluationError."""
        if old is not None:
            text, data = optional_old(text), {**data, _OLD: old}
        try:
            found = self._program(text).eval(data=dict(data))
            kind, value = found.type().name(), found.plain_value()
        except (RuntimeError, TypeError, ValueError) as error:
            raise EvaluationError(_told(str(error))) from error
        if kind in {"ERROR", "UNKNOWN"}:
            raise EvaluationError(_told(str(value)))
        return value

    def _program(self, text: str) -> Any:
        if text in self._programs:
            self._programs.move_to_end(text)
            return self._programs[text]
        program = self._running().compile(macros.expand(text), disable_check=True)
        self._programs[text] = program
        if len(self._programs) > _PROGRAMS:
            self._programs.popitem(last=False)
        return program

    def _running(self) -> Any:
        """The environment without types, in which everything runs."""
        if "run" not in self._environments:
            from cel_expr_python import cel

            self._environments["run"] = cel.NewEnv(
                config=_config(cel), variables={}, extensions=[self._library(cel, checked=False)]
            )
        return self._environments["run"]

    def _library(self, cel: Any, *, checked: bool) -> Any:
        common = (
            *amounts.SIGNATURES,
            *places.SIGNATURES,
            *lists.SIGNATURES,
            *macros.SIGNATURES,
            *_searching(),
            *self.extra,
        )
        overloads: dict[str, dict[tuple[Any, ...], Any]] = {}
        for one in common if checked else (*common, *lists.AT_RUN):
            parameters = tuple(_named(name, checked=checked) for name in one.parameters)
            mark = (one.member, *parameters)
            overloads.setdefault(one.name, {}).setdefault(
                mark,
                cel.Overload(
                    f"weft_{one.name}_{'_'.join(map(str, mark))}",
                    _plain(cel, _named(one.result, checked=checked)),
                    [_plain(cel, name) for name in parameters],
                    is_member=one.member,
                    impl=one.work,
                ),
            )
        return cel.CelExtension(
            "weft", [cel.FunctionDecl(name, list(all_.values())) for name, all_ in overloads.items()]
        )


def _searching() -> tuple[Signature, ...]:
    """`find` and `findAll`, by RE2, which cannot run away."""

    def find_all(text: str, pattern: str, most: int = -1) -> list[str]:
        try:
            found = (match[0] for match in compiled(pattern).finditer(text))
        except RegexError as error:
            raise ValueError(f"error parsing regexp: {error}") from error
        return list(found if most < 0 else islice(found, most))

    def find(text: str, pattern: str) -> str:
        return next(iter(find_all(text, pattern, 1)), "")

    return (
        method("find", "string string", "string", find),
        method("findAll", "string string", "list", find_all),
        method("findAll", "string string int", "list", find_all),
    )


@dataclass(frozen=True, slots=True)
class Checker:
    """Checks expressions against the variables of one place."""

    environment: Any
    old_is_optional: bool = False

    def check(self, text: str) -> str:
        """The name of the expression's type, such as `BOOL`. Raises CompileError."""
        text = macros.expand(text)
        try:
            compiled = self.environment.compile(optional_old(text) if self.old_is_optional else text)
        except (RuntimeError, TypeError) as error:
            raise CompileError(self._told(str(error))) from error
        name: str = compiled.return_type().name()
        return name

    def _told(self, text: str) -> str:
        text = re.sub(r"^[A-Z_]+: |\s*\[[A-Z_]+\]$", "", text)
        for pattern, said in _CHECKED:
            text = pattern.sub(said, text)
        if self.old_is_optional:
            text = re.sub(r"<input>:(\d+)", lambda found: f"<input>:{max(1, int(found[1]) - 1)}", text)
        return text


def _told(text: str) -> str:
    """An error of evaluation in the words that users of Kubernetes know."""
    text = re.sub(r"^[A-Z_]+: |\s*\[[A-Z_]+\]$", "", text)
    for pattern, said in _SAID:
        if pattern.search(text):
            return pattern.sub(said, text)
    return text


def _config(cel: Any) -> Any:
    listed = "".join(f"- name: cel.lib.ext.{name}\n" for name in _EXTENSIONS)
    return cel.NewEnvConfigFromYaml(f"name: kubernetes\nextensions:\n- name: optional\n{listed}")


def _named(name: str, *, checked: bool) -> str:
    """The type by which the engine chooses an overload."""
    if checked:
        return name
    return "map" if name in OPAQUE else "dyn" if name.startswith("optional") else name


def _plain(cel: Any, name: str) -> Any:
    if name in OPAQUE:
        return cel.Type(name)
    if name == "list":
        return cel.Type.List(cel.Type.DYN)
    if name == "map":
        return cel.Type.Map(cel.Type.DYN, cel.Type.DYN)
    return cel.Type(name) if name.startswith("optional") else getattr(cel.Type, name.upper())


def _type(cel: Any, kind: Declared) -> Any:
    match kind.sort:
        case "list":
            return cel.Type.List(_type(cel, kind.item or Declared("dyn")))
        case "map":
            return cel.Type.Map(cel.Type.STRING, _type(cel, kind.item or Declared("dyn")))
        case "message":
            return cel.Type(kind.name)
        case sort:
            return getattr(cel.Type, sort.upper())
