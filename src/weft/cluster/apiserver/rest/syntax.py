"""What is wrong with a malformed body, in the words of the decoders that Kubernetes uses; and lenient JSON.

Sources: Go's `encoding/json` (scanner), `sigs.k8s.io/yaml` over libyaml, `rest.go`'s `transformDecodeError`.
"""

import json
import re
from typing import Any

import msgspec
import yaml

_ESCAPE = re.compile(r"\\u[dD][89abAB]..\\u[dD][c-fC-F]..|(\\u[dD][89a-fA-F]..)|\\.")
_UNREADABLE = "\\ufffd"
_LITERALS = ("true", "false", "null")
_SHOWN = 30
"""Bytes of a body that a refusal shows."""


def decode(body: bytes) -> Any:
    """JSON as Go reads it: what is no Unicode becomes U+FFFD. Raises as `msgspec.json.decode`."""
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        text = body.decode(errors="replace")
        return msgspec.json.decode(_ESCAPE.sub(lambda found: _UNREADABLE if found[1] else found[0], text))


def json_fault(body: bytes) -> str:
    """Where the body stops being JSON."""
    text = body.decode(errors="replace")
    try:
        json.loads(text, parse_constant=_constant)
    except json.JSONDecodeError as error:
        return _said(error.msg, text, error.pos)
    except RecursionError:
        return "exceeded max depth"
    except ValueError as error:
        return str(error)
    return "a number is out of range"


def _constant(name: str) -> Any:
    raise ValueError(f"invalid character {_quoted(name.lstrip('-')[0])} looking for beginning of value")


def _said(what: str, text: str, at: int) -> str:
    rest = text[at:].lstrip(" \t\r\n") if what != "Invalid control character at" else text[at:]
    if not rest or what.startswith("Unterminated string"):
        return "unexpected end of JSON input"
    found = _quoted(rest[0])
    if what == "Expecting value" or "BOM" in what:
        return _literal(rest) or f"invalid character {found} looking for beginning of value"
    if what.startswith(("Expecting property name", "Illegal trailing comma")):
        return f"invalid character {found} looking for beginning of object key string"
    if what.startswith("Expecting ':'"):
        return f"invalid character {found} after object key"
    if what.startswith("Expecting ','"):
        where = "object key:value pair" if _inside(text[:at]) == "{" else "array element"
        return f"invalid character {found} after {where}"
    if what == "Extra data":
        return f"invalid character {found} after top-level value"
    if what == "Invalid control character at":
        return f"invalid character {found} in string literal"
    return f"invalid character {_quoted(rest[1:2] or rest[0])} in string escape code"


def _literal(rest: str) -> str:
    """The fault in a word that begins as `true`, `false` or `null` do."""
    for word in _LITERALS:
        if rest[0] == word[0]:
            at = next((i for i, letter in enumerate(word) if rest[i : i + 1] != letter), len(word))
            if at >= len(rest):
                return "unexpected end of JSON input"
            return f"invalid character {_quoted(rest[at])} in literal {word} (expecting {_quoted(word[at])})"
    return ""


def _inside(before: str) -> str:
    """The bracket that is open at the end of `before`, which is well-formed so far."""
    depth = 0
    for mark in reversed(re.findall(r"[{}\[\]]", re.sub(r'"(?:[^"\\]|\\.)*"', "", before))):
        depth += 1 if mark in "}]" else -1
        if depth < 0:
            return str(mark)
    return "{"


def _quoted(letter: str) -> str:
    """One byte, as Go shows it."""
    letter = chr(letter.encode(errors="replace")[0])
    if letter == "'":
        return r"'\''"
    if letter == '"':
        return "'\"'"
    return f"'{letter}'" if letter.isprintable() else "'" + json.dumps(letter)[1:-1].replace("\\u00", "\\x") + "'"


def yaml_fault(error: yaml.YAMLError) -> str:
    """`yaml: line 2: did not find expected node content`."""
    if not isinstance(error, yaml.MarkedYAMLError):
        return f"yaml: {error}".splitlines()[0]
    mark = error.context_mark if error.context_mark and error.context_mark.line else error.problem_mark
    line = mark.line if mark else 0
    if line and isinstance(error, yaml.scanner.ScannerError):
        line += 1  # go-yaml counts so
    return "yaml: " + (f"line {line}: " if line else "") + str(error.problem or error.context)


def shown(body: bytes) -> str:
    """The beginning of a body, as text where it may be JSON and as hexadecimal where not."""
    if not body:
        return "<empty>"
    more = " ..." if len(body) > _SHOWN else ""
    begin = body[:_SHOWN]
    return (begin.decode(errors="replace") if begin[:1] == b"{" else begin.hex()) + more
