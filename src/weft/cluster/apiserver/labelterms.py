"""The text form of label selectors, `a=b,c in (d,e),!f`, and what Kubernetes says where it cannot be read."""

import re
from collections.abc import Iterator

from weft.cluster.apiserver import errors, names

Term = tuple[str, str, tuple[str, ...]]
"""Key, operator as in objects (`In`, `NotIn`, `Exists`, `DoesNotExist`, `Gt`, `Lt`), and values."""

_TOKEN = re.compile(r"==|!=|[=!(),<>]|[^\s=!(),<>]+")
_SYMBOLS = frozenset({"==", "!=", "=", "!", "(", ")", ",", "<", ">", ""})
_OPERATORS = {"in": "In", "notin": "NotIn", "=": "In", "==": "In", "!=": "NotIn", ">": "Gt", "<": "Lt"}


class _TermError(Exception):
    """What is wrong with a term."""


class _Tokens:
    """The words and signs of a selector, one after the other; empty text stands for the end."""

    def __init__(self, text: str) -> None:
        self._left = [*reversed(_TOKEN.findall(text))]

    def ahead(self) -> str:
        return self._left[-1] if self._left else ""

    def take(self) -> str:
        return self._left.pop() if self._left else ""


def parse(text: str) -> Iterator[Term]:
    """The terms one by one; what cannot be read is a 400."""
    tokens = _Tokens(text)
    if tokens.ahead() in _SYMBOLS - {"!", ""}:
        raise errors.bad_request(f"found '{tokens.ahead()}', expected: !, identifier, or 'end of string'")
    while tokens.ahead():
        try:
            yield _term(tokens)
        except _TermError as fault:
            raise errors.bad_request(f"unable to parse requirement: {fault}") from fault
        if (sign := tokens.take()) not in {",", ""}:
            raise errors.bad_request(f"found '{sign}', expected: ',' or 'end of string'")
        if sign and tokens.ahead() in _SYMBOLS - {"!"}:
            raise errors.bad_request(f"found '{tokens.ahead()}', expected: identifier after ','")


def _term(tokens: _Tokens) -> Term:
    absent = tokens.ahead() == "!"
    if absent:
        tokens.take()
    key = _identifier(tokens.take(), "identifier")
    if why := names.label_key(key):
        raise _TermError(f'key: Invalid value: "{key}": {why}')
    if absent or tokens.ahead() in {"", ","}:
        return key, "DoesNotExist" if absent else "Exists", ()
    sign = tokens.take()
    if sign not in _OPERATORS:
        raise _TermError(f"found '{sign}', expected: in, notin, =, ==, !=, gt, lt")
    values = _set(tokens) if sign in {"in", "notin"} else (_value(tokens),)
    operator = _OPERATORS[sign]
    for index, value in enumerate(values):
        if why := names.label_value(value):
            raise _TermError(f'values[{index}][{key}]: Invalid value: "{value}": {why}')
    if operator in {"Gt", "Lt"} and not re.fullmatch(r"[+-]?[0-9]+", values[0]):
        why = "for 'Gt', 'Lt' operators, the value must be an integer"
        raise _TermError(f'values[0]: Invalid value: "{values[0]}": {why}')
    return key, operator, values


def _identifier(word: str, expected: str) -> str:
    if word in _SYMBOLS:
        raise _TermError(f"found '{word}', expected: {expected}")
    return word


def _value(tokens: _Tokens) -> str:
    """The value behind `=`, which may be missing."""
    if tokens.ahead() in {"", ","}:
        return ""
    return _identifier(tokens.take(), "identifier")


def _set(tokens: _Tokens) -> tuple[str, ...]:
    """The values in parentheses, of which any may be missing."""
    if (sign := tokens.take()) != "(":
        raise _TermError(f"found '{sign}' expected: '('")
    values = set()
    while True:
        word = tokens.ahead()
        if word in {",", ")"}:
            values.add("")
        elif word in _SYMBOLS:
            raise _TermError(f"found '{word}', expected: ',', ')' or identifier")
        else:
            values.add(tokens.take())
        if (sign := tokens.take()) == ")":
            return tuple(sorted(values))
        if sign != ",":
            raise _TermError(f"found '{sign}', expected: ',' or ')'")
