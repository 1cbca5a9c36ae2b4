"""`transformMap` and `transformMapEntry`, which the engine parses but cannot run: written as `transformList`.

`m.transformMap(k, v, e)` becomes `m.transformList(k, v, [dyn(k), dyn(e)]).asMap()`; a filter stays where it is.
"""

import re
from typing import Any

from weft.cluster.apiserver.cel.signatures import Signature, method

_CALL = re.compile(r"\.(transformMap|transformMapEntry)\s*\(")
_TEXT = re.compile(r"""[rRbB]*('''|\"\"\"|'|")""")
_OPEN, _CLOSE = "([{", ")]}"


def expand(text: str) -> str:
    """The expression without the two macros."""
    while found := next((one for one in _CALL.finditer(text) if not _quoted(text, one.start())), None):
        arguments, end = _arguments(text, found.end())
        if len(arguments) < 3:
            return text  # the compiler says what is wrong with it
        *first, last = arguments
        if found[1] == "transformMap":
            last = f"[dyn({first[0].strip()}), dyn({last})]"
        name = "asMap" if found[1] == "transformMap" else "asOneMap"
        text = f"{text[: found.start()]}.transformList({','.join([*first, last])}).{name}(){text[end:]}"
    return text


def _quoted(text: str, place: int) -> bool:
    """Whether a place stands in a string."""
    at = 0
    while (start := _TEXT.search(text, at)) and start.start() < place:
        at = _after(text, start)
        if at > place:
            return True
    return False


def _after(text: str, start: re.Match[str]) -> int:
    """The place behind a string that begins with `start`."""
    quote, at = start[1], start.end()
    raw = "r" in start[0].lower()
    while at < len(text) and not text.startswith(quote, at):
        at += 2 if text[at] == "\\" and not raw else 1
    return at + len(quote)


def _arguments(text: str, at: int) -> tuple[list[str], int]:
    """The arguments of a call whose parenthesis was opened before `at`, and the place behind its end."""
    found: list[str] = []
    depth, begun = 0, at
    while at < len(text):
        if string := _TEXT.match(text, at):
            at = _after(text, string)
            continue
        char = text[at]
        if char in _OPEN:
            depth += 1
        elif char in _CLOSE and depth == 0:
            return [*found, text[begun:at]], at + 1
        elif char in _CLOSE:
            depth -= 1
        elif char == "," and depth == 0:
            found.append(text[begun:at])
            begun = at + 1
        at += 1
    return [], at


def _as_one(entries: list[dict[Any, Any]]) -> dict[Any, Any]:
    result: dict[Any, Any] = {}
    for entry in entries:
        for key, value in entry.items():
            if key in result:
                raise ValueError(f"insert failed: key '{key}' already exists")
            result[key] = value
    return result


SIGNATURES: tuple[Signature, ...] = (
    method("asMap", "list", "map", dict),
    method("asOneMap", "list", "map", _as_one),
)
