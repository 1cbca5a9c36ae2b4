"""The written form of label selectors, and what Kubernetes says of text that is none (`pkg/labels`)."""

import re
from collections.abc import Iterator
from typing import NamedTuple

from weft.cluster.apiserver import names

_TOKEN = re.compile(r"[ \t\r\n]*(?P<symbol>==|!=|[=!(),<>])|[ \t\r\n]*(?P<word>[^ \t\r\n=!(),<>]+)")
_BINARY = "in, notin, =, ==, !=, gt, lt"
_OPERATORS = {
    "in": "In",
    "notin": "NotIn",
    "=": "In",
    "==": "In",
    "!=": "NotIn",
    ">": "Gt",
    "<": "Lt",
}


class SelectorError(ValueError):
    """The text is no selector; the message says what was found and expected."""


class Term(NamedTuple):
    """One requirement: a key, an operator as `matchExpressions` name it, values."""

    key: str
    operator: str
    values: tuple[str, ...] = ()


def _tokens(text: str) -> Iterator[tuple[str, bool]]:
    """Each token, and whether it is a word."""
    position = 0
    while found := _TOKEN.match(text, position):
        position = found.end()
        yield (found["word"], True) if found["word"] else (found["symbol"], False)


class _Reader:
    def __init__(self, text: str) -> None:
        self._tokens = [*_tokens(text), ("", False)]
        self._at = 0

    def look(self) -> tuple[str, bool]:
        return self._tokens[self._at]

    def take(self) -> tuple[str, bool]:
        found = self._tokens[self._at]
        self._at = min(self._at + 1, len(self._tokens) - 1)
        return found

    def terms(self) -> Iterator[Term]:
        """Everything up to the end."""
        while (found := self.look()) != ("", False):
            if not found[1] and found[0] != "!":
                raise SelectorError(f"found '{found[0]}', expected: !, identifier, or 'end of string'")
            try:
                yield self._term()
            except SelectorError as error:
                raise SelectorError(f"unable to parse requirement: {error}") from None
            text, _ = self.look()
            if text == ",":
                self.take()
                after, word = self.look()
                if not word and after != "!":
                    raise SelectorError(f"found '{after}', expected: identifier after ','")
            elif text:
                raise SelectorError(f"found '{text}', expected: ',' or 'end of string'")

    def _term(self) -> Term:
        text, word = self.take()
        absent = (text, word) == ("!", False)
        if absent:
            text, word = self.take()
        if not word:
            raise SelectorError(f"found '{text}', expected: identifier")
        if why := names.label_key(text):
            raise SelectorError(f'<nil>: Invalid value: "{text}": {why}')
        if absent:
            return Term(text, "DoesNotExist")
        if self.look()[0] in {"", ","} and not self.look()[1]:
            return Term(text, "Exists")
        sign, _ = self.take()
        operator = _OPERATORS.get(sign)
        if operator is None:
            raise SelectorError(f"found '{sign}', expected: {_BINARY}")
        values = self._set() if sign in {"in", "notin"} else (self._value(),)
        _check(text, operator, values)
        return Term(text, operator, values)

    def _value(self) -> str:
        text, word = self.look()
        if not word and text in {"", ","}:
            return ""
        self.take()
        if not word:
            raise SelectorError(f"found '{text}', expected: identifier")
        return text

    def _set(self) -> tuple[str, ...]:
        text, word = self.take()
        if word or text != "(":
            raise SelectorError(f"found '{text}' expected: '('")
        values: set[str] = set()
        after_value = False
        while True:
            text, word = self.take()
            if word and not after_value:
                values.add(text)
                after_value = True
            elif not word and text in {",", ")"}:
                if not after_value:
                    values.add("")
                if text == ")":
                    return tuple(sorted(values))
                after_value = False
            else:
                expected = "',' or ')'" if after_value else "',', ')' or identifier"
                raise SelectorError(f"found '{text}', expected: {expected}")


def _check(key: str, operator: str, values: tuple[str, ...]) -> None:
    for index, value in enumerate(values):
        if operator in {"Gt", "Lt"} and not re.fullmatch(r"[+-]?[0-9]{1,19}", value):
            why = "for 'Gt', 'Lt' operators, the value must be an integer"
            raise SelectorError(f'values[{index}]: Invalid value: "{value}": {why}')
        if operator in {"In", "NotIn"} and (why := names.label_value(value)):
            raise SelectorError(f'values[{index}][{key}]: Invalid value: "{value}": {why}')


def read(text: str) -> list[Term]:
    """The terms of `a=b,c in (d,e),!f`; SelectorError where it is no selector."""
    return list(_Reader(text).terms())
